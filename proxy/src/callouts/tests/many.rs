//! Thousands of calls, many of which end badly: nothing of them is left.

use super::grpc::echo;
use super::http2::{Received, Upstream, text};
use super::{SHORT, World, get, listen, streaming, unary, until};
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::{CallFailure, GrpcCall, HttpCall};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use h2::Reason;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Calls of one test, and how many of them are made at once.
const CALLS: usize = 3000;
const AT_ONCE: usize = 100;

fn seeded() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// Descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Answers by the request's path, again and again.
async fn answer(mut stream: TcpStream) {
    let mut received = Vec::new();
    loop {
        while !received.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut received).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let silent = received.starts_with(b"GET /silent ");
        let answer: &[u8] = match received[5] {
            b'o' => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            b'l' => b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\nlarge",
            _ if silent => b"",
            _ => return,
        };
        received.clear();
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_over_http1_leave_nothing() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let world = World::new(address, UpstreamProtocol::Http1);
    let mut random = seeded();
    let mut running = FuturesUnordered::new();
    for _ in 0..CALLS {
        if running.len() == AT_ONCE {
            running.next().await;
        }
        let kind = random.random_range(0..10);
        let path = ["/silent", "/large", "/broken", "/silent"].get(kind).copied().unwrap_or("/ok");
        let timeout = if path == "/silent" { SHORT } else { super::SOON };
        let waiting = world.http(HttpCall { timeout, ..get(path) }).unwrap();
        running.push(async move {
            if kind == 3 {
                waiting.leave().await;
                return;
            }
            let expected = match kind {
                0 => Err(CallFailure::Timeout),
                1 => Err(CallFailure::TooLarge),
                2 => Err(CallFailure::Reset),
                _ => Ok("ok".into()),
            };
            assert_eq!(waiting.answer().await.map(|answer| answer.body), expected);
        });
    }
    while running.next().await.is_some() {}
    // What stays is at most the idle connections that are kept, and the pool's own task.
    until("the calls' end", || world.tasks() <= 33).await;
    assert!(descriptors() < 500, "{}", descriptors());
    assert_eq!(world.budget().held(), 0);
    world.callouts.offer(&[]).take();
    until("the connections' end", || world.tasks() == 0).await;
}

async fn by_path(mut received: Received) {
    match received.head.uri.path().as_bytes().get(1) {
        Some(b'o') => text(received).await,
        Some(b's') => drop(received.reset().await),
        Some(b'b') => received.respond.send_reset(Reason::INTERNAL_ERROR),
        _ => echo(received).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_over_http2_leave_nothing() {
    let upstream = Upstream::start(by_path).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut random = seeded();
    let mut running = FuturesUnordered::new();
    for _ in 0..CALLS {
        if running.len() == AT_ONCE {
            running.next().await;
        }
        let kind = random.random_range(0..8);
        let world = &world;
        running.push(async move {
            match kind {
                0 => drop(world.answer(HttpCall { timeout: SHORT, ..get("/silent") }).await.unwrap_err()),
                1 => assert_eq!(world.answer(get("/broken")).await, Err(CallFailure::Reset)),
                2 => drop(world.http(get("/silent")).unwrap().leave().await),
                3 => assert_eq!(world.grpc(&unary(b"x")).unwrap().close().await.0, 0),
                4 => {
                    let call = GrpcCall { service: "silent".into(), ..unary(b"") };
                    let call = GrpcCall { timeout: Some(SHORT), ..call };
                    assert_eq!(world.grpc(&call).unwrap().close().await.0, 4);
                }
                5 => {
                    let stream = world.grpc(&streaming()).unwrap();
                    stream.handle().send("x".into(), true).unwrap();
                    assert_eq!(stream.close().await.0, 0);
                }
                6 => drop(world.grpc(&streaming()).unwrap()),
                _ => assert_eq!(world.answer(get("/ok")).await.unwrap().body, "text"),
            }
        });
    }
    while running.next().await.is_some() {}
    until("the calls' end", || world.target().http2.pool.load().iter().sum::<usize>() == 0).await;
    until("the tasks' end", || world.tasks() <= 8).await;
    assert_eq!(world.budget().held(), 0);
    world.callouts.offer(&[]).take();
    until("the connections' end", || world.tasks() == 0).await;
    until("their end at the upstream", || upstream.open.load(Ordering::SeqCst) == 0).await;
}
