//! Plays the [corpus](super::corpus) against a public route, a route for tokens and a workspace route.

use super::corpus::{Case, Fate, all};
use super::{Arena, BEHIND, End, exchange};
use crate::support::{Connection, Request, wait_until};
use std::time::Duration;

/// Plays one case and says what is wrong with what became of it.
async fn play(arena: &Arena, case: &Case) -> Result<(), String> {
    let (bytes, requests) = (arena.upstream.bytes(), arena.upstream.count());
    let got = arena.raw(&case.bytes).await;
    let last = got.responses.last().map(super::Response::refusal).unwrap_or_default();
    let got_fate = (last.0, last.1.as_str(), got.end, got.responses.len(), arena.upstream.count() - requests);
    let wanted = match case.fate {
        Fate::Refused(status, code) | Fate::RefusedLate(status, code) => (status, code, End::Closed, 1, 0),
        Fate::Denied(status, code) => (status, code, End::Open, 1, 0),
        Fate::Forwarded(count) => (200, "", End::Open, count, count),
        Fate::ForwardedLast(count) => (200, "", End::Closed, count, count),
    };
    if got_fate != wanted {
        return Err(format!("{}: {got_fate:?} in place of {wanted:?}", case.name));
    }
    let untouched = bytes.iter().map(Vec::len).sum::<usize>()
        == arena.upstream.bytes().iter().map(Vec::len).sum::<usize>();
    match case.fate {
        Fate::Refused(..) | Fate::RefusedLate(..) | Fate::Denied(..) if !untouched => {
            Err(format!("{}: bytes of it reached the upstream", case.name))
        }
        Fate::Forwarded(_) | Fate::ForwardedLast(_) if got.responses[0].text() != BEHIND => {
            Err(format!("{}: answered by somebody else", case.name))
        }
        _ => Ok(()),
    }
}

async fn play_all(arena: &Arena, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(play(arena, case).await.err());
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_requests_on_a_public_route_have_one_answer_each() {
    let mut arena = Arena::start().await;
    play_all(&arena, all("/pub")).await;
    assert!(!arena.upstream.requests().iter().any(|request| request.target.contains("smuggled")));
    arena.unharmed(&[]).await;
}

/// What the upstream saw of the sound requests among them is sound itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forwarded_is_written_anew() {
    let mut arena = Arena::start().await;
    for case in all("/pub") {
        if matches!(case.fate, Fate::Forwarded(_) | Fate::ForwardedLast(_)) {
            arena.raw(&case.bytes).await;
            let request = arena.upstream.last();
            assert_eq!(request.all("host").len(), 1, "{}: {request:?}", case.name);
            let lengths = request.all("content-length").len() + request.all("transfer-encoding").len();
            assert!(lengths <= 1, "{}: {request:?}", case.name);
            for hop in ["keep-alive", "proxy-connection", "te", "expect"] {
                assert!(request.all(hop).is_empty(), "{}: {hop}", case.name);
            }
        }
    }
    arena.unharmed(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_requests_without_a_token_reach_no_upstream() {
    let mut arena = Arena::start().await;
    for prefix in ["/sec", "/theia"] {
        let mut cases = all(prefix);
        for case in &mut cases {
            // A body that nobody wanted ends the connection.
            let text = String::from_utf8_lossy(&case.bytes).to_ascii_lowercase();
            let body = text.contains("\r\ncontent-length:") || text.contains("\r\ntransfer-encoding:");
            case.fate = match case.fate {
                Fate::Forwarded(_) if !body => Fate::Denied(401, "MISSING_AUTH_HEADER"),
                Fate::Forwarded(_) | Fate::ForwardedLast(_) | Fate::RefusedLate(..) => {
                    Fate::Refused(401, "MISSING_AUTH_HEADER")
                }
                fate => fate,
            };
        }
        play_all(&arena, cases).await;
    }
    assert_eq!(arena.upstream.bytes(), Vec::<Vec<u8>>::new());
    arena.unharmed(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_request_of_a_connection_is_judged_like_the_first() {
    let mut arena = Arena::start().await;
    let mut connection = Connection::open(arena.edge.http).await;
    assert_eq!(connection.exchange(&Request::get("/pub/one")).await.status, 200);
    connection
        .write(super::message(
            "POST /pub/two",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ))
        .await;
    assert_eq!(connection.response().await.unwrap().refusal(), (400, "BAD_REQUEST".to_owned()));
    assert_eq!(connection.rest().await, b"");

    let mut connection = Connection::open(arena.edge.http).await;
    let chunked = super::message("POST /pub/one", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\n\r\n");
    connection.write(&chunked).await;
    assert_eq!(connection.response().await.unwrap().status, 200);
    connection.write(super::message("POST /pub/two", "Transfer-Encoding: chunked\r\n", "\r\n")).await;
    assert_eq!(connection.response().await.unwrap().refusal(), (400, "BAD_REQUEST".to_owned()));
    assert!(!arena.upstream.got("/pub/two"));
    arena.unharmed(&[]).await;
}

/// The head is sound and its first chunk too, so the upstream has heard of the request when the second one proves
/// malformed: it must see the message break off, not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_turns_out_malformed_does_not_end_for_the_upstream() {
    let mut arena = Arena::start().await;
    let head = super::head("POST /pub/x", "Transfer-Encoding: chunked\r\n");
    for (broken, answer) in [("3\r\nabc\r\nzz\r\n", true), ("3\r\nabc\r\n3;\n", true), ("3\r\nab", false)] {
        let before = arena.upstream.bytes().len();
        let mut connection = Connection::open(arena.edge.http).await;
        connection.write([&head, &b"1\r\na\r\n"[..]].concat()).await;
        let reached = || arena.upstream.bytes().len() > before;
        wait_until("the request is on its way", super::DEADLINE, || reached().then_some(())).await;
        connection.write(broken).await;
        if answer {
            assert_eq!(
                connection.response().await.unwrap().refusal(),
                (400, "BAD_REQUEST".to_owned()),
                "{broken:?}"
            );
        } else {
            drop(tokio::io::AsyncWriteExt::shutdown(&mut connection.stream).await);
        }
        assert_eq!(connection.rest().await, b"", "{broken:?}");
        let seen = String::from_utf8(arena.upstream.bytes().last().unwrap().clone()).unwrap();
        assert!(!seen.ends_with("0\r\n\r\n"), "{broken:?}: {seen:?}");
    }
    assert_eq!(arena.upstream.count(), 0, "a cut request was taken for a whole one");
    arena.unharmed(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_cut_off_by_its_client_is_none() {
    let mut arena = Arena::start().await;
    for cut in
        ["GET /pub/x HTTP/1.1\r\nHo", "POST /pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab"]
    {
        let got = exchange(&arena.edge, cut.as_bytes(), true).await;
        assert!(got.responses.is_empty() && got.end == End::Closed, "{got:?}");
    }
    assert_eq!(arena.upstream.count(), 0);
    arena.unharmed(&[]).await;
}

/// RFC 9110, 10.1.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_asked_for_its_body_once_and_only_where_it_waits() {
    let mut arena = Arena::start().await;
    let statuses = async |line: &str, version: &str, headers: &str, body: &str| {
        let bytes = format!("{line} {version}\r\nHost: edge.test\r\n{headers}\r\n{body}");
        let got = arena.raw(bytes.as_bytes()).await;
        got.responses.iter().map(|response| response.status).collect::<Vec<_>>()
    };
    let length = |expect: &str| format!("{expect}\r\nContent-Length: 3\r\n");
    for expect in ["Expect: 100-continue", "Expect: 100-CONTINUE"] {
        assert_eq!(statuses("POST /pub/x", "HTTP/1.1", &length(expect), "abc").await, [100, 200], "{expect}");
        assert_eq!(statuses("POST /sec/x", "HTTP/1.1", &length(expect), "").await, [401], "{expect}");
    }
    assert_eq!(statuses("POST /pub/x", "HTTP/1.0", &length("Expect: 100-continue"), "abc").await, [200]);
    assert_eq!(statuses("POST /pub/x", "HTTP/1.1", &length("Expect: miracles"), "abc").await, [200]);
    assert_eq!(statuses("GET /pub/x", "HTTP/1.1", "Expect: 100-continue\r\n", "").await, [200]);
    assert!(arena.upstream.requests().iter().all(|request| request.header("expect").is_none()));
    arena.unharmed(&[]).await;
}

/// The whole answer is read although the client was still sending, and promptly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_head_is_answered_before_it_ends() {
    let mut arena = Arena::start().await;
    let began = std::time::Instant::now();
    let head = format!("GET /pub/x HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(1_000_000));
    let mut connection = Connection::open(arena.edge.http).await;
    connection.write(head).await;
    let answer = connection.response().await.unwrap();
    assert_eq!(answer.refusal(), (431, "HEADER_TOO_LARGE".to_owned()));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(answer.header("x-request-id").is_some());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    arena.unharmed(&[]).await;
}
