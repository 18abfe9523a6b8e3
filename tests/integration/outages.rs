//! The outages of the layer this one replaces, each with the test that keeps it from coming back. The numbers are
//! those of the product's list of outages; 8 (state in the store) is held by `journey`, 9 (a pod for each workspace)
//! is not built yet.

use crate::support::edge::run;
use crate::support::{Account, Answer, Config, Edge, Request, Response, Upstream, api, ws};
use serde_json::json;
use std::path::Path;
use uuid::Uuid;

/// `/api/*` matched before `/api/v5/*`: the longest prefix wins, on segment boundaries, whatever the order.
#[tokio::test]
async fn outage_1_the_longest_prefix_wins_whatever_the_order() {
    let theia = Upstream::echo().await;
    let v2 = Upstream::start(|_| Answer::ok("v2")).await;
    let config = Config::standard(theia.address)
        .upstream("coditect-api-v2", v2.address)
        .route("/api", "upstream = 'coditect-api-v2'\nauth = 'public'");
    for config in [config.clone(), config.routes_reversed()] {
        let edge = Edge::start(&config).await;
        let health = edge.get("/api/v5/health").await.data(200);
        assert_eq!(health, json!({ "service": "coditect-v5-api", "status": "healthy" }));
        assert_eq!(edge.get("/api/v5").await.refusal().0, 401, "the prefix itself is below the prefix");
        let terminals = format!("/api/v5/sessions/{}/terminals", Uuid::nil());
        assert_eq!(edge.get(&terminals).await.refusal(), (401, "MISSING_AUTH_HEADER".into()));

        let before = v2.count();
        for path in ["/api", "/api/users", "/api/v5x", "/api/v5x/health", "/api/v50"] {
            assert_eq!(edge.get(path).await.text(), "v2", "{path}");
            assert_eq!(v2.last().target, path);
        }
        assert_eq!(edge.get("/apix").await.status, 404, "/apix is not below /api");
        assert_eq!(v2.count() - before, 5, "and nothing else went there");
        edge.stop().await;
    }
}

/// A short name did not resolve: the failure is a clear answer and a metric, and `check` warns beforehand.
#[tokio::test]
async fn outage_2_a_name_that_does_not_resolve_is_told() {
    // A label of more than 63 characters: no resolver is even asked.
    let name = "x".repeat(70);
    let config = Config::empty()
        .upstream_with("short", "address = 'http://v2-service:8080'")
        .upstream_with("lost", &format!("address = 'http://{name}.example:8080'"))
        .route("/lost", "upstream = 'lost'\nauth = 'public'");
    let edge = Edge::start(&config).await;
    let answer = edge.get("/lost").await;
    assert_eq!(answer.refusal(), (502, "UPSTREAM_UNREACHABLE".into()), "{}", answer.text());
    let failures =
        edge.metrics().await.sum("coditect_upstream_resolve_failures_total", &[("upstream", "lost")]);
    assert!(failures >= 1.0, "{failures}");

    let (report, _) = check(edge.data().path());
    let warning = report.lines().find(|line| line.contains("warning") && line.contains("v2-service"));
    assert!(warning.is_some_and(|line| line.contains("unqualified")), "{report}");
}

/// A route was missing and requests fell to the wrong place: `check` prints where each path leads, and what has no
/// route has one answer.
#[tokio::test]
async fn outage_3_a_missing_route_is_seen_before_and_answered_once() {
    let theia = Upstream::echo().await;
    let config = Config::empty()
        .upstream("theia", theia.address)
        .route("/theia", "upstream = 'theia'\nauth = 'public'");
    let edge = Edge::start(&config).await;
    for path in ["/", "/api/v5/health", "/theiax", "/index.html"] {
        for host in ["coditect.ai", "unknown.example"] {
            let answer = edge.send(Request::get(path).header("host", host)).await;
            assert_eq!(answer.refusal(), (404, "NOT_FOUND".into()), "{host}{path}");
        }
    }
    assert_eq!(theia.count(), 0, "nothing fell through to another route");

    let data = tempfile::tempdir().unwrap();
    Config::standard(theia.address).routes_reversed().write(data.path());
    let (table, _) = check(data.path());
    let position = |prefix: &str, who: &str, target: &str| {
        let row = table.lines().position(|line| {
            let mut columns = line.split_whitespace();
            columns.next() == Some(prefix) && columns.next() == Some(who) && line.contains(target)
        });
        row.unwrap_or_else(|| panic!("no row {prefix} {who} {target} in\n{table}"))
    };
    let order = [
        position("/api/v5/sessions/{id}/terminals", "jwt", "local terminal"),
        position("/api/v5", "jwt", "local api"),
        position("/", "public", "local console"),
    ];
    assert!(order.is_sorted(), "the first that matches wins: {table}");
    position("/theia", "workspace", "upstream theia, prefix stripped");
}

/// What `check` prints, and what it complains of.
fn check(data: &Path) -> (String, String) {
    let file = data.join("edge.toml");
    let output = run(&["--config", file.to_str().unwrap(), "check"]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

#[tokio::test]
async fn outage_3_check_names_file_line_and_key_of_each_mistake() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("edge.toml");
    let text =
        "[server]\ndrain_seconds = -1\n[[routes]]\nprefix = '/a'\nauth = 'nobody'\nupstream = 'none'\n";
    std::fs::write(&file, text).unwrap();
    let output = run(&["--config", file.to_str().unwrap(), "check"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    for (line, key) in [(2, "server.drain_seconds"), (5, "auth"), (6, "upstream")] {
        let place = format!("{}:{line}", file.display());
        assert!(
            told.lines().any(|told| told.contains(&place) && told.contains(key)),
            "{place} {key}: {told}"
        );
    }
}

/// Stale front-end files were served after a deploy.
#[tokio::test]
async fn outage_4_a_deploy_is_seen_at_once() {
    let sites = tempfile::tempdir().unwrap();
    let site = |name: &str, index: &str| {
        let root = sites.path().join(name);
        std::fs::create_dir_all(root.join("assets")).unwrap();
        std::fs::write(root.join("index.html"), index).unwrap();
        std::fs::write(root.join("assets/index-DiwrgTda.js"), "export {}").unwrap();
        root
    };
    site("www", "<p>first</p>");
    let root = sites.path().join("www");
    let config = Config::empty().route("/", &format!("directory = '{}'\nauth = 'public'", root.display()));
    let edge = Edge::start(&config).await;

    let index = edge.get("/").await;
    assert_eq!((index.status, index.text().as_str()), (200, "<p>first</p>"));
    assert_eq!(index.header("cache-control"), Some("no-cache"));
    let asset = edge.get("/assets/index-DiwrgTda.js").await;
    assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let tag = index.header("etag").expect("an ETag").to_owned();
    let again = async || edge.send(Request::get("/").header("if-none-match", &tag)).await;
    let unchanged = again().await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(edge.get("/assets/gone-DiwrgTdb.js").await.status, 404, "a missing script is no page");

    // A deploy that moves directories, and one that switches a symlink.
    let second = site("second", "<p>second</p>");
    std::fs::rename(&root, sites.path().join("old")).unwrap();
    std::fs::rename(&second, &root).unwrap();
    let changed = again().await;
    assert_eq!((changed.status, changed.text().as_str()), (200, "<p>second</p>"));
    let third = site("third", "<p>third</p>");
    std::fs::remove_dir_all(&root).unwrap();
    std::os::unix::fs::symlink(third, &root).unwrap();
    assert_eq!(edge.get("/").await.text(), "<p>third</p>");
}

/// Handlers did not match what the front end called.
#[tokio::test]
async fn outage_5_sessions_are_as_the_front_end_calls_them() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let ada = edge.register("ada@example.com").await;
    let body =
        json!({ "name": "one", "workspacePath": "/w", "type": "ai-studio", "settings": { "theme": "dark" } });
    let made = edge.send(Request::post("/api/v5/sessions", &body).bearer(&ada.token)).await.data(201);
    for (field, value) in [
        ("workspace_path", json!("/w")),
        ("type", json!("ai-studio")),
        ("settings", json!({ "theme": "dark" })),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let target = format!("/api/v5/sessions/{}", made["id"].as_str().unwrap());
    let mut put = Request::post(&target, &json!({ "name": "two", "type": "workspace" })).bearer(&ada.token);
    put.method = "PUT".into();
    let replaced = edge.send(put).await.data(200);
    assert_eq!((&replaced["name"], &replaced["settings"]), (&json!("two"), &json!({})));
    let listed = edge.get_as(&ada, "/api/v5/sessions").await.data(200);
    assert_eq!(listed.as_array().expect("data is the list").len(), 1);
}

/// Tokens were minted without `session_id` and `token_family`.
#[tokio::test]
async fn outage_6_every_token_names_a_stored_auth_session_and_its_family() {
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address);
    let edge = Edge::start(&config).await;
    let registered = edge.register("ada@example.com").await;
    let logged_in = edge.login("ada@example.com").await;
    let refresh = json!({ "refreshToken": logged_in.refresh_token });
    let refreshed = edge.send(Request::post("/api/v5/auth/refresh", &refresh)).await.data(200);
    let refreshed = refreshed["token"].as_str().expect("a token").to_owned();

    let of = |token: &str| {
        let claims = api::claims(token);
        let id = |name: &str| Uuid::parse_str(claims[name].as_str().unwrap_or_default()).ok();
        let ids = (id("session_id"), id("token_family"));
        assert!(ids.0.is_some() && ids.1.is_some(), "{claims}");
        ids
    };
    let (first, second, third) = (of(&registered.token), of(&logged_in.token), of(&refreshed));
    assert_ne!(first.1, second.1, "each login starts a family");
    assert_eq!(second.1, third.1, "a refresh stays in it");
    assert_ne!(second.0, third.0, "with an auth session of its own");

    // A process that has never seen these tokens finds their auth sessions in the store.
    edge.logout(&registered).await;
    let edge = Edge::start_on(edge.stop().await, &config).await;
    let ask = async |token: &str| edge.send(Request::get("/api/v5/sessions").bearer(token)).await;
    assert_eq!(ask(&logged_in.token).await.status, 200);
    assert_eq!(ask(&refreshed).await.status, 200);
    assert_eq!(ask(&registered.token).await.refusal(), (401, "TOKEN_REVOKED".into()));
}

/// Anyone could open `/theia` and its WebSocket with no login.
#[tokio::test]
async fn outage_7_nobody_opens_theia_without_a_login() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let below = |path: &str| format!("/theia/{workspace}{path}");
    let polling = "/socket.io/?EIO=4&transport=polling";
    let targets = ["/theia".into(), "/theia/".into(), "/theia/bundle.js".into(), format!("/theia{polling}")];
    let targets = targets.into_iter().chain(["", "/", "/bundle.js", "/services", polling].map(below));
    for target in targets {
        for (what, answer) in every_way_in(&edge, &target).await {
            assert_eq!(answer.refusal(), (401, "MISSING_AUTH_HEADER".into()), "{what} {target}");
        }
    }
    assert_eq!(theia.bytes().concat().len(), 0, "not a byte reached Theia");
    // The same paths do open with a login, so the above was refused for want of one.
    assert_eq!(edge.get_as(&ada, &below("/bundle.js")).await.status, 200);
    assert_eq!(theia.count(), 1);
}

/// The answers to a target asked for in all ways one could hope to slip through by.
async fn every_way_in(edge: &Edge, target: &str) -> Vec<(&'static str, Response)> {
    let origin = edge.origin();
    let mut answers = vec![
        ("GET", edge.get(target).await),
        ("HEAD-like", edge.send(Request::new("OPTIONS", target)).await),
        ("POST", edge.send(Request::new("POST", target).header("origin", &origin).body("40")).await),
        ("Upgrade: x", edge.send(upgrade(target, "x")).await),
        ("half a WebSocket", edge.send(upgrade(target, "websocket")).await),
        (
            "Upgrade: h2c",
            edge.send(upgrade(target, "h2c").header("http2-settings", "AAMAAABkAAQAAP__")).await,
        ),
    ];
    let socket = ws::open(edge.http, target, &[("origin", &origin)]).await;
    answers.push(("WebSocket", socket.expect_err("no socket opens")));
    answers.push(("HTTP/1.0", http_1_0(edge, target).await));
    let request = http::Request::get(format!("http://{}{target}", edge.http)).body(()).unwrap();
    answers.push(("HTTP/2", crate::support::h2::send(edge.http, request, &[]).await));
    answers
}

fn upgrade(target: &str, protocol: &str) -> Request {
    Request::get(target).header("connection", "Upgrade").header("upgrade", protocol)
}

async fn http_1_0(edge: &Edge, target: &str) -> Response {
    let mut connection = crate::support::Connection::open(edge.http).await;
    connection.write(format!("GET {target} HTTP/1.0\r\nHost: {}\r\n\r\n", edge.http)).await;
    connection.response().await.unwrap()
}

/// What is left of this account's login after the test's own way in: nothing that opens another's workspace.
#[tokio::test]
async fn outage_7_a_login_opens_only_its_own_workspaces() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let eve = edge.register("eve@example.com").await;
    let stranger: &Account = &eve;
    let page = edge.get_as(stranger, &format!("/theia/{workspace}/")).await;
    assert_eq!(page.refusal(), (404, "NOT_FOUND".into()));
    let target = format!("/theia/{workspace}/services?token={}", eve.token);
    let socket = ws::open(edge.http, &target, &[]).await.expect_err("another's socket");
    assert_eq!(socket.refusal(), (404, "NOT_FOUND".into()));
    let link = edge.get(&Edge::link(stranger, &workspace)).await;
    assert_eq!(link.refusal(), (404, "NOT_FOUND".into()));
    assert!(link.all("set-cookie").is_empty());
    assert_eq!(theia.count(), 0);
}
