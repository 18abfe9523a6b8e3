//! What plugins can read of a request, and what they leave for later plugins and the access log.

use crate::support::guest::{Guest, Guests};
use crate::support::{Answer, Config, Connection, Edge, Request, Upstream};

/// An upstream that sends a request's body back.
async fn echo() -> Upstream {
    Upstream::start(|request| Answer::ok(request.body.clone())).await
}

/// An edge with one guest on an upstream's route.
async fn before(upstream: &Upstream, guests: &Guests, guest: Guest) -> Edge {
    let file = guests.file("guest", guest);
    let config = Config::empty()
        .upstream("up", upstream.address)
        .plugin_file("guest", &file, "callback_cpu_us = 20000")
        .route("/up", "upstream = 'up'\nauth = 'public'\nplugins = [{ plugin = 'guest' }]");
    Edge::start(&config).await
}

#[tokio::test]
async fn properties_reach_the_access_log_and_later_plugins() {
    let (upstream, guests) = (echo().await, Guests::new());
    let mut first = Guest::new();
    let (path, value) = (first.string("policy\0verdict"), first.string("kept \"safe\""));
    let first = first.on(
        "proxy_on_request_headers",
        &format!("(drop (call $proxy_set_property {path} {value})) (i32.const 0)"),
    );
    let mut second = Guest::new();
    let mut copies = String::new();
    for (path, name) in [
        ("policy\0verdict", "x-verdict"),
        ("coditect\0route", "x-route"),
        ("request\0protocol", "x-protocol"),
        ("xds\0cluster_name", "x-cluster"),
        ("coditect\0tenant_id", "x-tenant"),
    ] {
        let (path, name) = (second.string(path), second.string(name));
        copies += &format!(
            "(if (i32.eqz (call $proxy_get_property {path} (i32.const 64) (i32.const 68))) (then \
             (drop (call $proxy_add_header_map_value (i32.const 0) {name} (i32.load (i32.const 64)) (i32.load (i32.const 68))))))"
        );
    }
    let second = second.on("proxy_on_request_headers", &format!("{copies} (i32.const 0)"));
    let config = Config::empty()
        .upstream("up", upstream.address)
        .plugin_file("first", &guests.file("first", first), "")
        .plugin_file("second", &guests.file("second", second), "")
        .route(
            "/up",
            "upstream = 'up'\nauth = 'public'\nplugins = [{ plugin = 'first' }, { plugin = 'second' }]",
        );
    let edge = Edge::start(&config).await;
    assert_eq!(edge.get("/up/x").await.status, 200);
    let got = upstream.last();
    for (name, value) in [
        ("x-verdict", Some("kept \"safe\"")),
        ("x-route", Some("/up")),
        ("x-protocol", Some("HTTP/1.1")),
        ("x-cluster", Some("up")),
        ("x-tenant", None),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    let line = edge.logged("the request is logged", |line| line["path"] == "/up/x").await;
    assert_eq!(line["properties"]["policy.verdict"], "kept \"safe\"");
}

/// The bytes of a property, as a guest wrote them into a header.
fn bytes(hex: Option<&str>) -> Option<Vec<u8>> {
    let digits = hex?.as_bytes().chunks(2);
    Some(digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect())
}

fn number(hex: Option<&str>) -> Option<i64> {
    Some(i64::from_le_bytes(bytes(hex)?.try_into().expect("eight bytes")))
}

#[tokio::test]
async fn attributes_have_envoys_names_and_encodings() {
    let (upstream, guests) = (echo().await, Guests::new());
    let mut guest = Guest::new();
    let on_request: String = [
        ("request\0time", "p-time"),
        ("source\0address", "p-source"),
        ("source\0port", "p-port"),
        ("destination\0port", "p-destination"),
        ("connection\0id", "p-connection"),
        ("connection\0mtls", "p-mtls"),
        ("connection\0tls_version", "p-tls"),
        ("xds\0route_name", "p-xds"),
        ("coditect\0user_id", "p-user"),
        ("coditect\0claims\0email", "p-email"),
    ]
    .map(|(path, name)| guest.property_to_header(0, path, name))
    .concat();
    let on_response: String = [
        ("response\0code", "p-code"),
        ("response\0code_details", "p-details"),
        ("response\0flags", "p-flags"),
        ("request\0size", "p-size"),
        ("upstream\0address", "p-upstream"),
        ("upstream\0port", "p-upstream-port"),
        ("coditect\0tenant_id", "p-tenant"),
    ]
    .map(|(path, name)| guest.property_to_header(2, path, name))
    .concat();
    let guest = guest
        .on("proxy_on_request_headers", &format!("{on_request} (i32.const 0)"))
        .on("proxy_on_response_headers", &format!("{on_response} (i32.const 0)"));
    let edge = before(&upstream, &guests, guest).await;
    let mut connection = Connection::open(edge.http).await;
    let port = connection.stream.local_addr().unwrap().port();
    let answer = connection.exchange(&Request::new("POST", "/up/x").body("hello")).await;
    assert_eq!(number(answer.header("p-code")), Some(200));
    assert_eq!(bytes(answer.header("p-details")), Some(b"via_upstream".to_vec()));
    assert_eq!(number(answer.header("p-flags")), Some(0));
    assert_eq!(number(answer.header("p-size")), Some(5));
    assert_eq!(bytes(answer.header("p-upstream")), Some(upstream.address.to_string().into_bytes()));
    assert_eq!(number(answer.header("p-upstream-port")), Some(upstream.address.port().into()));
    assert_eq!(answer.header("p-tenant"), None, "nobody is signed in");
    let got = upstream.last();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let age = i64::try_from(now).unwrap() - number(got.header("p-time")).unwrap();
    assert!((-1_000_000_000..60_000_000_000).contains(&age), "{age} ns");
    assert_eq!(bytes(got.header("p-source")), Some(format!("127.0.0.1:{port}").into_bytes()));
    assert_eq!(number(got.header("p-port")), Some(port.into()));
    assert_eq!(number(got.header("p-destination")), Some(edge.http.port().into()));
    assert_eq!(bytes(got.header("p-mtls")), Some(vec![0]));
    assert_eq!(got.header("p-tls"), None);
    assert_eq!(bytes(got.header("p-xds")), Some(b"/up".to_vec()));
    assert_eq!((got.header("p-user"), got.header("p-email")), (None, None));

    let id = number(got.header("p-connection")).expect("the connection has a number");
    connection.exchange(&Request::get("/up/x")).await;
    assert_eq!(number(upstream.last().header("p-connection")), Some(id), "the same connection");
    edge.get("/up/x").await;
    assert_ne!(number(upstream.last().header("p-connection")), Some(id), "another one");
}

#[tokio::test]
async fn what_a_plugin_rewrites_stays_where_the_gate_let_it_in() {
    let (upstream, guests) = (echo().await, Guests::new());
    let mut guest = Guest::new();
    let (path, method) = (guest.string(":path"), guest.string(":method"));
    let (x_path, x_method) = (guest.string("x-path"), guest.string("x-method"));
    let copy = |from: &str, to: &str| {
        format!(
            "(if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {from} (i32.const 64) (i32.const 68))) (then \
             (drop (call $proxy_replace_header_map_value (i32.const 0) {to} (i32.load (i32.const 64)) (i32.load (i32.const 68))))))"
        )
    };
    let body = format!("{} {} (i32.const 0)", copy(&x_path, &path), copy(&x_method, &method));
    let file = guests.file("guest", guest.on("proxy_on_request_headers", &body));
    let with = "auth = 'public'\nplugins = [{ plugin = 'guest' }]";
    let config = Config::empty()
        .upstream("up", upstream.address)
        .plugin_file("guest", &file, "callback_cpu_us = 20000")
        .route("/up", &format!("upstream = 'up'\n{with}"))
        .route("/guarded", "upstream = 'up'\nauth = 'jwt'")
        .route("/api/v5", &format!("local = 'api'\n{with}"));
    let edge = Edge::start(&config).await;
    let ask = |target: &str, header: &'static str, value: &'static str| {
        let request = Request::get(target).header(header, value);
        let edge = &edge;
        async move { edge.send(request).await.status }
    };
    assert_eq!(ask("/up/x", "x-path", "/up/y?z=1").await, 200);
    assert_eq!(upstream.last().target, "/up/y?z=1");
    let reached = upstream.count();
    assert_eq!(ask("/up/x", "x-path", "/guarded/x").await, 404, "another route's");
    assert_eq!(ask("/up/x", "x-path", "/nowhere").await, 404, "nobody's");
    assert_eq!(ask("/up/x", "x-method", "POST").await, 404, "less safe than it was");
    assert_eq!(ask("/up/x", "x-method", "TRACE").await, 404);
    assert_eq!(ask("/api/v5/openapi.json", "x-path", "/api/v5/health").await, 404, "a service's");
    assert_eq!(upstream.count(), reached, "nothing of it got through");
}
