//! What goes wrong inside an open tunnel is for its two ends, and costs the edge no memory.

use super::{Arena, head};
use crate::support::{Answer, Connection, wait_until};
use tokio::io::AsyncWriteExt as _;

const HANDSHAKE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                         Sec-WebSocket-Version: 13\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A tunnel to an upstream that only records, after its handshake.
async fn tunnel(arena: &Arena) -> Connection {
    let mut connection = Connection::open(arena.edge.http).await;
    connection.write(head("GET /pub/socket", HANDSHAKE)).await;
    assert_eq!(connection.response().await.unwrap().status, 101);
    connection
}

async fn arena() -> Arena {
    Arena::with(|config| config, |_| Answer::Raw(SWITCHED.to_vec())).await
}

/// Frames that break RFC 6455 reach the upstream as they are, and the edge puts nothing between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_frames_are_passed_on_unchanged() {
    let mut arena = arena().await;
    for (name, frame) in [
        ("not masked", &b"\x81\x05hello marker-1"[..]),
        ("an undefined opcode", b"\x83\x85\0\0\0\0hello marker-2"),
        ("a long ping", b"\x89\xfe\x01\0\0\0\0\0 marker-3"),
        ("a length of 63 bits", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0 marker-4"),
        ("a request", b"GET /pub/smuggled HTTP/1.1\r\nHost: a\r\n marker-5"),
    ] {
        let mut connection = tunnel(&arena).await;
        connection.write(frame).await;
        let arrived = || arena.upstream.bytes().iter().any(|bytes| bytes.ends_with(frame)).then_some(());
        wait_until(name, super::DEADLINE, arrived).await;
    }
    arena.unharmed(&[]).await;
}

/// A header that claims exabytes is nothing to allocate for, and an end that does not read stops the other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claimed_lengths_and_stalled_readers_cost_no_memory() {
    let mut arena = Arena::with(
        |config| config,
        |_| {
            // More than any socket's buffers hold, for a client that does not read.
            let claim = b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff";
            Answer::Raw([SWITCHED, claim, &vec![0; 32 << 20]].concat())
        },
    )
    .await;
    let before = arena.memory();
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(arena.edge.http).await;
        connection.write(head("GET /pub/socket", HANDSHAKE)).await;
        connection.stream.readable().await.unwrap();
        connection.write(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0").await;
        // What the upstream does not take, the edge does not take either; 4 MB are beyond what it may hold.
        let filling = connection.stream.write_all(&[0; 4096]);
        drop(tokio::time::timeout(super::QUIET, filling).await);
        open.push(connection);
    }
    let grown = arena.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "eight tunnels of 32 MB each cost {grown} bytes");
    drop(open);
    arena.unharmed(&[]).await;
}
