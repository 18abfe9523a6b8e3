//! Clients that take their time are cut off, each at its deadline.

use super::Arena;
use crate::support::Connection;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

/// `client_timeout_seconds` here.
const SILENCE: u64 = 3;

/// Writes a byte now and then until the edge has answered, and gives the answer and how long it took.
async fn trickle(arena: &Arena, beginning: &[u8], byte: &[u8]) -> (Option<(u16, String)>, Duration) {
    let began = Instant::now();
    let mut connection = Connection::open(arena.edge.http).await;
    connection.write(beginning).await;
    let mut readable = [0; 1];
    loop {
        let waiting = tokio::time::timeout(Duration::from_millis(300), connection.stream.peek(&mut readable));
        match waiting.await {
            Ok(_) => break,
            Err(_) if byte.is_empty() => {}
            Err(_) => drop(connection.stream.write_all(byte).await),
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{beginning:?} is waited for without end");
    }
    (connection.response().await.ok().map(|answer| answer.refusal()), began.elapsed())
}

/// All at once: the longest deadline is the head's, 15 s from its first byte, whatever keeps coming.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trickled_and_stalled_requests_end_at_their_deadline() {
    let silence = format!("client_timeout_seconds = {SILENCE}");
    let change = move |config: crate::support::Config| config.server(&silence);
    let mut arena = Arena::with(change, |_| super::Answer::ok(super::BEHIND)).await;
    let login = "POST /api/v5/auth/login";
    let typed = "Content-Type: application/json\r\n";
    let body = super::message(login, &format!("{typed}Content-Length: 100\r\n"), "{");
    let chunk = super::message(login, &format!("{typed}Transfer-Encoding: chunked\r\n"), "5\r\n{");
    let size = super::message("POST /pub/x", "Transfer-Encoding: chunked\r\n", "5;");
    let (head, dripping, api, api_chunk, forwarded) = tokio::join!(
        trickle(&arena, b"GET /pub/x HTTP/1.1\r\nHost: a\r\nX: ", b""),
        trickle(&arena, b"GET /pub/x HTTP/1.1\r\nHost: a\r\nX: ", b"y"),
        trickle(&arena, &body, b""),
        trickle(&arena, &chunk, b""),
        trickle(&arena, &size, b""),
    );
    let timeout = Some((408, "REQUEST_TIMEOUT".to_owned()));
    for (name, (answer, took), wanted, seconds) in [
        ("a head", head, timeout.clone(), 15),
        ("a head that drips", dripping, timeout, 15),
        ("a body", api, Some((400, "BAD_REQUEST".to_owned())), SILENCE),
        ("a chunk", api_chunk, Some((400, "BAD_REQUEST".to_owned())), SILENCE),
        ("a chunk's size", forwarded, Some((400, "BAD_REQUEST".to_owned())), SILENCE),
    ] {
        assert_eq!(answer, wanted, "{name}");
        let bounds = Duration::from_secs(seconds - 1)..Duration::from_secs(seconds + 15);
        assert!(bounds.contains(&took), "{name} took {took:?}");
    }
    assert_eq!(arena.upstream.bytes(), Vec::<Vec<u8>>::new());
    arena.unharmed(&[]).await;
}
