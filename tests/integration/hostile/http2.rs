//! HTTP/2 without TLS, frame by frame (RFC 9113): what no well-behaved client library would send.

use super::{Arena, BEHIND, DEADLINE};
use crate::support::{Connection, within};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field, literal and not indexed (RFC 7541, 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        // An integer of a 7-bit prefix.
        let mut length = text.len();
        if length < 127 {
            out.push(length as u8);
        } else {
            out.push(127);
            length -= 127;
            while length >= 128 {
                out.push((length % 128) as u8 | 128);
                length /= 128;
            }
            out.push(length as u8);
        }
        out.extend_from_slice(text.as_bytes());
    }
    out
}

fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    list.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// The pseudo-headers of a `GET`.
fn get(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":authority", "edge.test"), (":path", path)]
}

/// A connection that has said who it is.
struct Client(Connection);

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// A response with this body.
    Body(String),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, or just the end.
    Gone(Option<u32>),
}

impl Client {
    async fn open(arena: &Arena) -> Self {
        let mut connection = Connection::open(arena.edge.http).await;
        connection.write([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        Self(connection)
    }

    /// Writes, even into a connection that ends meanwhile.
    async fn push(&mut self, bytes: &[u8]) -> bool {
        within("the edge reads", self.0.stream.write_all(bytes)).await.is_ok()
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        within("a frame comes", self.0.stream.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        within("a frame's payload comes", self.0.stream.read_exact(&mut payload)).await.ok()?;
        Some((head[3], head[4], stream, payload))
    }

    /// Sends a request without a body and waits for what becomes of it.
    async fn ask(&mut self, stream: u32, list: &[(&str, &str)]) -> Outcome {
        self.push(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(list))).await;
        self.outcome(stream).await
    }

    async fn outcome(&mut self, stream: u32) -> Outcome {
        let number = |payload: &[u8], at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let mut body = Vec::new();
        loop {
            match self.frame().await {
                Some((DATA, flags, id, payload)) if id == stream => {
                    body.extend(payload);
                    if flags & END_STREAM != 0 {
                        return Outcome::Body(String::from_utf8(body).unwrap());
                    }
                }
                Some((HEADERS, flags, id, _)) if id == stream && flags & END_STREAM != 0 => {
                    return Outcome::Body(String::new());
                }
                Some((RST_STREAM, _, id, payload)) if id == stream => {
                    return Outcome::Reset(number(&payload, 0));
                }
                Some((GOAWAY, _, _, payload)) => return Outcome::Gone(Some(number(&payload, 4))),
                Some(_) => {}
                None => return Outcome::Gone(None),
            }
        }
    }
}

/// One request on a connection of its own.
async fn ask(arena: &Arena, list: &[(&str, &str)]) -> Outcome {
    Client::open(arena).await.ask(1, list).await
}

#[track_caller]
fn assert_refused(outcome: &Outcome, code: &str, what: &str) {
    match outcome {
        Outcome::Body(body) => assert!(body.contains(&format!("\"code\":\"{code}\"")), "{what}: {body}"),
        other => panic!("{what}: {other:?} in place of {code}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_rules_hold_as_in_http_1() {
    let mut arena = Arena::start().await;
    assert_eq!(ask(&arena, &get("/pub/x")).await, Outcome::Body(BEHIND.into()));
    // A fragment is for the client alone; it is dropped.
    assert_eq!(ask(&arena, &get("/pub/x#y")).await, Outcome::Body(BEHIND.into()));
    assert_eq!(arena.upstream.last().target, "/pub/x");
    let reached = arena.upstream.count();
    for (path, code) in [
        ("/sec/x", "MISSING_AUTH_HEADER"),
        ("/theia/", "MISSING_AUTH_HEADER"),
        ("/api/v5/sessions", "MISSING_AUTH_HEADER"),
        ("/pub/../sec/x", "BAD_REQUEST"),
        ("/pub/%2e%2e/x", "BAD_REQUEST"),
        ("/pub/%00", "BAD_REQUEST"),
        ("/pub\\x", "BAD_REQUEST"),
        ("*", "BAD_REQUEST"),
    ] {
        assert_refused(&ask(&arena, &get(path)).await, code, path);
    }
    let mut trace = get("/pub/x");
    trace[0].1 = "TRACE";
    assert_refused(&ask(&arena, &trace).await, "METHOD_NOT_ALLOWED", "TRACE");
    assert_eq!(arena.upstream.count(), reached);
    arena.unharmed(&[]).await;
}

/// RFC 9113, 8.1.1, 8.2 and 8.3: malformed, so the stream is reset, or the request refused; none of it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_reach_no_upstream() {
    let mut arena = Arena::start().await;
    let with = |extra: &[(&'static str, &'static str)]| [get("/pub/x"), extra.to_vec()].concat();
    let without =
        |name: &str| get("/pub/x").into_iter().filter(|(found, _)| *found != name).collect::<Vec<_>>();
    let mut cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("connection", with(&[("connection", "keep-alive")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "x")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("te", with(&[("te", "gzip")])),
        ("another host", with(&[("host", "other.test")])),
        ("two hosts", with(&[("host", "edge.test"), ("host", "other.test")])),
        ("a name in capitals", with(&[("X-A", "b")])),
        ("a name with a blank", with(&[("x a", "b")])),
        ("a name with a colon", with(&[("x:a", "b")])),
        ("an empty name", with(&[("", "b")])),
        ("CRLF in a value", with(&[("x", "a\r\nx-injected: b")])),
        ("NUL in a value", with(&[("x", "a\0b")])),
        ("a length without a body", with(&[("content-length", "5")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "5")])),
        ("a length that is no number", with(&[("content-length", "+0")])),
        ("an unknown pseudo-header", [vec![(":x", "y")], get("/pub/x")].concat()),
        ("a pseudo-header after a header", [vec![("x", "y")], get("/pub/x")].concat()),
        ("two paths", [get("/pub/x"), vec![(":path", "/sec/x")]].concat()),
        ("a status", [vec![(":status", "200")], get("/pub/x")].concat()),
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("no authority", without(":authority")),
        ("extended CONNECT", [vec![(":protocol", "websocket")], get("/pub/x")].concat()),
    ];
    for (name, path) in [
        ("an empty path", ""),
        ("a path without a slash", "pub/x"),
        ("a blank in the path", "/pub/ x"),
        ("CRLF in the path", "/pub/\r\nx: y"),
        ("an absolute path", "http://edge.test/pub/x"),
        ("another version in the path", "/pub/x HTTP/1.1"),
    ] {
        cases.push((name, get(path)));
    }
    for (name, authority) in
        [("user information", "u@edge.test"), ("a path", "edge.test/x"), ("a blank", "a b")]
    {
        let mut list = get("/pub/x");
        list[2].1 = authority;
        cases.push((name, list));
    }
    let mut method = get("/pub/x");
    method[0].1 = "GET /pub/x HTTP/1.1\r\nx:";
    cases.push(("a method with a request in it", method));
    let mut connect = get("/pub/x");
    connect[0].1 = "CONNECT";
    cases.push(("CONNECT", connect));

    let mut wrong = Vec::new();
    for (name, list) in cases {
        let before = arena.upstream.count();
        let outcome = ask(&arena, &list).await;
        let refused = match &outcome {
            Outcome::Body(body) => body.contains("\"code\":\"BAD_REQUEST\"") || body.is_empty(),
            Outcome::Reset(code) => *code == 1,
            Outcome::Gone(code) => *code == Some(1),
        };
        if !refused || arena.upstream.count() != before {
            let reached = arena.upstream.count() - before;
            wrong.push(format!("{name}: {outcome:?}, {reached} reached the upstream"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    arena.unharmed(&[]).await;
}

/// More headers than fit: 64 KiB, in one frame or in many, are refused; the process keeps its size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_floods_are_bounded() {
    let mut arena = Arena::start().await;
    let before = arena.memory();
    let large = "y".repeat(8_000);
    let mut list = get("/pub/x");
    list.extend(vec![("x", large.as_str()); 20]);
    let block = fields(&list);
    let mut client = Client::open(&arena).await;
    let mut parts = block.chunks(16_000);
    let mut bytes = frame(HEADERS, END_STREAM, 1, parts.next().unwrap());
    let rest: Vec<_> = parts.collect();
    for (index, part) in rest.iter().enumerate() {
        let last = if index + 1 == rest.len() { END_HEADERS } else { 0 };
        bytes.extend(frame(CONTINUATION, last, 1, part));
    }
    client.push(&bytes).await;
    let outcome = client.outcome(1).await;
    assert_ne!(outcome, Outcome::Body(BEHIND.into()));

    // CONTINUATION without an end (CVE-2024-27983 and its kin): the connection ends.
    for part in [&b"\0\x01x\x01y"[..], &[]] {
        let mut client = Client::open(&arena).await;
        client.push(&frame(HEADERS, END_STREAM, 1, &fields(&get("/pub/x")))).await;
        let flood = frame(CONTINUATION, 0, 1, &part.repeat(2_000)).repeat(50);
        let mut sent = 0_usize;
        while sent < 64 << 20 && client.push(&flood).await {
            sent += flood.len();
        }
        assert!(sent < 64 << 20, "the edge took {sent} bytes of CONTINUATION");
    }
    assert_eq!(arena.upstream.count(), 0);
    let grown = arena.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "the edge grew by {grown} bytes");
    arena.unharmed(&[]).await;
}

/// CVE-2023-44487, and its kin without resets of the client's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_the_connection() {
    let mut arena = Arena::start().await;
    let before = arena.memory();
    let block = fields(&get("/pub/x"));
    let mut ended = 0;
    for _ in 0..10 {
        let mut client = Client::open(&arena).await;
        let mut bytes = Vec::new();
        for number in 0..1000_u32 {
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &block));
            bytes.extend(frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes()));
        }
        client.push(&bytes).await;
        client.push(&frame(PING, 0, 0, &[7; 8])).await;
        // Either the flood was too fast and the connection ends, or it was served and answers a ping.
        loop {
            match client.frame().await {
                None | Some((GOAWAY, ..)) => break ended += 1,
                Some((PING, 1, ..)) => break,
                Some(_) => {}
            }
        }
    }
    assert!(ended > 0, "no flood of resets ended its connection");
    let grown = arena.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "the edge grew by {grown} bytes");
    arena.unharmed(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_out_of_order_end_the_connection() {
    let mut arena = Arena::start().await;
    let block = fields(&get("/pub/x"));
    for (name, bytes) in [
        ("data before headers", frame(DATA, 0, 1, b"x")),
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("headers on stream 0", frame(HEADERS, END_STREAM | END_HEADERS, 0, &block)),
        ("headers on an even stream", frame(HEADERS, END_STREAM | END_HEADERS, 2, &block)),
        ("continuation alone", frame(CONTINUATION, END_HEADERS, 1, &block)),
        ("settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a ping of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("a frame beyond the limit", frame(DATA, 0, 1, &vec![0; 100_000])),
        ("no HPACK", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 50])),
        ("HTTP/1.1", b"GET /pub/x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
    ] {
        let mut client = Client::open(&arena).await;
        client.push(&bytes).await;
        // Every one of them is an error of the connection (RFC 9113, 5.4.1).
        match client.outcome(1).await {
            Outcome::Gone(code) => assert_ne!(code, Some(0), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(arena.upstream.count(), 0);
    arena.unharmed(&[]).await;
}

/// A preface that goes wrong is no request; one that stops ends by the deadline (5 s).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_preface_is_not_waited_for_long() {
    let mut arena = Arena::start().await;
    for garbage in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
        "PRI /pub/x HTTP/1.1\r\n\r\n",
    ] {
        let got = arena.raw(garbage.as_bytes()).await;
        assert_eq!(got.end, super::End::Closed, "{garbage:?}");
        assert!(matches!(got.responses[0].status, 400 | 505), "{garbage:?}: {got:?}");
    }
    let began = Instant::now();
    let mut connection = Connection::open(arena.edge.http).await;
    connection.write(&PREFACE[..12]).await;
    assert_eq!(connection.rest().await, b"");
    assert!((Duration::from_secs(2)..DEADLINE).contains(&began.elapsed()), "{:?}", began.elapsed());
    arena.unharmed(&[]).await;
}
