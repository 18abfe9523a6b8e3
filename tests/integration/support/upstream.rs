//! Upstreams written in the test: they keep every byte that reaches them, and answer as they are told.

use super::{DEADLINE, wait_until};
use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What is read at once, in bytes.
const PIECE: usize = 64 * 1024;

/// A request that reached an upstream.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The connection it came on, counted from 0.
    pub connection: usize,
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// Its headers, names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// Its body, without chunk framing.
    pub body: Vec<u8>,
    /// Its head's bytes.
    pub head: Vec<u8>,
}

impl Recorded {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All headers of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).collect()
    }
}

/// What an upstream answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Status, headers, body with its length.
    Reply(u16, Vec<(String, String)>, Vec<u8>),
    /// These bytes; then the connection goes on.
    Raw(Vec<u8>),
    /// These bytes; then the connection ends.
    RawThenClose(Vec<u8>),
    /// Switches to a WebSocket and sends every message back, until a Close.
    Echo,
}

impl Answer {
    /// 200 with a text.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Reply(200, vec![("content-type".into(), "text/plain".into())], body.into())
    }

    /// With another header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Reply(_, headers, _) = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }
}

type Handler = dyn Fn(Recorded) -> BoxFuture<'static, Answer> + Send + Sync;

#[derive(Default)]
struct Seen {
    requests: Vec<Recorded>,
    /// By connection, every byte it brought, sockets' excepted.
    bytes: Vec<Vec<u8>>,
    /// Close codes of sockets that ended; `None` where the connection just ended.
    closes: Vec<Option<u16>>,
}

/// A running upstream; it ends when dropped.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Upstream {
    /// Answers at once.
    pub async fn start(answer: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_async(move |request| {
            let answer = answer(&request);
            Box::pin(async move { answer })
        })
        .await
    }

    /// Answers when the future is done.
    pub async fn start_async(
        answer: impl Fn(Recorded) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let handler: Arc<Handler> = Arc::new(answer);
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream.set_nodelay(true));
                let number = {
                    let mut seen = shared.lock().unwrap();
                    seen.bytes.push(Vec::new());
                    seen.bytes.len() - 1
                };
                let serving = Serving {
                    stream,
                    buffer: Vec::new(),
                    number,
                    seen: Arc::clone(&shared),
                    handler: Arc::clone(&handler),
                };
                connections.spawn(serving.run());
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, seen, accepting }
    }

    /// Echoes WebSockets, and answers anything else with 200 and `hello from upstream`.
    pub async fn echo() -> Self {
        Self::start(|request| match request.header("upgrade") {
            Some(_) => Answer::Echo,
            None => Answer::ok("hello from upstream"),
        })
        .await
    }

    /// An address where nobody listens.
    pub async fn nowhere() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    /// What reached it so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// The number of requests so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().requests.len()
    }

    /// The last request.
    #[track_caller]
    pub fn last(&self) -> Recorded {
        self.requests().pop().expect("no request reached the upstream")
    }

    /// Waits for a request that `wanted` accepts.
    pub async fn request(&self, what: &str, wanted: impl Fn(&Recorded) -> bool) -> Recorded {
        wait_until(what, DEADLINE, || self.requests().into_iter().find(&wanted)).await
    }

    /// Every byte that reached it, by connection; of sockets only the handshake.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().bytes.clone()
    }

    /// Whether these bytes reached it on any connection.
    pub fn got(&self, needle: &str) -> bool {
        self.bytes().iter().any(|bytes| bytes.windows(needle.len()).any(|part| part == needle.as_bytes()))
    }

    /// Close codes of the sockets that ended.
    pub fn closes(&self) -> Vec<Option<u16>> {
        self.seen.lock().unwrap().closes.clone()
    }
}

struct Serving {
    stream: TcpStream,
    buffer: Vec<u8>,
    number: usize,
    seen: Arc<Mutex<Seen>>,
    handler: Arc<Handler>,
}

impl Serving {
    async fn run(mut self) {
        while let Some(request) = self.request().await {
            self.seen.lock().unwrap().requests.push(request.clone());
            let key = request.header("sec-websocket-key").map(str::to_owned);
            let written = match (self.handler)(request).await {
                Answer::Reply(status, headers, body) => {
                    let mut wire = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                    for (name, value) in headers {
                        wire += &format!("{name}: {value}\r\n");
                    }
                    let mut wire = (wire + "\r\n").into_bytes();
                    wire.extend(body);
                    self.stream.write_all(&wire).await
                }
                Answer::Raw(bytes) => self.stream.write_all(&bytes).await,
                Answer::RawThenClose(bytes) => {
                    drop(self.stream.write_all(&bytes).await);
                    // The end is told, and what still comes is read, so that no reset eats the answer.
                    drop(self.stream.shutdown().await);
                    while self.more().await {}
                    return;
                }
                Answer::Echo => return self.echo(&key.unwrap_or_default()).await,
            };
            if written.is_err() {
                return;
            }
        }
    }

    async fn request(&mut self) -> Option<Recorded> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = self.take(end);
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let mut line = lines.next()?.split(' ');
        let (method, target) = (line.next()?.to_owned(), line.next()?.to_owned());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut request =
            Recorded { connection: self.number, method, target, headers, body: Vec::new(), head };
        request.body = if request.header("transfer-encoding").is_some() {
            self.chunked().await?
        } else {
            let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            while self.buffer.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            self.take(length)
        };
        Some(request)
    }

    async fn chunked(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                    break at + 2;
                }
                if !self.more().await {
                    return None;
                }
            };
            let line = String::from_utf8_lossy(&self.take(end)).into_owned();
            let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
            while self.buffer.len() < size + 2 {
                if !self.more().await {
                    return None;
                }
            }
            body.extend_from_slice(&self.take(size + 2)[..size]);
            if size == 0 {
                return Some(body);
            }
        }
    }

    async fn more(&mut self) -> bool {
        self.buffer.reserve(PIECE);
        let before = self.buffer.len();
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => false,
            Ok(_) => {
                self.seen.lock().unwrap().bytes[self.number].extend_from_slice(&self.buffer[before..]);
                true
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    async fn echo(mut self, key: &str) {
        let accept = derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        if self.stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut socket = WebSocketStream::from_partially_read(self.stream, buffer, Role::Server, None).await;
        let mut code = None;
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Close(frame) => code = frame.map(|frame| frame.code.into()),
                Message::Text(_) | Message::Binary(_) => drop(socket.send(message).await),
                _ => {}
            }
        }
        self.seen.lock().unwrap().closes.push(code);
    }
}
