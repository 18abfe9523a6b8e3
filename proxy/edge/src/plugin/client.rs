//! A small HTTP/1.1 client for the edge's API: one connection per request, JSON answers, every step bounded.

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long the answer may take from the first byte sent; an upload is compiled meanwhile.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);
/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// The most header fields an answer may have.
const MAX_FIELDS: usize = 64;
/// Where the API lies.
const API: &str = "/api/v5";

/// An edge, by its address.
pub(super) struct Client {
    /// `host:port`, as in the URL.
    authority: String,
}

/// What the API answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    body: Value,
}

impl Answer {
    /// Why it was refused, where it was.
    pub(super) fn refusal(&self) -> Option<String> {
        if (200..300).contains(&self.status) {
            return None;
        }
        let error = &self.body["error"];
        let text = |key: &str| error[key].as_str().unwrap_or("no reason").to_owned();
        Some(format!("{} ({} {})", text("message"), self.status, text("code")))
    }

    /// What was asked for.
    pub(super) fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// Where a list goes on.
    pub(super) fn next_cursor(&self) -> Option<&str> {
        self.body["next_cursor"].as_str()
    }
}

/// A request's body.
struct Body<'a> {
    kind: &'a str,
    bytes: &'a [u8],
}

impl Client {
    /// For an edge at a URL such as `http://127.0.0.1:8080`.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("--edge {url} is no URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => bail!(
                "--edge {url}: TLS ends in front of the edge and this command has none. Speak to the edge itself, for \
                 example through `ssh -L 8080:127.0.0.1:8080 HOST`"
            ),
            _ => bail!("--edge {url} is no URL such as http://127.0.0.1:8080"),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            bail!("--edge {url}: give the edge's address alone, without a path");
        }
        let host = uri.host().filter(|host| !host.is_empty()).context("--edge has no host")?;
        Ok(Self { authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)) })
    }

    /// Whether what is sent stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        let addresses = self.authority.to_socket_addrs();
        addresses.is_ok_and(|mut addresses| addresses.all(|address| address.ip().is_loopback()))
    }

    pub(super) fn get(&self, path: &str, token: &SecretString) -> anyhow::Result<Answer> {
        self.send("GET", path, Some(token), None)
    }

    pub(super) fn post(
        &self,
        path: &str,
        token: Option<&SecretString>,
        json: &Value,
    ) -> anyhow::Result<Answer> {
        let bytes = json.to_string();
        self.send("POST", path, token, Some(Body { kind: "application/json", bytes: bytes.as_bytes() }))
    }

    pub(super) fn upload(&self, path: &str, token: &SecretString, module: &[u8]) -> anyhow::Result<Answer> {
        self.send("POST", path, Some(token), Some(Body { kind: "application/wasm", bytes: module }))
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&SecretString>,
        body: Option<Body<'_>>,
    ) -> anyhow::Result<Answer> {
        let mut stream = self.connect()?;
        let mut head = format!(
            "{method} {API}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: application/json\r\n",
            self.authority
        );
        if let Some(token) = token {
            head += &format!("Authorization: Bearer {}\r\n", token.expose_secret());
        }
        if let Some(Body { kind, bytes }) = &body {
            head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", bytes.len());
        }
        head += "\r\n";
        let until = Instant::now() + ANSWER_DEADLINE;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        let sent = stream.write_all(head.as_bytes()).and_then(|()| match &body {
            Some(body) => stream.write_all(body.bytes),
            None => Ok(()),
        });
        // An edge that refuses an upload may answer before all of it is sent: what it says is the better reason.
        let received = read_to_end(&mut stream, until);
        let answer = received.and_then(|bytes| parse(&bytes));
        match (answer, sent) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(error)) => {
                Err(error).with_context(|| format!("the request to {} broke off", self.authority))
            }
            (Err(error), Ok(())) => Err(error.context(format!("the answer of {}", self.authority))),
        }
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let authority = &self.authority;
        let addresses = authority.to_socket_addrs().with_context(|| format!("{authority} is not known"))?;
        let mut last = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_DEADLINE) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        let error = last.map_or_else(|| anyhow::anyhow!("it has no address"), anyhow::Error::from);
        Err(error.context(format!("no edge answers at {authority}")))
    }
}

fn read_to_end(stream: &mut TcpStream, until: Instant) -> anyhow::Result<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("did not come within {} s", ANSWER_DEADLINE.as_secs());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A reset after a whole answer loses nothing; a cut one is found by its length.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset && !bytes.is_empty() => {
                return Ok(bytes);
            }
            Err(error) => return Err(error).context("it broke off"),
        }
        if bytes.len() > MAX_ANSWER_BYTES {
            bail!("it has more than {MAX_ANSWER_BYTES} bytes");
        }
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else { bail!("it is no HTTP/1.1") };
    let field = |name: &str| head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let rest = &bytes[length..];
    let chunked =
        field("transfer-encoding").is_some_and(|field| field.value.eq_ignore_ascii_case(b"chunked"));
    let declared = field("content-length")
        .map(|field| std::str::from_utf8(field.value)?.trim().parse().context("length"));
    let body = match declared.transpose()? {
        _ if chunked => unchunked(rest)?,
        Some(length) => {
            let whole: Option<&[u8]> = rest.get(..length);
            whole.context("it was cut off")?.to_vec()
        }
        None => rest.to_vec(),
    };
    let status = head.code.context("it has no status")?;
    let body = serde_json::from_slice(&body)
        .with_context(|| format!("it is {status} and no JSON; is that an edge?"))?;
    Ok(Answer { status, body })
}

fn unchunked(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            bail!("its chunks are broken");
        };
        if size == 0 {
            return Ok(body);
        }
        let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
        let chunk = end.and_then(|end| rest.get(start..end)).context("it was cut off")?;
        body.extend_from_slice(chunk);
        rest = rest
            .get(start + chunk.len()..)
            .and_then(|rest| rest.strip_prefix(b"\r\n"))
            .context("it was cut off")?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_read_by_its_length_or_in_chunks() {
        let body = r#"{"success":true,"data":{"x":1},"next_cursor":"c"}"#;
        let by_length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}ignored", body.len());
        let (one, two) = body.split_at(7);
        let chunks = format!("7\r\n{one}\r\n{:x};ext=1\r\n{two}\r\n0\r\n\r\n", two.len());
        let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        for text in [&by_length, &chunked] {
            let answer = parse(text.as_bytes()).unwrap();
            assert_eq!((answer.data()["x"].as_u64(), answer.next_cursor()), (Some(1), Some("c")), "{text}");
            assert_eq!(answer.refusal(), None);
        }
        for cut in 0..chunked.len() - 5 {
            assert!(parse(&chunked.as_bytes()[..cut]).is_err(), "{cut}");
        }
        assert!(parse(&by_length.as_bytes()[..by_length.len() - 8]).is_err());
    }

    #[test]
    fn a_refusal_is_told_by_its_message() {
        let body = r#"{"success":false,"data":null,"error":{"code":"PLUGIN_REFUSED","message":"no marker"}}"#;
        let text = format!("HTTP/1.1 422 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let refusal = parse(text.as_bytes()).unwrap().refusal().unwrap();
        assert_eq!(refusal, "no marker (422 PLUGIN_REFUSED)");
        let page = "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>";
        assert!(format!("{:#}", parse(page.as_bytes()).unwrap_err()).contains("502 and no JSON"));
    }

    #[test]
    fn an_edge_is_named_by_its_address_alone() {
        assert_eq!(Client::new("http://127.0.0.1:8080").unwrap().authority, "127.0.0.1:8080");
        assert_eq!(Client::new("http://[::1]:9/").unwrap().authority, "[::1]:9");
        assert_eq!(Client::new("http://edge.example").unwrap().authority, "edge.example:80");
        assert!(Client::new("http://127.0.0.1:1").unwrap().is_local());
        for (url, expected) in [
            ("https://edge.example", "ssh -L"),
            ("ftp://x", "is no URL such as"),
            ("127.0.0.1", "is no URL"),
            ("http://x/api/v5", "without a path"),
        ] {
            let error = format!("{:#}", Client::new(url).err().unwrap());
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
