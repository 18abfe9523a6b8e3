//! WebSocket tunnels at the bytes' level: what comes with the 101, what comes after a refusal.

use crate::support::upstream::Recorded;
use crate::support::{Answer, Config, Connection, Edge, Request, Upstream, ws};
use futures::StreamExt;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A handshake as a browser sends it.
fn handshake(target: &str) -> Request {
    Request::get(target)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

fn public(upstream: &Upstream) -> Config {
    Config::empty().upstream("up", upstream.address).route("/", "upstream = 'up'\nauth = 'public'")
}

/// The 101 and these frames in one write, as an upstream on the same machine sends them.
fn at_once(request: &Recorded, frames: &[u8]) -> Answer {
    let accept = derive_accept_key(request.header("sec-websocket-key").unwrap_or_default().as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Answer::Raw([head.as_bytes(), frames].concat())
}

/// A text frame `at once`.
const HELLO: &[u8] = b"\x81\x07at once";

/// `times` upgrades, some at a time, each of which must bring the frame that came with its 101.
async fn upgrades(times: usize) {
    let upstream = Upstream::start(|request| at_once(request, HELLO)).await;
    let edge = Edge::start(&public(&upstream).server("access_log = false")).await;
    let one = async |number: usize| {
        let mut connection = Connection::open(edge.http).await;
        connection.send(&handshake("/socket")).await;
        let answer = connection.response().await;
        let status = answer.as_ref().map(|answer| answer.status);
        assert_eq!(status, Ok(101), "upgrade {number}: {answer:?}");
        while connection.buffer.len() < HELLO.len() {
            use tokio::io::AsyncReadExt;
            let read = connection.stream.read_buf(&mut connection.buffer).await.unwrap_or(0);
            assert_ne!(read, 0, "upgrade {number}: torn down after {:?}", connection.buffer);
        }
        assert_eq!(connection.buffer, HELLO, "upgrade {number}");
    };
    futures::stream::iter(0..times).for_each_concurrent(16, one).await;
    assert_eq!(upstream.count(), times);
}

#[tokio::test]
async fn a_thousand_upgrades_against_an_upstream_that_answers_at_once() {
    upgrades(1_000).await;
}

/// Half a minute: `cargo test -p coditect-tests --test integration -- --ignored a_hundred_thousand_upgrades`.
#[tokio::test]
#[ignore = "half a minute of both cores; its command stands in its documentation"]
async fn a_hundred_thousand_upgrades() {
    upgrades(100_000).await;
}

#[tokio::test]
async fn an_early_client_is_heard() {
    let upstream = Upstream::echo().await;
    let edge = Edge::start(&public(&upstream)).await;
    // A masked text frame `hi` in the same packet as the handshake, before any 101.
    let frame = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
    let wire = [handshake("/socket").to_wire(&edge.authority()), frame.to_vec()].concat();
    let mut connection = Connection::open(edge.http).await;
    connection.write(wire).await;
    assert_eq!(connection.response().await.expect("an answer").status, 101);
    while connection.buffer.len() < 4 {
        use tokio::io::AsyncReadExt;
        assert_ne!(connection.stream.read_buf(&mut connection.buffer).await.unwrap(), 0, "the echo");
    }
    assert_eq!(connection.buffer, b"\x81\x02hi");
}

#[tokio::test]
async fn after_a_refused_upgrade_nothing_more_is_taken() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/refuses" => {
            Answer::Reply(403, vec![("x-why".into(), "because".into())], b"no sockets here".to_vec())
        }
        "/redirects" => Answer::Reply(302, vec![("location".into(), "/elsewhere".into())], Vec::new()),
        _ => Answer::ok("smuggled"),
    })
    .await;
    let edge = Edge::start(&public(&upstream)).await;
    for (target, status) in [("/refuses", 403), ("/redirects", 302)] {
        let authority = edge.authority();
        let mut wire = handshake(target).to_wire(&authority);
        wire.extend(Request::get("/smuggled").to_wire(&authority));
        let mut connection = Connection::open(edge.http).await;
        connection.write(wire).await;
        let answer = connection.response().await.expect("the refusal is passed on");
        assert_eq!(answer.status, status);
        let rest = connection.rest().await;
        assert!(rest.is_empty(), "{target}: then the connection ends: {:?}", String::from_utf8_lossy(&rest));
    }
    let refused = ws::open(edge.http, "/refuses", &[]).await.expect_err("a refusal");
    assert_eq!((refused.text().as_str(), refused.header("x-why")), ("no sockets here", Some("because")));
    assert!(!upstream.got("smuggled"), "what followed the handshake is no request");
    assert!(upstream.requests().iter().all(|request| request.target != "/smuggled"));
}

#[tokio::test]
async fn a_handshake_is_repeated_to_the_upstream() {
    let upstream = Upstream::echo().await;
    let edge = Edge::start(&public(&upstream)).await;
    let mut socket =
        ws::open(edge.http, "/socket.io/?EIO=4&transport=websocket", &[]).await.expect("the socket");
    socket.echo(&"large ".repeat(100_000)).await;
    let seen = upstream.last();
    assert_eq!(seen.target, "/socket.io/?EIO=4&transport=websocket");
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert!(seen.header("sec-websocket-key").is_some() && seen.header("sec-websocket-version") == Some("13"));
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert!(seen.header("traceparent").is_some());
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("coditect_open_sockets", &[("route", "/")]), 1.0);
}

#[tokio::test]
async fn an_upstream_without_an_answer_is_told_apart() {
    let upstream = Upstream::start(|_| Answer::RawThenClose(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())).await;
    let config = public(&upstream)
        .upstream("down", Upstream::nowhere().await)
        .route("/down", "upstream = 'down'\nauth = 'public'");
    let edge = Edge::start(&config).await;
    let refused = ws::open(edge.http, "/down", &[]).await.expect_err("nobody is there");
    assert_eq!(refused.refusal(), (502, "UPSTREAM_UNREACHABLE".into()));
    let refused = ws::open(edge.http, "/garbage", &[]).await.expect_err("no HTTP");
    assert_eq!(refused.refusal(), (502, "BAD_GATEWAY".into()));
}
