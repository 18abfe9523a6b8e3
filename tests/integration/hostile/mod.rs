//! Hostile input: each with the exact answer it gets, and nothing of it behind the edge.
//!
//! [`corpus`] holds raw requests as data and [`raw`] plays them; the other files have a subject each. Every test ends
//! with [`Arena::unharmed`].

mod bodies;
mod corpus;
mod credentials;
mod files;
mod http2;
mod load;
mod mutations;
mod paths;
mod raw;
mod slow;
mod sockets;
mod upgrades;

use super::support::{Answer, Config, Connection, DEADLINE, Edge, Request, Response, Upstream};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Signs the edge's tokens in these tests, so that they can make their own.
const SECRET: &str = "a secret of these tests, 32 bytes and more";
/// What the upstream answers with.
const BEHIND: &str = "this came from behind the edge";

/// An edge in front of an upstream that records every byte: public at `/pub`, for tokens at `/sec`, as workspace at
/// `/theia`; `/api/v5` and the terminals in the process, a directory of files at `/`.
struct Arena {
    edge: Edge,
    upstream: Upstream,
    files: tempfile::TempDir,
}

impl Arena {
    async fn start() -> Self {
        Self::with(|config| config, |_| Answer::ok(BEHIND)).await
    }

    /// With another configuration, and an upstream that answers so.
    async fn with(
        change: impl FnOnce(Config) -> Config,
        answer: impl Fn(&super::support::Recorded) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let upstream = Upstream::start(answer).await;
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("secret.txt"), "beside the directory").unwrap();
        let root = files.path().join("www");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("index.html"), "<!doctype html><title>front</title>").unwrap();
        let config = Config::standard(upstream.address)
            .route("/pub", "upstream = 'theia'\nauth = 'public'")
            .route("/sec", "upstream = 'theia'\nauth = 'jwt'")
            .route("/", &format!("directory = '{}'\nauth = 'public'", root.display()))
            .env("JWT_SECRET", SECRET);
        let edge = Edge::start(&change(config)).await;
        Self { edge, upstream, files }
    }

    /// The answers to raw bytes, and how the connection ended.
    async fn raw(&self, bytes: &[u8]) -> Exchange {
        exchange(&self.edge, bytes, false).await
    }

    /// The process lives, answers, has not panicked, and logged none of `secrets`.
    async fn unharmed(&mut self, secrets: &[&str]) {
        assert!(self.edge.is_running(), "the edge ended: {}", self.edge.stderr());
        assert_eq!(self.edge.get("/health").await.status, 200);
        let (out, err) = (self.edge.stdout(), self.edge.stderr());
        assert!(!err.contains("panicked"), "{err}");
        for secret in secrets {
            assert!(!out.contains(secret) && !err.contains(secret), "{secret:?} was logged");
        }
    }

    /// What the process holds in memory now, in bytes.
    fn memory(&self) -> u64 {
        let pid = self.edge.pid().as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line with VmRSS");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// How a connection stood when its answers were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The edge closed it.
    Closed,
    /// The edge keeps it, and answers another request on it.
    Open,
}

/// What raw bytes were answered with.
#[derive(Debug)]
struct Exchange {
    responses: Vec<Response>,
    end: End,
}

impl Exchange {
    /// The one response, as status and code.
    #[track_caller]
    fn refusal(&self) -> (u16, String) {
        assert_eq!(self.responses.len(), 1, "{self:?}");
        self.responses[0].refusal()
    }
}

/// How long a connection that says nothing more is waited for before it counts as open; it then has to prove it.
const QUIET: Duration = Duration::from_millis(150);

/// Writes the bytes and reads what comes, at the same time. `half_close`: then ends the client's side.
async fn exchange(edge: &Edge, bytes: &[u8], half_close: bool) -> Exchange {
    let mut connection = Connection::open(edge.http).await;
    let (mut read, mut write) = connection.stream.split();
    let mut received = Vec::new();
    let writing = async {
        // The edge may have answered and closed before it took everything.
        drop(write.write_all(bytes).await);
        if half_close {
            drop(write.shutdown().await);
        }
    };
    let reading = async {
        let mut piece = [0; 16 * 1024];
        loop {
            // The first byte may take its time; after whole answers, silence means that the connection stays.
            let patience = if whole(&received) { QUIET } else { DEADLINE };
            match tokio::time::timeout(patience, read.read(&mut piece)).await {
                Ok(Ok(0) | Err(_)) => return End::Closed,
                Ok(Ok(count)) => received.extend_from_slice(&piece[..count]),
                Err(_) => return End::Open,
            }
        }
    };
    // What is left to write when the edge is done interests nobody.
    let end = tokio::select! {
        end = reading => end,
        never = async { writing.await; std::future::pending().await } => never,
    };
    let (mut responses, rest) = responses(&received);
    assert!(rest.is_empty() && (end == End::Closed || !responses.is_empty()), "{end:?} after {rest:?}");
    if end == End::Closed {
        return Exchange { responses, end };
    }
    // A connection that only looked open does not take this, or does not answer it.
    drop(connection.stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await);
    match tokio::time::timeout(DEADLINE / 2, connection.response()).await {
        Ok(Ok(response)) if response.text() == "{\"status\":\"ok\"}" => {
            Exchange { responses, end: End::Open }
        }
        Ok(Ok(another)) => {
            responses.push(another);
            Exchange { responses, end: End::Open }
        }
        Ok(Err(_)) => Exchange { responses, end: End::Closed },
        Err(_) => panic!("a connection neither ends nor goes on after {responses:?}"),
    }
}

/// Whether these bytes are whole responses, at least one.
fn whole(bytes: &[u8]) -> bool {
    let (responses, rest) = responses(bytes);
    rest.is_empty() && responses.iter().any(|response| response.status >= 200)
}

/// The responses in these bytes, interim ones too, and what is left over.
fn responses(mut bytes: &[u8]) -> (Vec<Response>, &[u8]) {
    let mut found = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Response { status: status.expect("a status line"), headers, body: Vec::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        let Some(body) = bytes.get(end + 4..end + 4 + length) else { break };
        response.body = body.to_vec();
        bytes = &bytes[end + 4 + length..];
        found.push(response);
    }
    (found, bytes)
}

/// A request head with a `Host`, and what follows it.
fn head(line: &str, headers: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: edge.test\r\n{headers}\r\n").into_bytes()
}

/// The same with a body.
fn message(line: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    [&head(line, headers), body.as_ref()].concat()
}

/// A `POST` of JSON bytes.
fn json(target: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", target).header("content-type", "application/json").body(body)
}
