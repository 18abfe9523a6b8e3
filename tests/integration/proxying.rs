//! What an upstream gets of a request, and a client of its response.

use crate::support::{Answer, Config, Connection, Edge, Request, Upstream, h2};
use std::sync::Arc;

/// The size of a large body.
const LARGE: usize = 10 * 1024 * 1024;

/// An edge with one public route to this upstream.
async fn edge_before(upstream: &Upstream) -> Edge {
    Edge::start(&public(upstream)).await
}

fn public(upstream: &Upstream) -> Config {
    Config::empty().upstream("up", upstream.address).route("/", "upstream = 'up'\nauth = 'public'")
}

/// Bytes that depend on their place (xorshift64), so that any cut, swap or repetition shows.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    println!("seed {seed:#x}");
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The body in chunks of odd sizes.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(body.len() + body.len() / 64);
    for chunk in body.chunks(40_961) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

#[tokio::test]
async fn an_upstream_learns_who_asks_and_how() {
    let upstream = Upstream::start(|_| Answer::ok("x")).await;
    let edge = edge_before(&upstream).await;
    let request =
        Request::get("/a?b=c").header("host", "coditect.ai").header("x-forwarded-for", "203.0.113.9");
    edge.send(request.header("x-forwarded-proto", "https").header("x-real-ip", "203.0.113.9")).await;
    let seen = upstream.last();
    for (name, value) in [
        ("host", "coditect.ai"),
        ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
        // Nobody is trusted to say otherwise.
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    assert_eq!(seen.target, "/a?b=c");

    let edge = Edge::start(&public(&upstream).server("trusted_proxies = ['127.0.0.0/8']")).await;
    let request = Request::get("/").header("x-forwarded-for", "198.51.100.7, 203.0.113.9");
    edge.send(request.header("x-forwarded-proto", "https")).await;
    let seen = upstream.last();
    assert_eq!(seen.all("x-real-ip"), ["203.0.113.9"], "what the trusted proxy vouches for, and no more");
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let upstream = Upstream::start(|_| {
        Answer::ok("x")
            .with("connection", "keep-alive, x-answer-hop")
            .with("x-answer-hop", "1")
            .with("keep-alive", "timeout=5")
            .with("proxy-authenticate", "Basic")
            .with("x-stays", "1")
    })
    .await;
    let edge = edge_before(&upstream).await;
    let request =
        Request::get("/").header("connection", "x-request-hop, upgrade").header("x-request-hop", "1");
    let request = request.header("keep-alive", "timeout=5").header("te", "trailers").header("upgrade", "x");
    let answer = edge.send(request.header("proxy-authorization", "Basic eA==").header("x-stays", "1")).await;
    let seen = upstream.last();
    for name in ["x-request-hop", "keep-alive", "te", "upgrade", "proxy-authorization"] {
        assert_eq!(seen.header(name), None, "{name} towards the upstream");
    }
    assert!(seen.header("connection").is_none_or(|value| value == "keep-alive"), "{:?}", seen.headers);
    assert_eq!(seen.header("x-stays"), Some("1"));
    for name in ["x-answer-hop", "proxy-authenticate"] {
        assert_eq!(answer.header(name), None, "{name} towards the client");
    }
    assert_ne!(answer.header("keep-alive"), Some("timeout=5"));
    assert_eq!((answer.header("x-stays"), answer.text().as_str()), (Some("1"), "x"));
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions() {
    let body = Arc::new(bytes(0x5eed_0001, LARGE));
    let download = Arc::clone(&body);
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/length" => Answer::Reply(200, Vec::new(), download.to_vec()),
        "/chunks" => {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            Answer::Raw([&head[..], &chunked(&download)].concat())
        }
        "/until-close" => {
            Answer::RawThenClose([&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &download].concat())
        }
        _ => Answer::ok(request.body.len().to_string()),
    })
    .await;
    let edge = edge_before(&upstream).await;
    let mut connection = Connection::open(edge.http).await;
    for target in ["/length", "/chunks", "/until-close", "/length"] {
        let answer = connection.exchange(&Request::get(target)).await;
        assert!(answer.body == *body, "{target}: {} bytes of {LARGE}, or other ones", answer.body.len());
    }
    let plain = Request::new("POST", "/upload").body(body.to_vec());
    let in_chunks =
        Request::new("POST", "/upload").header("transfer-encoding", "chunked").body(chunked(&body));
    for (what, request) in [("with a length", plain), ("in chunks", in_chunks)] {
        let answer = connection.exchange(&request).await;
        assert_eq!(answer.text(), LARGE.to_string(), "{what}");
        assert!(upstream.last().body == *body, "{what}: other bytes");
    }
}

#[tokio::test]
async fn an_empty_body_is_a_body_too() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/204" => Answer::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        "/304" => Answer::Raw(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_vec()),
        _ if request.method == "HEAD" => {
            Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n".to_vec())
        }
        _ => Answer::ok(""),
    })
    .await;
    let edge = edge_before(&upstream).await;
    let mut connection = Connection::open(edge.http).await;
    let cases = [
        ("GET", "/", 200),
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("HEAD", "/", 200),
        ("POST", "/", 200),
    ];
    for (method, target, status) in cases {
        let answer = connection.exchange(&Request::new(method, target)).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{method} {target}");
        if method == "HEAD" {
            assert_eq!(answer.header("content-length"), Some("77"));
        }
    }
    assert_eq!(upstream.count(), cases.len(), "all on one connection of the client's, in step");
    let connections = upstream.requests().iter().map(|request| request.connection).max();
    assert_eq!(connections, Some(0), "and of the upstream's: each answer was read to its end");
}

#[tokio::test]
async fn http_2_reaches_an_http_1_upstream() {
    let body = Arc::new(bytes(0x5eed_0002, LARGE));
    let download = Arc::clone(&body);
    let upstream = Upstream::start(move |request| match request.method.as_str() {
        "GET" => Answer::Reply(200, Vec::new(), download.to_vec()),
        _ => Answer::ok(request.body.len().to_string()),
    })
    .await;
    let edge = edge_before(&upstream).await;
    let request = |method: &str| {
        http::Request::builder()
            .method(method)
            .uri("http://coditect.ai/path?q=1")
            .header("cookie", "a=1")
            .header("cookie", "coditect-workspace=own")
            .header("cookie", "b=2")
            .body(())
            .unwrap()
    };
    let answer = h2::send(edge.http, request("GET"), &[]).await;
    assert!((answer.status, &answer.body) == (200, &*body), "{} bytes of {LARGE}", answer.body.len());
    let seen = upstream.last();
    assert_eq!(seen.all("cookie"), ["a=1; b=2"], "joined (RFC 9113, 8.2.3), without the edge's own");
    assert_eq!((seen.target.as_str(), seen.all("host")), ("/path?q=1", vec!["coditect.ai"]));

    for _ in 0..2 {
        let answer = h2::send(edge.http, request("POST"), &body).await;
        assert_eq!((answer.status, answer.text()), (200, LARGE.to_string()));
        assert!(upstream.last().body == *body);
    }
    // What HTTP/2 left behind on a pooled connection would hurt the next one on it.
    assert_eq!(edge.get("/after").await.body.len(), LARGE);
}

#[tokio::test]
async fn an_upstream_that_fails_has_one_answer_for_each_way() {
    let upstream = Upstream::start_async(|request| {
        Box::pin(async move {
            match request.target.as_str() {
                "/breaks" => Answer::RawThenClose(Vec::new()),
                "/garbage" => Answer::RawThenClose(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()),
                _ => std::future::pending().await,
            }
        })
    })
    .await;
    let slow = format!("address = 'http://{}'\nresponse_timeout_seconds = 1", upstream.address);
    let config = Config::empty()
        .upstream("down", Upstream::nowhere().await)
        .upstream_with("slow", &slow)
        .route("/", "upstream = 'slow'\nauth = 'public'")
        .route("/down", "upstream = 'down'\nauth = 'public'");
    let edge = Edge::start(&config).await;
    for (target, status, code) in [
        ("/down", 502, "UPSTREAM_UNREACHABLE"),
        ("/breaks", 502, "BAD_GATEWAY"),
        ("/garbage", 502, "BAD_GATEWAY"),
        ("/slow", 504, "UPSTREAM_TIMEOUT"),
    ] {
        let answer = edge.get(target).await;
        assert_eq!(answer.refusal(), (status, code.into()), "{target}: {}", answer.text());
        edge.logged("its line", |line| line["path"] == target && line["code"] == code).await;
    }
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("coditect_upstream_requests_total", &[("upstream", "down")]), 1.0);
    assert_eq!(upstream.count(), 3, "nothing is sent twice");
}
