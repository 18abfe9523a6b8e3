//! The main job, end to end: from registration to a terminal, a policy, the end of a login, and a restart.

use crate::support::config::THEIA;
use crate::support::{Account, Answer, Config, Edge, Request, Upstream, ws};
use serde_json::json;
use std::time::Duration;

/// Within this long of a logout its sockets are closed ("within a second", and a slow machine).
const SIGNED_OUT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn from_registration_to_a_restart() {
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address);
    let edge = Edge::start(&config).await;

    edge.register("ada@example.com").await;
    let ada = edge.login("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let cookie = open_theia(&edge, &ada, &workspace).await;

    let services = format!("/theia/{workspace}/services");
    let browser = [("cookie", cookie.as_str()), ("origin", &edge.origin())];
    let mut socket = ws::open(edge.http, &services, &browser).await.expect("the socket opens");
    socket.echo("hello through the edge").await;
    assert_eq!(theia.last().target, "/services", "the upstream sees the path without the prefix");

    policy_of_one_tenant(&edge, &theia, config.clone(), &ada, &workspace).await;
    socket.echo("still open after the reload").await;

    let mut terminal = open_terminal(&edge, &ada, &workspace).await;
    terminal.send_bytes(b"echo $((6*7))\n").await;
    terminal.output_with("42\r\n").await;

    edge.logout(&ada).await;
    let (theia_code, terminal_code) = tokio::join!(socket.closed(SIGNED_OUT), terminal.closed(SIGNED_OUT));
    assert_eq!((theia_code, terminal_code), (Some(4001), Some(4001)), "both sockets end with the login");
    let refused = edge.get_as(&ada, &format!("/api/v5/sessions/{workspace}")).await;
    assert_eq!(refused.refusal(), (401, "TOKEN_REVOKED".into()));
    let refused = edge.send(Request::get(&format!("/theia/{workspace}/")).cookie(&cookie)).await;
    assert_eq!(refused.refusal(), (401, "TOKEN_REVOKED".into()), "the cookie ends with the login too");

    let data = edge.stop().await;
    let edge = Edge::start_on(data, &config).await;
    let refused = edge.get_as(&ada, "/api/v5/sessions").await;
    assert_eq!(refused.refusal(), (401, "TOKEN_REVOKED".into()), "a restart revives no login");
    let ada = edge.login("ada@example.com").await;
    let session = edge.get_as(&ada, &format!("/api/v5/sessions/{workspace}")).await.data(200);
    assert_eq!((&session["id"], &session["name"]), (&json!(workspace), &json!("engines")));
    let listed = edge.get_as(&ada, "/api/v5/sessions").await.data(200);
    assert_eq!(listed.as_array().expect("a list").len(), 1, "{listed}");
    edge.stop().await;
}

/// Follows the link with the token; gives the cookie it is exchanged for.
async fn open_theia(edge: &Edge, account: &Account, workspace: &str) -> String {
    let answer = edge.get(&Edge::link(account, workspace)).await;
    let home = format!("/theia/{workspace}/");
    assert_eq!((answer.status, answer.header("location")), (303, Some(home.as_str())), "{}", answer.text());
    let (value, attributes) = answer.set_cookie("coditect-workspace").expect("the workspace's cookie");
    let attributes: Vec<&str> = attributes.split("; ").collect();
    for wanted in ["HttpOnly", "SameSite=Lax", &format!("Path={home}")] {
        assert!(attributes.contains(&wanted), "{wanted} is not among {attributes:?}");
    }
    let said = format!("{:?} {}", answer.headers, answer.text());
    assert!(!said.contains(&account.token), "the token stays nowhere in the answer");

    let cookie = format!("coditect-workspace={value}");
    let page = edge.send(Request::get(&home).cookie(&cookie)).await;
    assert_eq!((page.status, page.text().as_str()), (200, "hello from upstream"));
    cookie
}

/// Configures the policy for this account's tenant alone; another tenant on the same route is not touched.
async fn policy_of_one_tenant(
    edge: &Edge,
    theia: &Upstream,
    config: Config,
    account: &Account,
    workspace: &str,
) {
    let grace = edge.register("grace@example.com").await;
    let other_workspace = edge.create_session(&grace, "compilers").await;
    let blocked = async |account: &Account, workspace: &str| {
        let request = Request::get(&format!("/theia/{workspace}/index.js")).bearer(&account.token);
        edge.send(request.header("x-coditect-region", "blocked")).await
    };
    assert_eq!(blocked(account, workspace).await.status, 200, "no policy yet");

    let used = format!("{THEIA}\nplugins = [{{ plugin = 'policy', tenants = ['{}'] }}]", account.tenant_id);
    let policy = r#"config = '{"header": "x-coditect-region", "deny_values": ["blocked"]}'"#;
    let taken = edge.reload(&config.plugin("policy", "tenant-policy", policy).route("/theia", &used)).await;
    assert!(taken, "{}", edge.stderr());

    let before = theia.count();
    let refused = blocked(account, workspace).await;
    assert_eq!(refused.refusal(), (403, "POLICY_DENIED".into()));
    assert_eq!(theia.count(), before, "what the policy refuses reaches no upstream");
    let passed = edge.get_as(account, &format!("/theia/{workspace}/index.js")).await;
    assert_eq!((passed.status, passed.header("x-policy-plugin")), (200, Some("tenant-policy")));
    let marked = format!("{};region=none", account.tenant_id);
    assert_eq!(theia.last().header("x-policy"), Some(marked.as_str()), "it adds a request header");

    let other = blocked(&grace, &other_workspace).await;
    assert_eq!((other.status, other.header("x-policy-plugin")), (200, None), "another tenant passes");
    assert_eq!(theia.last().header("x-policy"), None);
}

/// A shell in the workspace, attached as a browser attaches: it cannot set headers on a WebSocket.
async fn open_terminal(edge: &Edge, account: &Account, workspace: &str) -> ws::Socket {
    let target = edge.create_terminal(account, workspace).await;
    let target = format!("{target}?token={}", account.token);
    let origin = edge.origin();
    let mut terminal = ws::open(edge.http, &target, &[("origin", &origin)]).await.expect("the terminal");
    let hello = terminal.next().await.expect("a first message").into_text().expect("of text");
    assert!(hello.contains(r#""type":"hello""#), "{hello}");
    terminal
}

#[tokio::test]
async fn a_refresh_disturbs_no_socket_and_a_reused_refresh_token_ends_them() {
    let theia = Upstream::start(|_| Answer::Echo).await;
    let edge = Edge::start(&Config::standard(theia.address).auth("refresh_grace_seconds = 0")).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let target = format!("/theia/{workspace}/services?token={}", ada.token);
    let mut socket = ws::open(edge.http, &target, &[]).await.expect("the socket opens");

    let refresh = json!({ "refreshToken": ada.refresh_token });
    let refreshed = edge.send(Request::post("/api/v5/auth/refresh", &refresh)).await.data(200);
    socket.echo("after the refresh").await;
    let reused = edge.send(Request::post("/api/v5/auth/refresh", &refresh)).await;
    assert_eq!(reused.refusal(), (401, "TOKEN_REVOKED".into()));
    assert_eq!(socket.closed(SIGNED_OUT).await, Some(4001), "the family was revoked");
    let newest = refreshed["token"].as_str().expect("a token");
    let refused = edge.send(Request::get("/api/v5/sessions").bearer(newest)).await;
    assert_eq!(refused.refusal(), (401, "TOKEN_REVOKED".into()));
}
