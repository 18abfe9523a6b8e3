//! Who passes the gate, with what, from where; and what of it an upstream sees.

use crate::support::config::THEIA;
use crate::support::{Account, Answer, Config, Edge, Request, Upstream, wait_until, ws};
use std::time::Duration;

const LAST: &str = "coditect-last-workspace";

/// An edge, one user with one workspace, and the cookie that opens it.
struct Scene {
    edge: Edge,
    theia: Upstream,
    ada: Account,
    workspace: String,
    cookie: String,
}

impl Scene {
    async fn set() -> Self {
        Self::set_with(|config| config).await
    }

    async fn set_with(change: impl FnOnce(Config) -> Config) -> Self {
        let theia = Upstream::echo().await;
        let edge = Edge::start(&change(Config::standard(theia.address))).await;
        let ada = edge.register("ada@example.com").await;
        let workspace = edge.create_session(&ada, "engines").await;
        let cookie = edge.open_workspace(&ada, &workspace).await;
        Self { edge, theia, ada, workspace, cookie }
    }

    fn path(&self, below: &str) -> String {
        format!("/theia/{}{below}", self.workspace)
    }

    fn post(&self, below: &str) -> Request {
        Request::new("POST", &self.path(below)).cookie(&self.cookie).body("40")
    }
}

fn origin_refused() -> (u16, String) {
    (403, "ORIGIN_NOT_ALLOWED".into())
}

#[tokio::test]
async fn the_workspace_cookie_opens_its_workspace_and_nothing_else() {
    let scene = Scene::set().await;
    let edge = &scene.edge;
    let other = edge.create_session(&scene.ada, "other").await;
    let ask = async |path: &str| edge.send(Request::get(path).cookie(&scene.cookie)).await;
    assert_eq!(ask(&scene.path("/")).await.status, 200);
    for path in ["/api/v5/sessions", &format!("/api/v5/sessions/{}", scene.workspace)] {
        assert_eq!(ask(path).await.refusal(), (401, "MISSING_AUTH_HEADER".into()), "{path}");
    }
    let terminals = format!("/api/v5/sessions/{}/terminals", scene.workspace);
    let post = Request::new("POST", &terminals).cookie(&scene.cookie).header("origin", &edge.origin());
    assert_eq!(edge.send(post).await.refusal(), (401, "MISSING_AUTH_HEADER".into()));
    let value = scene.cookie.split_once('=').expect("name=value").1;
    let as_bearer = edge.send(Request::get("/api/v5/sessions").bearer(value)).await;
    assert_eq!(as_bearer.refusal(), (401, "INVALID_TOKEN".into()), "the cookie's value is no bearer token");
    let elsewhere = ask(&format!("/theia/{other}/")).await;
    assert_eq!(elsewhere.refusal(), (401, "INVALID_TOKEN".into()), "not even another of the same user's");
    let token_as_cookie = format!("coditect-workspace={}", scene.ada.token);
    let refused = edge.send(Request::get(&scene.path("/")).cookie(&token_as_cookie)).await;
    assert_eq!(refused.refusal(), (401, "INVALID_TOKEN".into()), "nor is an access token a cookie");
}

#[tokio::test]
async fn what_the_cookie_authenticates_must_come_from_an_allowed_origin() {
    let scene =
        Scene::set_with(|config| config.server("allowed_origins = ['self', 'https://console.example']"))
            .await;
    let (edge, reached) = (&scene.edge, scene.theia.count());
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let silent = Request { method: method.into(), ..scene.post("/x") };
        assert_eq!(edge.send(silent.clone()).await.refusal(), origin_refused(), "{method} without Origin");
        for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
            let foreign = silent.clone().header("origin", origin);
            assert_eq!(edge.send(foreign).await.refusal(), origin_refused(), "{method} from {origin}");
        }
    }
    let cross = scene.post("/x").header("sec-fetch-site", "cross-site");
    assert_eq!(
        edge.send(cross).await.refusal(),
        origin_refused(),
        "without an Origin the browser's word counts"
    );
    let two = scene.post("/x").header("origin", &edge.origin()).header("origin", "https://evil.example");
    assert_eq!(edge.send(two).await.refusal(), origin_refused(), "two origins are none");

    let socket = async |headers: &[(&str, &str)]| {
        let all = [&[("cookie", scene.cookie.as_str())], headers].concat();
        ws::open(edge.http, &scene.path("/services"), &all).await
    };
    for headers in [&[][..], &[("origin", "https://evil.example")], &[("origin", "null")]] {
        let refused = socket(headers).await.expect_err("the socket is refused");
        assert_eq!(refused.refusal(), origin_refused(), "{headers:?}");
    }
    assert_eq!(scene.theia.count(), reached, "nothing of all this reached the upstream");

    for origin in [edge.origin().as_str(), "https://console.example"] {
        assert_eq!(edge.send(scene.post("/x").header("origin", origin)).await.status, 200, "{origin}");
        socket(&[("origin", origin)]).await.expect("the socket opens").echo(origin).await;
    }
    let target = format!("{}?token={}", scene.path("/services"), scene.ada.token);
    let foreign = ws::open(edge.http, &target, &[("origin", "https://evil.example")]).await;
    assert_eq!(foreign.expect_err("even with a token").refusal(), origin_refused());
}

#[tokio::test]
async fn no_credential_reaches_an_upstream() {
    let scene = Scene::set_with(|config| config.env("RUST_LOG", "trace")).await;
    let (edge, token) = (&scene.edge, &scene.ada.token);
    let cookies = format!("mine=1; {}; theirs=2", scene.cookie);
    let origin = edge.origin();
    edge.send(Request::get(&scene.path("/a")).cookie(&cookies).header("authorization", "Basic eA==")).await;
    edge.send(Request::get(&scene.path("/b?x=1")).bearer(token).cookie(&cookies)).await;
    assert_eq!(scene.theia.last().target, "/b?x=1");
    assert_eq!(scene.theia.last().header("cookie"), Some("mine=1; theirs=2"));
    edge.send(scene.post("/c").header("origin", &origin)).await;
    for query in [format!("token={token}&EIO=4"), format!("EIO=4&%74oken={token}")] {
        let target = scene.path(&format!("/services?{query}"));
        let headers = [("cookie", cookies.as_str()), ("origin", &origin)];
        ws::open(edge.http, &target, &headers).await.expect("the socket").echo("x").await;
        assert_eq!(scene.theia.last().target, "/services?EIO=4");
    }
    let bearer = format!("Bearer {token}");
    let mut socket =
        ws::open(edge.http, &scene.path("/services"), &[("authorization", &bearer)]).await.unwrap();
    socket.echo("x").await;

    let signature = |jwt: &str| jwt.rsplit('.').next().expect("a signature").to_owned();
    let secrets = [signature(token), signature(&scene.cookie), "Basic eA==".to_owned()];
    assert!(scene.theia.count() >= 5);
    for secret in &secrets {
        assert!(!scene.theia.got(secret), "a credential reached the upstream");
    }
    assert!(scene.theia.requests().iter().all(|request| request.header("authorization").is_none()));

    // Nor any log, even at the highest verbosity.
    edge.logged("the last request's line", |line| line["path"].as_str() == Some(&scene.path("/c"))).await;
    drop(socket);
    let logs = edge.stdout() + &edge.stderr();
    assert!(logs.contains(r#""query":"token&sessionId""#), "that a token was there is told");
    for secret in secrets.iter().chain([&signature(&scene.ada.refresh_token)]) {
        assert!(!logs.contains(secret.as_str()), "a credential is in a log");
    }
}

#[tokio::test]
async fn identity_headers_are_the_edges_alone() {
    let v2 = Upstream::start(|_| Answer::ok("v2")).await;
    let scene = Scene::set_with(|config| {
        config.upstream("v2", v2.address).route("/api", "upstream = 'v2'\nauth = 'public'")
    })
    .await;
    let forged = |target: &str| {
        let spellings = ["X-Coditect-User", "x-coditect-tenant", "X_Coditect_Session", "x-coditect_email"];
        let all = spellings.iter().chain(["X-Coditect-Workspace", "x_coditect_user"].iter());
        all.fold(Request::get(target), |request, name| request.header(name, "forged"))
    };
    let edge = &scene.edge;
    // Not even by having the edge's own taken off again.
    let connection = "x-coditect-user, x-coditect-tenant";
    edge.send(forged(&scene.path("/")).bearer(&scene.ada.token).header("connection", connection)).await;
    let seen = scene.theia.last();
    for (name, value) in [
        ("x-coditect-user", scene.ada.user_id.as_str()),
        ("x-coditect-tenant", &scene.ada.tenant_id),
        ("x-coditect-email", "ada@example.com"),
        ("x-coditect-workspace", &scene.workspace),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert_eq!(seen.all("x-coditect-session").len(), 1);
    let bearer = format!("Bearer {}", scene.ada.token);
    let headers =
        [("authorization", bearer.as_str()), ("x-coditect-user", "forged"), ("x_coditect_user", "forged")];
    ws::open(edge.http, &scene.path("/services"), &headers).await.expect("the socket");
    assert_eq!(scene.theia.last().all("x-coditect-user"), [scene.ada.user_id.as_str()]);
    edge.send(forged("/api/users")).await;
    let head = String::from_utf8_lossy(&v2.last().head).to_ascii_lowercase().replace('_', "-");
    assert!(!head.contains("x-coditect"), "a public route has no identity at all: {head}");
    for upstream in [&scene.theia, &v2] {
        assert!(!upstream.got("forged"));
    }
}

#[tokio::test]
async fn a_link_never_replaces_another_users_login_without_asking() {
    let scene = Scene::set().await;
    let edge = &scene.edge;
    let first = edge.get(&Edge::link(&scene.ada, &scene.workspace)).await;
    let last = format!("{LAST}={}", first.set_cookie(LAST).expect("the cookie that remembers").0);
    let eve = edge.register("eve@example.com").await;
    let eves = edge.create_session(&eve, "trap").await;

    let asked = edge.send(Request::get(&Edge::link(&eve, &eves)).cookie(&last)).await;
    assert_eq!(asked.status, 200);
    assert!(asked.all("set-cookie").is_empty(), "a question sets no cookie");
    let page = asked.text();
    assert!(
        page.contains("ada@example.com") && page.contains("eve@example.com") && page.contains("<form"),
        "{page}"
    );
    let link = || Request::get(&Edge::link(&scene.ada, &scene.workspace));
    for elsewhere in ["cross-site", "same-site", "none"] {
        let asked = edge.send(link().header("sec-fetch-site", elsewhere)).await;
        assert_eq!(
            (asked.status, asked.all("set-cookie").len()),
            (200, 0),
            "a link from {elsewhere} asks too"
        );
    }
    let ours =
        link().header("sec-fetch-site", "same-site").header("referer", &format!("{}/x", edge.origin()));
    assert_eq!(edge.send(ours).await.status, 303, "an allowed origin's page may link");
    assert_eq!(edge.send(link().header("sec-fetch-site", "same-origin")).await.status, 303);

    let form = format!("token={}&sessionId={eves}", eve.token);
    let confirm = || Request::form("/theia/", &form).cookie(&last);
    for refused in [confirm(), confirm().header("origin", "https://evil.example")] {
        let answer = edge.send(refused).await;
        assert_eq!((answer.refusal(), answer.all("set-cookie").len()), (origin_refused(), 0));
    }
    let confirmed = edge.send(confirm().header("origin", &edge.origin())).await;
    assert_eq!(confirmed.status, 303, "{}", confirmed.text());
    assert_eq!(confirmed.header("location"), Some(format!("/theia/{eves}/").as_str()));
    assert!(confirmed.set_cookie("coditect-workspace").is_some());

    edge.logout(&scene.ada).await;
    let followed = edge.send(Request::get(&Edge::link(&eve, &eves)).cookie(&last)).await;
    assert_eq!(followed.status, 303, "nobody's login is alive here any more");
}

#[tokio::test]
async fn a_bare_path_means_the_workspace_last_opened() {
    let scene = Scene::set().await;
    let edge = &scene.edge;
    let opened = edge.get(&Edge::link(&scene.ada, &scene.workspace)).await;
    let (value, attributes) = opened.set_cookie(LAST).expect("the cookie that remembers");
    assert!(attributes.contains("HttpOnly") && attributes.contains("Path=/theia;"), "{attributes}");
    let last = format!("{LAST}={value}");
    for (bare, leads_to) in [("/theia/", "/"), ("/theia", "/"), ("/theia/a/b.js?x=1", "/a/b.js?x=1")] {
        let answer = edge.send(Request::get(bare).cookie(&last)).await;
        let wanted = scene.path(leads_to);
        assert_eq!((answer.status, answer.header("location")), (302, Some(wanted.as_str())), "{bare}");
    }
    let reached = scene.theia.count();
    let opens = edge.send(Request::get(&scene.path("/")).cookie(&last)).await;
    assert_eq!(opens.refusal(), (401, "MISSING_AUTH_HEADER".into()), "it opens nothing");
    edge.logout(&scene.ada).await;
    let ended = edge.send(Request::get("/theia/").cookie(&last)).await;
    assert_eq!(ended.refusal(), (401, "MISSING_AUTH_HEADER".into()));
    assert_eq!(scene.theia.count(), reached);
}

#[tokio::test]
async fn two_workspaces_live_side_by_side() {
    let scene = Scene::set().await;
    let edge = &scene.edge;
    let other = edge.create_session(&scene.ada, "other").await;
    let other_cookie = edge.open_workspace(&scene.ada, &other).await;
    // A browser sends the cookies whose path matches, and must not be able to mix them up even if it sent all.
    for cookies in [format!("{}; {other_cookie}", scene.cookie), format!("{other_cookie}; {}", scene.cookie)]
    {
        for workspace in [&scene.workspace, &other] {
            let answer = edge.send(Request::get(&format!("/theia/{workspace}/")).cookie(&cookies)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(scene.theia.last().header("x-coditect-workspace"), Some(workspace.as_str()));
        }
    }
}

#[tokio::test]
async fn the_end_of_a_family_ends_its_sockets_and_no_others() {
    let scene = Scene::set().await;
    let edge = &scene.edge;
    let again = edge.login(&scene.ada.email).await;
    let open = async |account: &Account| {
        let target = format!("{}?token={}", scene.path("/services"), account.token);
        ws::open(edge.http, &target, &[]).await.expect("the socket opens")
    };
    let (mut ended, mut kept) = (open(&scene.ada).await, open(&again).await);
    edge.logout(&scene.ada).await;
    assert_eq!(ended.closed(Duration::from_secs(3)).await, Some(4001));
    kept.echo("the other login goes on").await;
    wait_until("the upstream's side ends too", Duration::from_secs(3), || {
        (scene.theia.closes().len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upstreams_cookies_stay_in_their_workspace() {
    let upstream = Upstream::start(|_| {
        Answer::ok("")
            .with("set-cookie", "theia-connection-token=u; Path=/; Domain=example.com; HttpOnly")
            .with("set-cookie", "plain=1")
            .with("set-cookie", "=coditect-refresh=nameless")
            .with("service-worker-allowed", "/")
            .with("clear-site-data", "\"cookies\"")
            .with("set-cookie", "coditect-workspace=forged; Path=/")
            .with("Set-Cookie", "Coditect-Refresh=forged; Path=/api/v5/auth")
    })
    .await;
    let scene = Scene::set_with(|config| {
        config
            .upstream("theia", upstream.address)
            .upstream("v2", upstream.address)
            .route("/api", "upstream = 'v2'\nauth = 'public'")
    })
    .await;
    let answer = scene.edge.get_as(&scene.ada, &scene.path("/")).await;
    let path = scene.path("/");
    let wanted =
        [format!("theia-connection-token=u; HttpOnly; Path={path}"), format!("plain=1; Path={path}")];
    assert_eq!(answer.all("set-cookie"), wanted);
    for origin_wide in ["service-worker-allowed", "clear-site-data"] {
        assert_eq!(answer.header(origin_wide), None, "a workspace does not speak for the whole origin");
    }
    let answer = scene.edge.get("/api/x").await;
    assert_eq!(answer.all("set-cookie").len(), 2, "no route's upstream sets the edge's cookies");
}

#[tokio::test]
async fn long_polling_works_where_sockets_do() {
    let scene = Scene::set().await;
    let edge = &scene.edge;
    let polling = scene.path("/socket.io/?EIO=4&transport=polling&sid=abc");
    let read = edge.send(Request::get(&polling).cookie(&scene.cookie)).await;
    assert_eq!((read.status, read.text().as_str()), (200, "hello from upstream"));
    let sent = Request { target: polling, ..scene.post("") };
    assert_eq!(edge.send(sent.header("origin", &edge.origin())).await.status, 200);
    let seen = scene.theia.last();
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("POST", &b"40"[..]));
    assert_eq!(seen.target, "/socket.io/?EIO=4&transport=polling&sid=abc");
}

#[tokio::test]
async fn a_route_may_hand_the_authorization_on() {
    let scene =
        Scene::set_with(|config| config.route("/theia", &format!("{THEIA}\nforward_authorization = true")))
            .await;
    scene.edge.get_as(&scene.ada, &scene.path("/")).await;
    let bearer = format!("Bearer {}", scene.ada.token);
    assert_eq!(scene.theia.last().header("authorization"), Some(bearer.as_str()));
}

#[tokio::test]
async fn with_a_host_of_their_own_workspaces_share_no_origin_with_the_console() {
    let theia = Upstream::start(|_| Answer::ok("the IDE")).await;
    let edge = Edge::start(&Config::standard(theia.address).server("workspace_host = 'ide.test'")).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let on_ide = |request: Request| request.header("host", "IDE.test:8443");
    let here = |target: &str| Request::get(target).bearer(&ada.token);

    for target in ["/", "/index.html", "/api/v5/health", "/api/v5/sessions"] {
        assert_eq!(
            edge.send(on_ide(here(target))).await.status,
            404,
            "{target} is not on the workspaces' host"
        );
    }
    assert_eq!(edge.send(on_ide(here("/health"))).await.status, 200);
    let inside = format!("/theia/{workspace}/");
    assert_eq!(edge.send(here(&inside)).await.status, 404, "workspaces are on no other host");
    assert_eq!(edge.send(on_ide(here(&inside))).await.text(), "the IDE");

    let moved =
        edge.send(Request::get(&Edge::link(&ada, &workspace)).header("host", "console.test:8443")).await;
    let location = moved.header("location").expect("the hand-over goes on elsewhere").to_owned();
    assert_eq!((moved.status, moved.all("set-cookie").len()), (303, 0));
    assert_eq!(moved.header("referrer-policy"), Some("no-referrer"));
    let target = location.strip_prefix("http://ide.test:8443").expect("on the workspaces' host");
    let opened = edge.send(on_ide(Request::get(target))).await;
    assert_eq!((opened.status, opened.header("location")), (303, Some(inside.as_str())));
    assert!(opened.set_cookie("coditect-workspace").is_some());
}
