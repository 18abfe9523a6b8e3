//! A keep-alive HTTP/1.1 client that does as little as it can.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is read at once, in bytes.
const PIECE: usize = 64 << 10;

/// An answer. Its body is kept only where it is short.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    pub(crate) body: Vec<u8>,
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("the edge listens");
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(PIECE) }
    }

    /// Sends bytes that are one request, and reads the answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).await.expect("the edge reads");
        self.answer().await
    }

    /// Sends a head, then a body of `pieces` times the same bytes, and reads the answer.
    pub(crate) async fn upload(&mut self, head: &[u8], piece: &[u8], pieces: usize) -> Answer {
        self.stream.write_all(head).await.expect("the edge reads");
        for _ in 0..pieces {
            self.stream.write_all(piece).await.expect("the edge reads");
        }
        self.answer().await
    }

    async fn answer(&mut self) -> Answer {
        self.buffer.clear();
        let head = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await;
        };
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(&self.buffer[..head]).expect("a response");
        let status = response.code.unwrap();
        let header =
            |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        let retry_after = header("retry-after").is_some();
        let length = header("content-length").expect("a length");
        let length: usize = std::str::from_utf8(length.value).unwrap().parse().unwrap();
        while self.buffer.len() < head + length {
            self.read().await;
        }
        Answer { status, retry_after, body: self.buffer[head..].to_vec() }
    }

    async fn read(&mut self) {
        self.buffer.reserve(PIECE);
        let read = self.stream.read_buf(&mut self.buffer).await.expect("the edge answers");
        assert_ne!(read, 0, "the edge closed the connection");
    }
}

/// A request as bytes.
pub(crate) fn request(method: &str, path: &str, token: Option<&str>, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(method, path, token, kind, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// A request's head as bytes.
pub(crate) fn head(method: &str, path: &str, token: Option<&str>, kind: &str, length: usize) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: bench.test\r\n");
    if let Some(token) = token {
        head += &format!("authorization: Bearer {token}\r\n");
    }
    if method != "GET" {
        head += &format!("content-type: {kind}\r\ncontent-length: {length}\r\n");
    }
    (head + "\r\n").into_bytes()
}
