//! Many connections, and readers that do not read.

use super::{Arena, head};
use crate::support::{Connection, Request, wait_for};
use std::time::Duration;

/// Idle connections at once.
const IDLE: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_keep_nobody_out() {
    // This process holds as many descriptors as the edge.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let mut arena = Arena::start().await;
    let before = arena.memory();
    let mut idle = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        let mut connection = Connection::open(arena.edge.http).await;
        match number % 4 {
            // Silent, in the middle of a head, between two requests, in the middle of a body.
            0 => {}
            1 => connection.write("GET / HT").await,
            2 => assert_eq!(connection.exchange(&Request::get("/health")).await.status, 200),
            _ => connection.write(head("POST /pub/x", "Content-Length: 5\r\n")).await,
        }
        idle.push(connection);
    }
    let answer = arena.edge.get("/pub/x").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, super::BEHIND));
    let each = arena.memory().saturating_sub(before) / IDLE as u64;
    assert!(each < 128 * 1024, "an idle connection costs {each} bytes");
    drop(idle);
    let open = wait_for("their end is noticed", super::DEADLINE, async || {
        let open = arena.edge.metrics().await.sum("coditect_open_connections", &[]);
        (open < 10.0).then_some(open)
    });
    open.await;
    arena.unharmed(&[]).await;
}

/// Clients that ask for 50 MB and read nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_nobody_reads_is_not_held_in_memory() {
    let mut arena = Arena::start().await;
    let file = std::fs::File::create(arena.files.path().join("www/large.bin")).unwrap();
    file.set_len(50 << 20).unwrap();
    let before = arena.memory();
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(arena.edge.http).await;
        connection.send(&Request::get("/large.bin")).await;
        connection.stream.readable().await.unwrap();
        readers.push(connection);
    }
    let grown = arena.memory().saturating_sub(before);
    // Held, they would be 400 MB. What was written before the sockets were full passed through the allocators of
    // several threads, which give pages back late.
    assert!(grown < 96 << 20, "eight responses of 50 MB nobody reads cost {grown} bytes");
    assert_eq!(arena.edge.get("/pub/x").await.status, 200);
    arena.unharmed(&[]).await;
}

/// ... and are cut off at `client_timeout_seconds`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_cut_off() {
    let mut arena =
        Arena::with(|config| config.server("client_timeout_seconds = 2"), |_| super::Answer::ok("")).await;
    let file = std::fs::File::create(arena.files.path().join("www/large.bin")).unwrap();
    file.set_len(50 << 20).unwrap();
    let mut connection = Connection::open(arena.edge.http).await;
    connection.send(&Request::get("/large.bin")).await;
    let cut = arena.edge.logged("the request's end", |line| line["path"] == "/large.bin").await;
    assert!(cut["bytes_out"].as_u64().unwrap() < 50 << 20, "{cut}");
    let lasted = Duration::from_micros(cut["duration_us"].as_u64().unwrap());
    assert!((Duration::from_secs(1)..Duration::from_secs(15)).contains(&lasted), "{cut}");
    arena.unharmed(&[]).await;
}
