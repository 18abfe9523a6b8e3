//! HTTP calls over HTTP/1.1.

use super::super::Budget;
use super::{SHORT, SOON, World, get, listen, pairs, post, soon, until, value};
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::{CallFailure, CallRefused};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// An upstream that answers each request with the next of `answers` (the last one again and again), and hands over
/// each request as it came. An empty answer is none. It closes the connection after one that ends in `\0`.
struct Upstream {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<String>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start(answers: &'static [&'static str]) -> Self {
        let (listener, address) = listen().await;
        let (told, requests) = mpsc::unbounded_channel();
        let (connections, open) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let upstream =
            Self { address, requests, connections: Arc::clone(&connections), open: Arc::clone(&open) };
        let served = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let (told, served, open) = (told.clone(), Arc::clone(&served), Arc::clone(&open));
                tokio::spawn(async move {
                    serve(stream, answers, &told, &served).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        upstream
    }

    async fn request(&mut self) -> String {
        soon("a request", self.requests.recv()).await.unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: &[&str],
    told: &mpsc::UnboundedSender<String>,
    served: &AtomicUsize,
) {
    let mut received = Vec::new();
    while let Some(request) = read(&mut stream, &mut received).await {
        drop(told.send(request));
        let turn = served.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[turn];
        if stream.write_all(answer.trim_end_matches('\0').as_bytes()).await.is_err() || answer.ends_with('\0')
        {
            return;
        }
    }
}

/// The next request, head and body; `None` once the client is gone.
async fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8(received.clone()).unwrap();
        if let Some(end) = text.find("\r\n\r\n") {
            let head = text[..end].to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let body = match length {
                Some(length) => Some(length.parse().unwrap()),
                None if head.contains("\r\ntransfer-encoding: chunked") => {
                    let body = &text[end + 4..];
                    body.find("0\r\n").and_then(|last| Some(last + body[last..].find("\r\n\r\n")? + 4))
                }
                None => Some(0),
            };
            if let Some(whole) = body.map(|body: usize| end + 4 + body).filter(|whole| *whole <= text.len()) {
                received.drain(..whole);
                return Some(text[..whole].to_owned());
            }
        }
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}

const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test]
async fn a_request_goes_out_and_its_response_comes_back_whole() {
    let mut upstream =
        Upstream::start(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Key: a\r\nX-Key: b\r\n\r\n\
         3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n"])
        .await;
    let world = World::new(upstream.address, UpstreamProtocol::Http1);
    let mut call = post("/find?all", "name", &[("x-digest", "9")]);
    call.headers.extend(pairs(&[
        ("accept", "*/*"),
        ("X-Coditect-Tenant", "someone-else"),
        ("content-length", "999"),
        ("connection", "close"),
    ]));
    let answer = world.answer(call).await.unwrap();
    assert_eq!(
        upstream.request().await,
        "POST /find?all HTTP/1.1\r\naccept: */*\r\nhost: keys.example\r\ntrailer: x-digest\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\nname\r\n0\r\nx-digest: 9\r\n\r\n"
    );
    assert_eq!(answer.headers[0], (b":status".to_vec(), b"200".to_vec()));
    let keys: Vec<_> = answer.headers.iter().filter(|(name, _)| name == b"x-key").collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(answer.body, "abcde");
    assert_eq!(answer.trailers, pairs(&[("x-sum", "5")]));
    assert_eq!(world.ended("ok"), 1);
    assert_eq!(world.budget().held(), 0);
}

#[tokio::test]
async fn a_body_has_its_length_and_no_body_says_so() {
    let mut upstream = Upstream::start(&[EMPTY]).await;
    let world = World::new(upstream.address, UpstreamProtocol::Http1);
    world.answer(post("/", "four", &[])).await.unwrap();
    assert!(upstream.request().await.ends_with("content-length: 4\r\n\r\nfour"));
    world.answer(post("/", "", &[])).await.unwrap();
    assert!(upstream.request().await.contains("\r\ncontent-length: 0\r\n"));
    world.answer(get("/")).await.unwrap();
    assert_eq!(upstream.request().await, "GET / HTTP/1.1\r\nhost: keys.example\r\n\r\n");
    let mut nameless = get("/");
    nameless.headers[2].1.clear();
    world.answer(nameless).await.unwrap();
    let own = format!("\r\nhost: {}\r\n", upstream.address);
    assert!(upstream.request().await.contains(&own), "the upstream's own authority");
}

#[tokio::test]
async fn connections_are_used_again_whatever_the_authority() {
    let upstream = Upstream::start(&[EMPTY]).await;
    let world = World::new(upstream.address, UpstreamProtocol::Http1);
    for n in 0..20 {
        let mut call = get("/");
        call.headers[2].1 = format!("host-{n}.example").into_bytes();
        assert_eq!(value(&world.answer(call).await.unwrap().headers, ":status"), Some("204"));
        // The connection goes back to the pool in a task of its own: what stays is its task and the pool's.
        until("the end of the call's task", || world.tasks() <= 2).await;
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_silent_upstream_is_given_up_in_time() {
    let upstream = Upstream::start(&[""]).await;
    let world = World::new(upstream.address, UpstreamProtocol::Http1);
    let call = || super::HttpCall { timeout: SHORT, ..get("/") };
    assert_eq!(world.answer(call()).await, Err(CallFailure::Timeout));
    until("the connection's end", || upstream.open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(world.ended("timeout"), 1);

    let stalls = Upstream::start(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"]).await;
    let world = World::new(stalls.address, UpstreamProtocol::Http1);
    assert_eq!(world.answer(call()).await, Err(CallFailure::Timeout), "in the middle of a body");
    until("the connection's end", || stalls.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn answers_that_are_none_or_too_large_are_failures() {
    let cases: [(&'static [&'static str], CallFailure); 8] = [
        (&["\0"], CallFailure::Reset),
        (&["SSH-2.0-x\r\n\r\n"], CallFailure::Reset),
        (&["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc\0"], CallFailure::Reset),
        (&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"], CallFailure::Reset),
        (
            &["HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
            CallFailure::Reset,
        ),
        (&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"], CallFailure::TooLarge),
        (&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n"], CallFailure::TooLarge),
        (&["HTTP/1.1 200 OK\r\n\r\nabcde"], CallFailure::TooLarge),
    ];
    for (answers, failure) in cases {
        let upstream = Upstream::start(answers).await;
        let world = World::new(upstream.address, UpstreamProtocol::Http1);
        let call = super::HttpCall { most: 4, ..get("/") };
        assert_eq!(world.answer(call).await, Err(failure), "{answers:?}");
        until("the connection's end", || upstream.open.load(Ordering::SeqCst) == 0).await;
        assert_eq!(world.budget().held(), 0);
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let (listener, address) = listen().await;
    let world = World::new(address, UpstreamProtocol::Http1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nx-a: ").await.unwrap();
        while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
    });
    assert_eq!(world.answer(get("/")).await, Err(CallFailure::Reset));
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_unreachable() {
    let (listener, address) = listen().await;
    drop(listener);
    let world = World::new(address, UpstreamProtocol::Http1);
    assert_eq!(world.answer(get("/")).await, Err(CallFailure::Unreachable));
    assert_eq!(world.ended("unreachable"), 1);
}

#[tokio::test]
async fn a_call_nobody_waits_for_ends() {
    let mut upstream = Upstream::start(&[""]).await;
    let world = World::new(upstream.address, UpstreamProtocol::Http1);
    let waiting = world.http(get("/")).unwrap();
    upstream.request().await;
    assert!(waiting.leave().await, "it was answered");
    until("the connection's end", || upstream.open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(world.ended("cancelled"), 1);
}

#[tokio::test]
async fn what_cannot_be_begun_is_refused_at_once() {
    let upstream = Upstream::start(&[""]).await;
    let world = World::with(upstream.address, UpstreamProtocol::Http1, Budget::new(1, 100), SOON);
    let unknown = super::HttpCall { upstream: "other".into(), ..get("/") };
    assert_eq!(world.http(unknown).unwrap_err(), CallRefused::UnknownUpstream);
    assert!(world.http(get("no path")).is_err());
    assert_eq!(world.http(post("/", vec![0; 101], &[])).unwrap_err(), CallRefused::Busy, "no room for it");
    let first = world.http(get("/")).unwrap();
    assert_eq!(world.http(get("/")).unwrap_err(), CallRefused::Busy, "no place for it");
    assert!(first.leave().await);
    assert_eq!(world.ended("refused"), 4);
}

#[tokio::test]
async fn a_body_beyond_the_process_s_room_is_too_large() {
    let upstream = Upstream::start(&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde"]).await;
    let world = World::with(upstream.address, UpstreamProtocol::Http1, Budget::new(1, 4), SOON);
    assert_eq!(world.answer(get("/")).await, Err(CallFailure::TooLarge));
    assert_eq!(world.budget().held(), 0);
}

#[tokio::test]
async fn offered_upstreams_are_withdrawn_unless_taken() {
    let (first, second) = (Upstream::start(&[EMPTY]).await, Upstream::start(&[EMPTY]).await);
    let world = World::new(first.address, UpstreamProtocol::Http1);
    let before = world.target();
    let offer = world.callouts.offer(&[super::upstream(second.address, UpstreamProtocol::Http1, SOON)]);
    world.answer(get("/")).await.unwrap();
    assert_eq!(second.connections.load(Ordering::SeqCst), 1, "what is offered goes first");
    drop(offer);
    assert!(Arc::ptr_eq(&world.target(), &before));
    world.answer(get("/")).await.unwrap();
    assert_eq!(first.connections.load(Ordering::SeqCst), 1);
    drop(before);
    world.callouts.offer(&[]).take();
    assert_eq!(world.http(get("/")).unwrap_err(), CallRefused::UnknownUpstream);
    until("the connections' end", || world.tasks() == 0).await;
}

#[tokio::test]
async fn a_shutdown_ends_calls_and_connections() {
    let upstream = Upstream::start(&[EMPTY, ""]).await;
    let world = World::new(upstream.address, UpstreamProtocol::Http1);
    world.answer(get("/")).await.unwrap();
    let waiting = world.http(get("/")).unwrap();
    soon("the shutdown", world.callouts.shutdown()).await;
    assert!(waiting.leave().await);
    assert_eq!(world.tasks(), 0);
    until("the connections' end", || upstream.open.load(Ordering::SeqCst) == 0).await;
}
