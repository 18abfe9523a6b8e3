//! Upstreams and guests that mean harm.

use super::http2::{Upstream, text};
use super::{SHORT, World, get, listen, pass, post, streaming, until};
use bytes::{BufMut, BytesMut};
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::{CallFailure, GrpcCall, HttpCall};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An upstream that writes `first`, reads once, and writes `flood` for as long as anybody reads it. How many of its
/// connections are open.
async fn flood(first: Vec<u8>, flood: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let (listener, address) = listen().await;
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let (first, flood, open) = (first.clone(), flood.repeat(200), Arc::clone(&counted));
            tokio::spawn(async move {
                drop(stream.write_all(&first).await);
                let (mut read, mut write) = stream.into_split();
                // Acknowledgements and resets are read, so that neither side waits for the other.
                let reading = tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    while read.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
                });
                while write.write_all(&flood).await.is_ok() {}
                reading.abort();
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, open)
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_uint(payload.len() as u64, 3);
    frame.put_slice(&[kind, flags]);
    frame.put_u32(stream);
    frame.put_slice(payload);
    frame.to_vec()
}

const SETTINGS: u8 = 4;

#[tokio::test]
async fn http1_without_end_is_given_up_in_time() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases: [(&str, String, &str); 4] = [
        ("interim responses", String::new(), "HTTP/1.1 103 Early Hints\r\nx-a: b\r\n\r\n"),
        ("header fields", "HTTP/1.1 200 OK\r\n".into(), "x-a: b\r\n"),
        ("trailer fields", format!("{head}0\r\n"), "x-a: b\r\n"),
        ("chunk extensions", format!("{head}1;a="), "bbbbbbbb"),
    ];
    for (what, first, rest) in cases {
        let (address, open) = flood(first.into_bytes(), rest.as_bytes().to_vec()).await;
        let world = World::new(address, UpstreamProtocol::Http1);
        let answer = world.answer(HttpCall { timeout: SHORT * 5, ..get("/") }).await;
        assert!(matches!(answer, Err(CallFailure::Timeout | CallFailure::Reset)), "{what}: {answer:?}");
        until("the connection's end", || open.load(Ordering::SeqCst) == 0).await;
        until("its task's", || world.tasks() <= 1).await;
        assert_eq!(world.budget().held(), 0, "{what}");
    }
}

#[tokio::test]
async fn floods_of_frames_keep_nothing_from_its_end() {
    let headers_103 = frame(1, 4, 1, b"\x08\x03103");
    let cases = [
        ("pings", frame(6, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("window updates of one", frame(8, 0, 0, &[0, 0, 0, 0])),
        ("resets of streams that never were", frame(3, 0, 1001, &[0, 0, 0, 8])),
        ("interim responses", headers_103),
        ("unknown frames", frame(0xbb, 0, 0, &[0; 100])),
        ("a pushed stream", frame(5, 4, 1, &[0, 0, 0, 2, 0x82])),
        ("continuations", frame(9, 0, 1, b"\x00\x01a\x01b")),
    ];
    for (what, rest) in cases {
        let (address, open) = flood(frame(SETTINGS, 0, 0, &[]), rest).await;
        let keepalive = Duration::from_millis(50);
        let world = World::with(address, UpstreamProtocol::H2c, super::Budget::default(), keepalive);
        let answer = world.answer(HttpCall { timeout: SHORT, ..get("/") }).await;
        assert!(matches!(answer, Err(CallFailure::Timeout | CallFailure::Reset)), "{what}: {answer:?}");
        let stream = world.grpc(&GrpcCall { timeout: Some(SHORT), ..streaming() }).unwrap();
        let (status, message) = stream.close().await;
        assert_ne!(status, 0, "{what}: {message}");
        // It answers no ping.
        pass(Duration::from_secs(21)).await;
        until(&format!("{what}: the connection's end"), || open.load(Ordering::SeqCst) == 0).await;
        until("its task's", || world.tasks() == 0).await;
        assert_eq!(world.budget().held(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_body_that_an_upstream_may_not_read_is_the_connection_s_last() {
    let (listener, address) = listen().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let (told, mut heads) = tokio::sync::mpsc::unbounded_channel();
    // It answers each head and takes a body for the next request, as some do with a GET.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut received = Vec::new();
            while stream.read_buf(&mut received).await.is_ok_and(|n| n > 0) {
                let text = String::from_utf8(received.clone()).unwrap();
                if let Some(end) = text.find("\r\n\r\n") {
                    told.send(text[..end].to_owned()).unwrap();
                    received.drain(..end + 4);
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                    if text.contains("connection: close") {
                        break;
                    }
                }
            }
        }
    });
    let world = World::new(address, UpstreamProtocol::Http1);
    let mut call = post("/", "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", &[]);
    call.headers[0].1 = b"GET".to_vec();
    world.answer(call).await.unwrap();
    assert!(heads.recv().await.unwrap().contains("\r\nconnection: close"));
    world.answer(get("/next")).await.unwrap();
    assert!(heads.recv().await.unwrap().starts_with("GET /next "));
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_guest_s_large_head_never_reaches_the_shared_connection() {
    let upstream = Upstream::start(text).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut call = get("/");
    call.headers.push((b"x-large".to_vec(), vec![b'a'; 40_000]));
    assert!(world.http(call).is_err());
    assert_eq!(world.answer(get("/")).await.unwrap().body, "text");
}
