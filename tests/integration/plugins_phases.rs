//! Every phase of a plugin in a running edge: pauses, bodies, local responses, and what becomes of the connections.

use crate::support::guest::{Guest, Guests};
use crate::support::{Answer, Config, Connection, DEADLINE, Edge, Request, Upstream, h2, within, ws};
use std::time::Instant;

/// Routes with one guest on each: `/up` to an upstream, `/api/v5` to the API, `/` to the console's files.
fn everywhere(upstream: &Upstream, file: &std::path::Path) -> Config {
    let with = |target: &str| format!("{target}\nauth = 'public'\nplugins = [{{ plugin = 'guest' }}]");
    Config::empty()
        .upstream("up", upstream.address)
        .plugin_file("guest", file, "callback_cpu_us = 20000")
        .route("/up", &with("upstream = 'up'"))
        .route("/api/v5", &with("local = 'api'"))
        .route("/", &with("local = 'console'"))
}

/// An edge with one guest on an upstream's route.
async fn before(upstream: &Upstream, guests: &Guests, guest: Guest) -> Edge {
    Edge::start(&everywhere(upstream, &guests.file("guest", guest))).await
}

/// An upstream that sends a request's body back.
async fn echo() -> Upstream {
    Upstream::start(|request| match request.header("upgrade") {
        Some(_) => Answer::Echo,
        None => Answer::ok(request.body.clone())
            .with("x-length", request.header("content-length").unwrap_or("none")),
    })
    .await
}

const EVERYWHERE: [&str; 3] = ["/up/x", "/api/v5/health", "/"];

/// Pauses at the headers of both directions and lets go at the next tick.
fn pausing() -> Guest {
    let mut guest = Guest::new();
    let (request, response) =
        (guest.add_header(0, "x-paused", "request"), guest.add_header(2, "x-paused", "response"));
    let period = "(drop (call $proxy_set_tick_period_milliseconds (i32.const 10))) (i32.const 1)";
    guest
        .on("proxy_on_configure", period)
        .on("proxy_on_request_headers", &format!("{request} (call $wait (local.get $p0)) (i32.const 1)"))
        .on("proxy_on_response_headers", &format!("{response} (call $wait (local.get $p0)) (i32.const 1)"))
        .on("proxy_on_tick", "(local $n i32) (local.set $n (global.get $waiting)) (call $resume_all (i32.const 0)) (global.set $waiting (local.get $n)) (call $resume_all (i32.const 1))")
}

#[tokio::test]
async fn a_paused_request_and_response_go_on_at_a_tick_whatever_the_target() {
    let (upstream, guests) = (echo().await, Guests::new());
    let edge = before(&upstream, &guests, pausing()).await;
    for target in EVERYWHERE {
        let answer = edge.get(target).await;
        assert_eq!((answer.status, answer.header("x-paused")), (200, Some("response")), "{target}");
    }
    assert_eq!(upstream.last().header("x-paused"), Some("request"));
    let socket = ws::open(edge.http, "/up/socket", &[]).await.expect("the socket opens");
    assert!(socket.headers.iter().any(|(name, value)| name == "x-paused" && value == "response"));
    assert_eq!(upstream.last().header("x-paused"), Some("request"));
}

#[tokio::test]
async fn a_hundred_paused_requests_go_on_and_keep_their_connections() {
    let (upstream, guests) = (echo().await, Guests::new());
    let edge = before(&upstream, &guests, pausing()).await;
    let requests = (0..100).map(|n| {
        let http = edge.http;
        tokio::spawn(async move {
            let mut connection = Connection::open(http).await;
            for turn in 0..3 {
                let target = EVERYWHERE[(n + turn) % 3];
                let answer = connection.exchange(&Request::get(target)).await;
                assert_eq!((answer.status, answer.header("x-paused")), (200, Some("response")), "{target}");
            }
        })
    });
    for request in requests.collect::<Vec<_>>() {
        request.await.unwrap();
    }
}

/// Holds a body back until its end, then puts another in its place: the one given, or nothing.
fn replacing(body: &str) -> Guest {
    let mut guest = Guest::new();
    let (request, response) = (guest.replace_body(0, body), guest.replace_body(1, body));
    let until_the_end = |replace: &str| {
        format!("(if (i32.eqz (local.get $p2)) (then (return (i32.const 1)))) {replace} (i32.const 0)")
    };
    guest
        .on("proxy_on_request_body", &until_the_end(&request))
        .on("proxy_on_response_body", &until_the_end(&response))
}

#[tokio::test]
async fn held_bodies_are_replaced_in_both_directions_with_the_right_lengths() {
    for replacement in ["", "x", &"other ".repeat(300)] {
        let (upstream, guests) = (echo().await, Guests::new());
        let edge = before(&upstream, &guests, replacing(replacement)).await;
        let mut connection = Connection::open(edge.http).await;
        for size in [1, 1000, 300_000] {
            let request = Request::new("POST", "/up/x").body(vec![b'a'; size]);
            let answer = connection.exchange(&request).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, replacement), "{size}");
            let length = answer.header("content-length").map(str::to_owned);
            assert_eq!(
                length,
                Some(replacement.len().to_string()),
                "the length is known: {:?}",
                answer.headers
            );
            assert_eq!(upstream.last().body, replacement.as_bytes(), "{size}");
            let chunked = format!("{size:x}\r\n{}\r\n0\r\n\r\n", "b".repeat(size));
            connection.write("POST /up/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            connection.write(chunked).await;
            assert_eq!(connection.response().await.unwrap().text(), replacement, "chunked, {size}");
            assert_eq!(upstream.last().body, replacement.as_bytes(), "chunked, {size}");

            let request = http::Request::post(format!("http://{}/up/x", edge.authority())).body(()).unwrap();
            let answer = h2::send(edge.http, request, &vec![b'c'; size]).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, replacement), "HTTP/2, {size}");
            assert_eq!(upstream.last().body, replacement.as_bytes(), "HTTP/2, {size}");
        }
        for target in ["/api/v5/health", "/"] {
            assert_eq!(connection.exchange(&Request::get(target)).await.text(), replacement, "{target}");
            let head = connection.exchange(&Request::new("HEAD", target)).await;
            assert!(head.body.is_empty() && head.header("content-length").is_none(), "{:?}", head.headers);
        }
        assert_eq!(connection.exchange(&Request::get("/up/x")).await.status, 200, "the connection goes on");
    }
}

#[tokio::test]
async fn a_local_response_from_every_phase_takes_the_place_of_all() {
    let phases = [
        ("proxy_on_request_headers", "(i32.const 1)"),
        ("proxy_on_request_body", "(i32.const 1)"),
        ("proxy_on_response_headers", "(i32.const 1)"),
        ("proxy_on_response_body", "(i32.const 1)"),
    ];
    for (phase, action) in phases {
        let (upstream, guests) = (echo().await, Guests::new());
        let mut guest = Guest::new();
        let respond = guest.respond(418, "from the guest");
        let edge = before(&upstream, &guests, guest.on(phase, &format!("{respond} {action}"))).await;
        let mut connection = Connection::open(edge.http).await;
        for _ in 0..2 {
            let answer = connection.exchange(&Request::new("POST", "/up/x").body("hello")).await;
            let got = (answer.status, answer.text(), answer.header("x-local"));
            assert_eq!(got, (418, "from the guest".into(), Some("1")), "{phase}");
            // A response before the request's body was read ends the connection, and says so.
            let ends = answer.header("connection") == Some("close");
            assert_eq!(ends, phase == "proxy_on_request_headers", "{phase}");
            if ends {
                assert_eq!(connection.rest().await, b"");
                connection = Connection::open(edge.http).await;
            }
        }
        let reached = upstream.count();
        assert_eq!(reached > 0, phase.contains("response"), "{phase}: {reached} whole requests");
        let request = http::Request::post(format!("http://{}/up/x", edge.authority())).body(()).unwrap();
        let answer = h2::send(edge.http, request, b"hello").await;
        assert_eq!((answer.status, answer.text().as_str()), (418, "from the guest"), "{phase} on HTTP/2");
        if phase.contains("headers") || phase.contains("response") {
            for target in ["/api/v5/health", "/"] {
                let answer = connection.exchange(&Request::get(target)).await;
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (418, "from the guest"),
                    "{phase} {target}"
                );
            }
        }
        let line = edge.logged("the access log tells of it", |line| line["code"] == "PLUGIN_RESPONSE").await;
        assert_eq!(line["status"], 418);
        if phase.contains("headers") {
            let refused = ws::open(edge.http, "/up/socket", &[]).await.expect_err("no socket");
            assert_eq!(
                (refused.status, refused.text().as_str()),
                (418, "from the guest"),
                "{phase}, upgrade"
            );
        }
    }
}

#[tokio::test]
async fn a_held_response_gets_another_status_and_body_once_its_body_was_read() {
    let (upstream, guests) = (echo().await, Guests::new());
    let mut guest = Guest::new();
    let (status, code) = (guest.string(":status"), guest.string("203"));
    let replace = guest.replace_body(1, "rewritten");
    let at_the_end = format!(
        "(if (i32.eqz (local.get $p2)) (then (return (i32.const 1)))) \
         (drop (call $proxy_replace_header_map_value (i32.const 2) {status} {code})) {replace} (i32.const 0)"
    );
    let guest =
        guest.on("proxy_on_response_headers", "(i32.const 1)").on("proxy_on_response_body", &at_the_end);
    let file = guests.file("guest", guest);
    let config = everywhere(&upstream, &file).plugin_file("guest", &file, "stop_iteration = true");
    let edge = Edge::start(&config).await;
    let mut connection = Connection::open(edge.http).await;
    for target in ["/up/x", "/api/v5/health", "/", "/up/y"] {
        // What answers before it has read a body ends the connection.
        let request = match target.starts_with("/up") {
            true => Request::new("GET", target).body("hello"),
            false => Request::get(target),
        };
        let answer = connection.exchange(&request).await;
        assert_eq!((answer.status, answer.text().as_str()), (203, "rewritten"), "{target}");
        assert_eq!(answer.header("content-length"), Some("9"), "{target}");
    }
}

#[tokio::test]
async fn a_local_response_passes_the_response_phase_once() {
    let (upstream, guests) = (echo().await, Guests::new());
    let mut guest = Guest::new();
    let (respond, header) = (guest.respond(418, "from the guest"), guest.add_header(2, "x-phase", "seen"));
    let guest = guest
        .on("proxy_on_request_headers", &format!("{respond} (i32.const 1)"))
        .on("proxy_on_response_headers", &format!("{header} (i32.const 0)"));
    let edge = before(&upstream, &guests, guest).await;
    let answer = edge.get("/up/x").await;
    assert_eq!((answer.status, answer.all("x-phase")), (418, vec!["seen"]));
}

#[tokio::test]
async fn a_closed_stream_gets_no_response() {
    for phase in ["proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_response_body"] {
        let (upstream, guests) = (echo().await, Guests::new());
        let guest = Guest::new().on(phase, "(drop (call $proxy_close_stream (i32.const 0))) (i32.const 1)");
        let edge = before(&upstream, &guests, guest).await;
        let mut connection = Connection::open(edge.http).await;
        connection.send(&Request::new("POST", "/up/x").body("x")).await;
        assert_eq!(connection.rest().await, b"", "{phase}");
        assert_eq!(edge.logged("it is logged", |line| line["code"] == "PLUGIN_CLOSED").await["status"], 0);
    }
}

#[tokio::test]
async fn a_pause_that_is_never_resumed_ends_with_504() {
    for phase in ["proxy_on_request_headers", "proxy_on_response_headers"] {
        let (upstream, guests) = (echo().await, Guests::new());
        let file = guests.file("guest", Guest::new().on(phase, "(i32.const 1)"));
        let route =
            "upstream = 'up'\nauth = 'public'\nplugin_timeout_seconds = 1\nplugins = [{ plugin = 'guest' }]";
        let edge = Edge::start(&everywhere(&upstream, &file).route("/up", route)).await;
        let mut connection = Connection::open(edge.http).await;
        let began = Instant::now();
        let answer = connection.exchange(&Request::get("/up/x")).await;
        assert_eq!(answer.refusal(), (504, "PLUGIN_TIMEOUT".into()), "{phase}");
        assert!(began.elapsed() < DEADLINE, "{phase}");
    }
}

#[tokio::test]
async fn a_body_that_is_held_has_a_limit() {
    let (upstream, guests) = (Upstream::start(|_| Answer::ok(vec![b'x'; 3 << 20])).await, Guests::new());
    let edge = before(&upstream, &guests, replacing("small")).await;
    let mut connection = Connection::open(edge.http).await;
    let answer = connection.exchange(&Request::get("/up/x")).await;
    assert_eq!(answer.refusal(), (502, "RESPONSE_TOO_LARGE".into()));
    let answer = connection.exchange(&Request::new("POST", "/up/x").body(vec![b'x'; 3 << 20])).await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "small"), "refusals pass the response phase");
    edge.logged("it is called what it is", |line| line["code"] == "PAYLOAD_TOO_LARGE").await;
    assert_eq!(connection.rest().await, b"", "the rest of the body is read by nobody");
}

/// Looks at every piece of a body and lets it pass.
fn watching() -> Guest {
    Guest::new().on("proxy_on_request_body", "(i32.const 0)").on("proxy_on_response_body", "(i32.const 0)")
}

#[tokio::test]
async fn large_bodies_stream_through_a_plugin_in_bounded_memory() {
    const SIZE: usize = 64 << 20;
    let (upstream, guests) = (echo().await, Guests::new());
    let edge = before(&upstream, &guests, watching()).await;
    assert_eq!(edge.get("/up/x").await.status, 200);
    let before = resident(&edge);
    let body: Vec<u8> = (0..SIZE).map(|n| (n / 4096) as u8).collect();
    let answer = edge.send(Request::new("PUT", "/up/x").body(body.clone())).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
    let grown = resident(&edge).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes of memory for a body of {SIZE}");
}

/// Resident memory, in bytes.
fn resident(edge: &Edge) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/statm", edge.pid().as_raw_nonzero())).unwrap();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

#[tokio::test]
async fn a_response_may_begin_and_go_on_while_the_request_comes_in() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Sends each byte back as a chunk, as soon as it is there.
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        for _ in 0..3 {
            // A chunk of one byte: "1\r\nX\r\n".
            let mut chunk = [0; 6];
            stream.read_exact(&mut chunk).await.unwrap();
            stream.write_all(&chunk).await.unwrap();
        }
        let mut end = [0; 5];
        stream.read_exact(&mut end).await.unwrap();
        stream.write_all(&end).await.unwrap();
        stream
    });
    let guests = Guests::new();
    let file = guests.file("guest", watching());
    let config = Config::empty()
        .upstream("up", address)
        .plugin_file("guest", &file, "")
        .route("/", "upstream = 'up'\nauth = 'public'\nplugins = [{ plugin = 'guest' }]");
    let edge = Edge::start(&config).await;
    let mut connection = Connection::open(edge.http).await;
    connection.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for letter in ["a", "b", "c"] {
        connection.write(format!("1\r\n{letter}\r\n")).await;
        let echoed = async {
            while !connection.buffer.windows(6).any(|part| part == format!("1\r\n{letter}\r\n").as_bytes()) {
                connection.stream.read_buf(&mut connection.buffer).await.unwrap();
            }
        };
        within("the letter comes back before the next is sent", echoed).await;
    }
    connection.write("0\r\n\r\n").await;
    assert_eq!(connection.response().await.unwrap().text(), "abc");
    drop(serving.await.unwrap());
}

#[tokio::test]
async fn upstreams_that_fail_are_told_of_as_without_plugins() {
    let guests = Guests::new();
    let file = guests.file("guest", watching());
    let nowhere = Upstream::nowhere().await;
    let broken = Upstream::start(|_| Answer::RawThenClose(b"SSH-2.0-x\r\n\r\n".to_vec())).await;
    let cut = Upstream::start(|_| {
        Answer::RawThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec())
    })
    .await;
    let silent = Upstream::start_async(|_| Box::pin(std::future::pending())).await;
    let route =
        |name: &str| format!("upstream = '{name}'\nauth = 'public'\nplugins = [{{ plugin = 'guest' }}]");
    let config = Config::empty()
        .upstream("nowhere", nowhere)
        .upstream("broken", broken.address)
        .upstream("cut", cut.address)
        .upstream_with(
            "silent",
            &format!("address = 'http://{}'\nresponse_timeout_seconds = 1", silent.address),
        )
        .plugin_file("guest", &file, "")
        .route("/nowhere", &route("nowhere"))
        .route("/broken", &route("broken"))
        .route("/cut", &route("cut"))
        .route("/silent", &route("silent"));
    let edge = Edge::start(&config).await;
    for (path, status, code) in [
        ("/nowhere", 502, "UPSTREAM_UNREACHABLE"),
        ("/broken", 502, "BAD_GATEWAY"),
        ("/silent", 504, "UPSTREAM_TIMEOUT"),
    ] {
        assert_eq!(edge.get(path).await.refusal(), (status, code.into()), "{path}");
    }
    let mut connection = Connection::open(edge.http).await;
    connection.send(&Request::get("/cut")).await;
    connection.response().await.expect_err("half a body is no response");
}

#[tokio::test]
async fn connections_to_upstreams_are_kept_and_dead_ones_replaced() {
    let (upstream, guests) = (echo().await, Guests::new());
    let edge = before(&upstream, &guests, watching()).await;
    for _ in 0..5 {
        assert_eq!(edge.get("/up/x").await.status, 200);
        assert_eq!(edge.send(Request::new("POST", "/up/x").body("hello")).await.text(), "hello");
    }
    let connections: Vec<usize> = upstream.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0; 10], "one connection carries them all");

    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let closing = Upstream::start(|_| Answer::RawThenClose(whole.to_vec())).await;
    let edge = self::before(&closing, &guests, watching()).await;
    for turn in 0..20 {
        assert_eq!(
            edge.get("/up/x").await.text(),
            "ok",
            "{turn}: a connection that the upstream closed is no error"
        );
    }
}
