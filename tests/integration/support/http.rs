//! A small HTTP/1.1 client that writes exactly what it is told: no redirects, no cookies, no repairs.

use super::{DEADLINE, within};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is read at once, in bytes.
const PIECE: usize = 64 * 1024;

/// A request. `Host` and, for a body, `Content-Length` are added unless they are there.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// The request target, written as it is.
    pub target: String,
    /// Headers, in this order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `POST` of JSON.
    pub fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target).header("content-type", "application/json").body(body.to_string())
    }

    /// `POST` of a form.
    pub fn form(target: &str, body: &str) -> Self {
        Self::new("POST", target).header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    /// Another header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// `Authorization: Bearer`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// `Cookie`.
    pub fn cookie(self, cookie: &str) -> Self {
        self.header("cookie", cookie)
    }

    /// Its body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The bytes on the wire.
    pub fn to_wire(&self, host: &str) -> Vec<u8> {
        let has = |name: &str| self.headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            head += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let unsafe_method = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        if (!self.body.is_empty() || unsafe_method) && !has("content-length") && !has("transfer-encoding") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        let mut wire = (head + "\r\n").into_bytes();
        wire.extend_from_slice(&self.body);
        wire
    }

    /// Sends it on a connection of its own.
    pub async fn send(&self, to: SocketAddr) -> Response {
        let mut connection = Connection::open(to).await;
        connection.exchange(self).await
    }
}

/// A response, its body whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, without chunk framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// All headers of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("no JSON ({error}) in {} {:?}", self.status, self.text()),
        }
    }

    /// `data` of an answer that must have this status.
    #[track_caller]
    pub fn data(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()["data"].clone()
    }

    /// Status and error code; the code is empty where the body is no envelope of an error.
    pub fn refusal(&self) -> (u16, String) {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        (self.status, json["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The value of a cookie that is set, and its attributes.
    pub fn set_cookie(&self, name: &str) -> Option<(String, String)> {
        self.all("set-cookie").iter().find_map(|cookie| {
            let rest = cookie.strip_prefix(name)?.strip_prefix('=')?;
            let (value, attributes) = rest.split_once(';').unwrap_or((rest, ""));
            Some((value.to_owned(), attributes.trim().to_owned()))
        })
    }
}

/// A connection, for keep-alive, pipelining and raw bytes.
pub struct Connection {
    /// The socket; what was read from it and not used is in `buffer`.
    pub stream: TcpStream,
    /// Bytes read and not used yet.
    pub buffer: Vec<u8>,
    host: String,
}

impl Connection {
    /// Connects.
    pub async fn open(to: SocketAddr) -> Self {
        let stream = within("the edge accepts", TcpStream::connect(to)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new(), host: to.to_string() }
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within("the edge reads", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends a request without waiting for its answer.
    pub async fn send(&mut self, request: &Request) {
        let wire = request.to_wire(&self.host);
        self.write(wire).await;
    }

    /// Sends a request and reads its answer, both at once, so that neither side waits for the other.
    pub async fn exchange(&mut self, request: &Request) -> Response {
        let wire = request.to_wire(&self.host);
        let (mut read, mut write) = self.stream.split();
        let mut reader = Reader { stream: &mut read, buffer: &mut self.buffer };
        let exchange = async {
            // An answer may come, and the connection end, before the request was taken whole.
            let (_, answer) = tokio::join!(write.write_all(&wire), reader.response(&request.method));
            answer
        };
        match within("an answer comes", exchange).await {
            Ok(response) => response,
            Err(problem) => panic!("{} {}: {problem}", request.method, request.target),
        }
    }

    /// Reads the next response; `Err` says how the connection ended instead.
    pub async fn response(&mut self) -> Result<Response, String> {
        self.response_to("GET").await
    }

    /// Reads the next response, to a request of this method.
    pub async fn response_to(&mut self, method: &str) -> Result<Response, String> {
        let (mut read, _write) = self.stream.split();
        let mut reader = Reader { stream: &mut read, buffer: &mut self.buffer };
        match tokio::time::timeout(DEADLINE, reader.response(method)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("nothing within {DEADLINE:?}")),
        }
    }

    /// Reads until the other side closes; a reset counts as its end.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        drop(within("the connection ends", self.stream.read_to_end(&mut rest)).await);
        rest
    }
}

struct Reader<'a, S> {
    stream: &'a mut S,
    buffer: &'a mut Vec<u8>,
}

impl<S: AsyncReadExt + Unpin> Reader<'_, S> {
    async fn response(&mut self, method: &str) -> Result<Response, String> {
        loop {
            let end = self.until(b"\r\n\r\n").await?;
            let head = String::from_utf8_lossy(&self.take(end)).into_owned();
            let mut lines = head.trim_end().split("\r\n");
            let status_line = lines.next().unwrap_or_default();
            let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status: u16 = status.ok_or_else(|| format!("no status line: {status_line:?}"))?;
            let headers = lines.filter_map(|line| line.split_once(':'));
            let headers =
                headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let mut response = Response { status, headers, body: Vec::new() };
            response.body = self.body(method, &response).await?;
            return Ok(response);
        }
    }

    async fn body(&mut self, method: &str, head: &Response) -> Result<Vec<u8>, String> {
        if method == "HEAD" || matches!(head.status, 101 | 204 | 304) {
            return Ok(Vec::new());
        }
        if head.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.chunked().await;
        }
        if let Some(length) = head.header("content-length") {
            let length = length.parse().map_err(|_| format!("content-length {length:?}"))?;
            while self.buffer.len() < length {
                self.more().await?;
            }
            return Ok(self.take(length));
        }
        while self.more().await.is_ok() {}
        Ok(std::mem::take(self.buffer))
    }

    async fn chunked(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let end = self.until(b"\r\n").await?;
            let line = String::from_utf8_lossy(&self.take(end)).into_owned();
            let size = line.trim().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| format!("chunk size {line:?}"))?;
            while self.buffer.len() < size + 2 {
                self.more().await?;
            }
            let chunk = self.take(size + 2);
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn until(&mut self, mark: &[u8]) -> Result<usize, String> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return Ok(at + mark.len());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), String> {
        self.buffer.reserve(PIECE);
        match self.stream.read_buf(self.buffer).await {
            Ok(0) => Err(format!("the connection ended after {:?}", String::from_utf8_lossy(self.buffer))),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the connection broke: {error}")),
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(self.buffer, rest)
    }
}
