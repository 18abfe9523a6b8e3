//! `Upgrade` opens nothing by itself, and what follows one that was refused is no request (CVE-2026-2833).

use super::{Arena, End, head};
use crate::support::{Answer, Request};

const SMUGGLED: &str = "GET /pub/smuggled HTTP/1.1\r\nHost: edge.test\r\n\r\n";
const WEBSOCKET: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                         Sec-WebSocket-Version: 13\r\n";

/// The headers of an upgrade, and whether they make a WebSocket's opening handshake.
fn upgrades() -> Vec<(&'static str, String, bool)> {
    let without = |line: &str| WEBSOCKET.replace(line, "");
    vec![
        ("another protocol", "Upgrade: x\r\nConnection: Upgrade\r\n".into(), false),
        ("no Connection", "Upgrade: x\r\n".into(), false),
        (
            "h2c",
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
                .into(),
            false,
        ),
        ("TLS", "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n".into(), false),
        ("a whole handshake", WEBSOCKET.into(), true),
        ("two protocols", WEBSOCKET.replace("websocket", "h2c, websocket"), true),
        ("no key", without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), false),
        ("version 8", WEBSOCKET.replace(": 13", ": 8"), false),
        ("no version", without("Sec-WebSocket-Version: 13\r\n"), false),
        ("with a body", format!("{WEBSOCKET}Content-Length: 5\r\n"), false),
        ("with chunks", format!("{WEBSOCKET}Transfer-Encoding: chunked\r\n"), false),
    ]
}

/// What a body must be for these headers.
fn body(headers: &str) -> &'static str {
    match headers {
        _ if headers.contains("Content-Length") => "hello",
        _ if headers.contains("chunked") => "0\r\n\r\n",
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_without_credentials_is_refused_like_any_request() {
    let mut arena = Arena::start().await;
    let id = "01020304-0506-4708-890a-0b0c0d0e0f10";
    for target in [
        "/api/v5/sessions",
        "/api/v5/health/x",
        &format!("/api/v5/sessions/{id}/terminals/{id}/attach"),
        "/sec/x",
        "/theia/",
        "/theia/services",
        &format!("/theia/{id}/services"),
        &format!("/theia/{id}/socket.io/?EIO=4&transport=websocket"),
    ] {
        for (name, headers, _) in upgrades() {
            let bytes = [&head(&format!("GET {target}"), &headers), body(&headers).as_bytes()].concat();
            let got = arena.raw(&bytes).await;
            assert_eq!(got.refusal(), (401, "MISSING_AUTH_HEADER".into()), "{name} at {target}");
        }
    }
    assert_eq!(arena.upstream.bytes(), Vec::<Vec<u8>>::new());
    arena.unharmed(&[]).await;
}

/// A public path of the API is public for what it serves, and it serves no upgrade.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_of_a_public_path_of_the_api_needs_a_token() {
    let mut arena = Arena::start().await;
    assert_eq!(arena.edge.get("/api/v5/health").await.status, 200);
    let got = arena.raw(&head("GET /api/v5/health", WEBSOCKET)).await;
    assert_eq!(got.refusal(), (401, "MISSING_AUTH_HEADER".into()));
    arena.unharmed(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_after_a_refused_upgrade_never_become_a_request() {
    let mut arena = Arena::start().await;
    for target in ["/pub/x", "/sec/x", "/theia/", "/api/v5/sessions", "/health", "/", "/missing/x"] {
        for (name, headers, _) in upgrades() {
            let first = [&head(&format!("GET {target}"), &headers), body(&headers).as_bytes()].concat();
            let got = arena.raw(&[&first, SMUGGLED.as_bytes()].concat()).await;
            assert_eq!(got.end, End::Closed, "{name} at {target}: {got:?}");
            assert_eq!(got.responses.len(), 1, "{name} at {target}: {got:?}");
        }
    }
    assert!(!arena.upstream.got("smuggled"));
    arena.unharmed(&[]).await;
}

/// Whatever the upstream answers, if it is not 101 the client's connection ends with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_the_upstream_refuses_ends_the_connection() {
    for answer in [
        Answer::ok("no"),
        Answer::Reply(426, vec![("Upgrade".into(), "websocket".into())], b"no".to_vec()),
        Answer::Raw(b"HTTP/1.1 403 No\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nno".to_vec()),
        Answer::Raw(
            b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno"
                .to_vec(),
        ),
    ] {
        let again = answer.clone();
        let mut arena = Arena::with(|config| config, move |_| again.clone()).await;
        let got = arena.raw(&[&head("GET /pub/x", WEBSOCKET), SMUGGLED.as_bytes()].concat()).await;
        assert_eq!((got.responses.len(), got.end), (1, End::Closed), "{answer:?}: {got:?}");
        assert_eq!(got.responses[0].text(), "no", "{answer:?}");
        assert_eq!(arena.upstream.count(), 1, "{answer:?}");
        assert!(!arena.upstream.got("smuggled"), "{answer:?}");
        arena.unharmed(&[]).await;
    }
}

/// Only what makes a WebSocket is passed on as one; an upstream cannot switch otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_is_no_websocket_reaches_the_upstream_as_a_plain_request() {
    let mut arena = Arena::start().await;
    for (name, headers, websocket) in upgrades() {
        let bytes = [&head("GET /pub/x", &headers), body(&headers).as_bytes()].concat();
        let got = arena.raw(&bytes).await;
        assert_eq!(got.responses.len(), 1, "{name}: {got:?}");
        let request = arena.upstream.last();
        let wanted = websocket.then_some("websocket");
        assert_eq!(request.header("upgrade"), wanted, "{name}: {request:?}");
        assert_eq!(request.header("http2-settings"), None, "{name}");
    }
    let switches = Arena::with(
        |config| config,
        |_| {
            Answer::Raw(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n".to_vec(),
            )
        },
    );
    let mut switching = switches.await;
    let got =
        switching.edge.send(Request::get("/pub/x").header("upgrade", "x").header("connection", "upgrade"));
    assert_eq!(got.await.refusal(), (502, "BAD_GATEWAY".into()));
    switching.unharmed(&[]).await;
    arena.unharmed(&[]).await;
}
