//! What operators see: metrics, the access log, traces.

use crate::support::{Answer, Config, Connection, Edge, Request, Upstream, wait_for, ws};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn metrics_count_by_route_and_upstream() {
    let theia = Upstream::echo().await;
    let config = Config::standard(theia.address)
        .upstream("v2", theia.address)
        .route("/api", "upstream = 'v2'\nauth = 'public'");
    let edge = Edge::start(&config).await;
    for _ in 0..3 {
        edge.get("/api/v5/health").await;
    }
    edge.get("/api/v5/sessions").await;
    edge.get("/api/users").await;
    let socket = ws::open(edge.http, "/api/socket", &[]).await.expect("the socket");
    let metrics = edge.metrics().await;
    let requests =
        |route, class| metrics.sum("coditect_requests_total", &[("route", route), ("class", class)]);
    assert_eq!((requests("/api/v5", "2xx"), requests("/api/v5", "4xx")), (3.0, 1.0));
    assert_eq!(requests("/api", "2xx"), 1.0);
    assert_eq!(metrics.sum("coditect_request_duration_seconds_count", &[("route", "/api/v5")]), 4.0);
    assert!(metrics.sum("coditect_request_duration_seconds_sum", &[("route", "/api/v5")]) > 0.0);
    assert_eq!(metrics.sum("coditect_upstream_requests_total", &[("upstream", "v2"), ("class", "2xx")]), 1.0);
    assert_eq!(metrics.sum("coditect_open_sockets", &[("route", "/api")]), 1.0);

    drop(socket);
    edge.logged("the socket's line", |line| line["status"] == 101).await;
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("coditect_open_sockets", &[]), 0.0);
    assert_eq!(metrics.sum("coditect_socket_ends_total", &[("route", "/api")]), 1.0);
}

#[tokio::test]
async fn no_client_can_add_a_series() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let visit = async |number: usize| {
        edge.get(&format!("/path-{number}")).await;
        edge.get(&format!("/api/v5/sessions/{number}")).await;
        edge.get_as(&ada, &format!("/theia/{workspace}/file-{number}")).await;
        edge.send(
            Request::new(&format!("METHOD{number}"), "/x").header("host", &format!("h{number}.example")),
        )
        .await;
        let mut connection = Connection::open(edge.http).await;
        connection.write(format!("GET /{number} HTTP/1.1\r\nBad Header{number}\r\n\r\n")).await;
        drop(connection.response().await);
    };
    let names = async || -> BTreeSet<String> {
        let text = edge.metrics().await.0;
        text.lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| Some(l.rsplit_once(' ')?.0.to_owned()))
            .collect()
    };
    visit(0).await;
    let before = names().await;
    for number in 1..20 {
        visit(number).await;
    }
    let after = names().await;
    let added: Vec<_> = after.difference(&before).collect();
    assert!(added.is_empty(), "{added:?}");
    let hints = ["path-", "file-", "METHOD", "h1.example", ada.tenant_id.as_str(), workspace.as_str()];
    assert!(!after.iter().any(|series| hints.iter().any(|hint| series.contains(hint))), "{after:?}");
}

#[tokio::test]
async fn each_request_has_one_line_with_its_id() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let target = format!("/theia/{workspace}/file?sid=secret&x=1");
    let answer = edge.send(Request::get(&target).bearer(&ada.token).header("host", "coditect.ai")).await;
    let id = answer.header("x-request-id").expect("a request id").to_owned();
    assert_eq!(theia.last().header("x-request-id"), Some(id.as_str()), "the upstream has the same");
    let line = edge.logged("its line", |line| line["request_id"] == id.as_str()).await;
    for (field, value) in [
        ("client", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
        ("method", "GET"),
        ("host", "coditect.ai"),
        ("path", &format!("/theia/{workspace}/file")),
        ("query", "sid&x"),
        ("route", "/theia"),
        ("upstream", "theia"),
        ("tenant", &ada.tenant_id),
        ("user", &ada.user_id),
        ("workspace", &workspace),
    ] {
        assert_eq!(line[field], *value, "{field}");
    }
    assert_eq!((&line["status"], &line["bytes_out"]), (&Value::from(200), &Value::from(19)));
    assert!(line["duration_us"].as_u64().is_some_and(|duration| duration > 0), "{line}");
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");

    // Refusals have theirs, whatever refused them.
    let mut connection = Connection::open(edge.http).await;
    connection
        .write("GET /two-lengths HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        .await;
    let malformed = connection.response().await.expect("an answer");
    for (answer, status) in
        [(edge.get("/theia/").await, 401), (edge.get("/missing.js").await, 404), (malformed, 400)]
    {
        let id = answer.header("x-request-id").expect("a request id").to_owned();
        let line = edge.logged("a refusal's line", |line| line["request_id"] == id.as_str()).await;
        assert_eq!((answer.status, &line["status"]), (status, &Value::from(status)));
    }
    let ids: Vec<_> = edge.access_log().iter().map(|line| line["request_id"].to_string()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "one line each");
    assert_eq!(ids.len(), 6);
    assert!(!edge.stdout().contains("secret"), "no values of the query");
}

#[tokio::test]
async fn a_trace_goes_on_or_begins() {
    let upstream = Upstream::start(|_| Answer::ok("x")).await;
    let config =
        Config::empty().upstream("up", upstream.address).route("/", "upstream = 'up'\nauth = 'public'");
    let edge = Edge::start(&config).await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    edge.send(Request::get("/joined").header("traceparent", &parent).header("tracestate", "a=1")).await;
    let seen = upstream.last();
    let passed = seen.header("traceparent").expect("a traceparent").to_owned();
    assert!(passed.starts_with(&format!("00-{TRACE}-")) && passed.ends_with("-01"), "{passed}");
    assert_ne!(passed, parent, "the edge is a span of its own");
    assert_eq!(seen.header("tracestate"), Some("a=1"));
    let line = edge.logged("its line", |line| line["path"] == "/joined").await;
    assert_eq!(line["trace_id"], TRACE);

    for sent in [None, Some("nonsense"), Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01")] {
        let request = Request::get("/begun");
        edge.send(sent.into_iter().fold(request, |request, sent| request.header("traceparent", sent))).await;
        let made = upstream.last();
        let made = made.all("traceparent");
        assert_eq!(made.len(), 1, "{sent:?}");
        let parts: Vec<_> = made[0].split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2], "{made:?}");
        assert_ne!(made[0].split('-').nth(1), Some("00000000000000000000000000000000"));
    }
}

#[tokio::test]
async fn operators_ask_on_a_listener_of_their_own() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    for (target, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/nothing", 404)] {
        assert_eq!(edge.admin(target).await.status, status, "{target}");
    }
    for target in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(edge.get(target).await.status, 404, "{target} is not for clients");
    }
    let health = edge.get("/health").await;
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("ok")));
    let open = Connection::open(edge.http).await;
    wait_for("an open connection is counted", Duration::from_secs(10), async || {
        (edge.metrics().await.sum("coditect_open_connections", &[]) == 1.0).then_some(())
    })
    .await;
    drop(open);
}
