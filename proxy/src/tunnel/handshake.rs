//! The opening handshake (RFC 6455, 4), repeated towards the upstream.

use crate::forward;
use crate::reply::{Reply, refusal};
use crate::request::RequestCtx;
use crate::takeover::Prefixed;
use crate::upstream::{ConnectError, Upstream};
use bytes::BytesMut;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::client::http_req_header_to_wire;
use pingora::{Error, ErrorType};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The largest head of an upstream's answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most headers it may have.
const MAX_HEADERS: usize = 128;

/// Whether a request asks to become a WebSocket in the one way that can: RFC 6455, 4.2.1.
pub(crate) fn is_websocket(request: &RequestHeader) -> bool {
    let headers = &request.headers;
    let has_token = |name: HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    request.version == Version::HTTP_11
        && request.method == Method::GET
        && has_token(UPGRADE, "websocket")
        && has_token(CONNECTION, "upgrade")
        && headers.contains_key(SEC_WEBSOCKET_KEY)
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
        // A handshake with a body would leave its end to interpretation.
        && !headers.contains_key(TRANSFER_ENCODING)
        && headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0")
}

/// What an upstream made of the handshake.
pub(super) enum Answer {
    /// It switched. The stream begins with what it sent after its head.
    Switched { head: Box<ResponseHeader>, stream: Prefixed<TcpStream> },
    /// It did not. The stream begins with its whole answer.
    Refused { stream: Prefixed<TcpStream> },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the upstream did not answer in time")]
    Timeout,
    #[error("the upstream's connection failed")]
    Io(#[from] std::io::Error),
    #[error("the upstream's answer is no HTTP response: {0}")]
    NotHttp(&'static str),
}

impl HandshakeError {
    /// What the client gets for it.
    pub(super) fn reply(&self) -> (Reply, &'static str) {
        let (status, code, message) = match self {
            Self::Timeout | Self::Connect(ConnectError::Timeout) => {
                (StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_TIMEOUT", "the upstream did not answer in time")
            }
            Self::NotHttp(_) => {
                (StatusCode::BAD_GATEWAY, "BAD_GATEWAY", "the upstream's answer could not be understood")
            }
            _ => (StatusCode::BAD_GATEWAY, "UPSTREAM_UNREACHABLE", "the upstream could not be reached"),
        };
        (refusal(status, code, message), code)
    }
}

/// The request as the upstream gets it.
pub(super) fn request(client: &RequestHeader, ctx: &RequestCtx) -> pingora::Result<BytesMut> {
    let mut request = client.clone();
    forward::to_upstream(&mut request, ctx)?;
    request.set_version(Version::HTTP_11);
    request.insert_header(CONNECTION, "Upgrade")?;
    request.insert_header(UPGRADE, "websocket")?;
    http_req_header_to_wire(&request).ok_or_else(|| {
        Error::explain(ErrorType::InvalidHTTPHeader, "the path cannot be written to the upstream")
    })
}

/// Connects, sends the request and reads the answer's head.
pub(super) async fn dial(upstream: &Arc<Upstream>, request: &[u8]) -> Result<Answer, HandshakeError> {
    let mut stream = upstream.connect().await?;
    let exchange = async {
        stream.write_all(request).await?;
        let mut head = BytesMut::with_capacity(4096);
        loop {
            if stream.read_buf(&mut head).await? == 0 {
                return Err(HandshakeError::NotHttp("it closed the connection first"));
            }
            if let Some(parsed) = parse(&head)? {
                return Ok((parsed, head));
            }
            if head.len() > MAX_HEAD_BYTES {
                return Err(HandshakeError::NotHttp("its head is too large"));
            }
        }
    };
    let (parsed, mut bytes) =
        timeout(upstream.config.response_timeout, exchange).await.map_err(|_| HandshakeError::Timeout)??;
    Ok(match parsed {
        Parsed::Switched { head, length } => {
            let prefix = bytes.split_off(length);
            Answer::Switched { head, stream: Prefixed { prefix, stream } }
        }
        Parsed::Other => Answer::Refused { stream: Prefixed { prefix: bytes, stream } },
    })
}

enum Parsed {
    Switched { head: Box<ResponseHeader>, length: usize },
    Other,
}

/// The head, once it is complete. Interim responses other than 101 are left to the relay.
fn parse(bytes: &[u8]) -> Result<Option<Parsed>, HandshakeError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(HandshakeError::NotHttp("its head is malformed")),
    };
    if response.code != Some(101) {
        return Ok(Some(Parsed::Other));
    }
    let malformed = |_| HandshakeError::NotHttp("a header of its 101 is malformed");
    let mut head = ResponseHeader::build(101, Some(response.headers.len())).map_err(malformed)?;
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let name = name.map_err(|_| HandshakeError::NotHttp("a header of its 101 is malformed"))?;
        head.append_header(name, header.value).map_err(malformed)?;
    }
    Ok(Some(Parsed::Switched { head: Box::new(head), length }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_whole_handshake_is_one() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [
            ("upgrade", "h2c, WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "x"),
            ("sec-websocket-version", "13"),
        ] {
            assert!(!is_websocket(&request), "before {name}");
            request.insert_header(name, value).unwrap();
        }
        assert!(is_websocket(&request));
        request.insert_header("content-length", "5").unwrap();
        assert!(!is_websocket(&request));
    }

    #[test]
    fn a_101_is_split_from_what_follows() {
        let bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi";
        for cut in 0..bytes.len() - 4 {
            assert!(parse(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        assert!(
            matches!(parse(bytes).unwrap(), Some(Parsed::Switched { length, .. }) if length == bytes.len() - 4)
        );
        assert!(matches!(parse(b"HTTP/1.1 403 Forbidden\r\n\r\n").unwrap(), Some(Parsed::Other)));
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
