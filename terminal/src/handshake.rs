//! The server's side of the WebSocket handshake (RFC 6455, 4.2).
//!
//! Who may connect is not decided here: the gate has checked credentials and `Origin` before.

use crate::TerminalError;
use crate::protocol::SUBPROTOCOL;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, request::Parts};
use http_body_util::Full;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A handshake found good.
#[derive(Debug)]
pub(crate) struct Handshake {
    accept: String,
    subprotocol: bool,
}

impl Handshake {
    /// Checks a request's head. The method is the route's business.
    pub(crate) fn check(parts: &Parts) -> Result<Self, TerminalError> {
        let bad = |what| Err(TerminalError::BadHandshake(what));
        let headers = &parts.headers;
        if parts.version != Version::HTTP_11 {
            return bad("it takes HTTP/1.1");
        }
        if !has_token(headers, &UPGRADE, "websocket") {
            return Err(TerminalError::UpgradeRequired);
        }
        if !has_token(headers, &CONNECTION, "upgrade") {
            return bad("Connection does not name Upgrade");
        }
        match single(headers, &SEC_WEBSOCKET_VERSION) {
            Some(version) if version.as_bytes() == b"13" => {}
            _ => return Err(TerminalError::UpgradeRequired),
        }
        let Some(key) = single(headers, &SEC_WEBSOCKET_KEY) else {
            return bad("it needs one Sec-WebSocket-Key");
        };
        if !matches!(STANDARD.decode(key.as_bytes()), Ok(nonce) if nonce.len() == 16) {
            return bad("Sec-WebSocket-Key is not 16 bytes in base64");
        }
        // Whatever follows the head must be frames.
        let length = headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        if length || headers.contains_key(TRANSFER_ENCODING) {
            return bad("it has no body");
        }
        Ok(Self {
            accept: derive_accept_key(key.as_bytes()),
            subprotocol: names(headers, &SEC_WEBSOCKET_PROTOCOL).any(|name| name == SUBPROTOCOL),
        })
    }

    /// The 101.
    pub(crate) fn answer(self) -> Result<Response<Full<Bytes>>, TerminalError> {
        let accept = HeaderValue::try_from(self.accept)
            .map_err(|_| TerminalError::BadHandshake("Sec-WebSocket-Key cannot be answered"))?;
        let mut reply = Response::new(Full::default());
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = reply.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if self.subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok(reply)
    }
}

/// The members of a comma-separated header, over all its lines; lines that are not ASCII have none.
fn names<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    names(headers, name).any(|member| member.eq_ignore_ascii_case(token))
}

/// The header's value where it is there exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    let first = values.next();
    if values.next().is_some() { None } else { first }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use http::Request;

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn parts<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Parts {
        let mut request = Request::builder().uri("/x");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status_without(name: &str, instead: &[(&str, &str)]) -> u16 {
        let kept = GOOD.into_iter().filter(|(other, _)| *other != name);
        let parts = parts(kept.chain(instead.iter().copied()));
        Handshake::check(&parts).unwrap_err().status().as_u16()
    }

    #[test]
    fn the_sample_of_rfc_6455_is_answered_as_printed_there() {
        let reply = Handshake::check(&parts(GOOD)).unwrap().answer().unwrap();
        assert_eq!(reply.status(), 101);
        assert_eq!(reply.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!reply.headers().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn our_subprotocol_is_chosen_where_offered() {
        let offers = [("sec-websocket-protocol", "soap, coditect.terminal.v1")];
        let reply = Handshake::check(&parts(GOOD.into_iter().chain(offers))).unwrap().answer().unwrap();
        assert_eq!(reply.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        let others = [("sec-websocket-protocol", "coditect.terminal.v2")];
        let reply = Handshake::check(&parts(GOOD.into_iter().chain(others))).unwrap().answer().unwrap();
        assert!(!reply.headers().contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn each_flaw_has_its_status() {
        assert_eq!(status_without("upgrade", &[]), 426);
        assert_eq!(status_without("upgrade", &[("upgrade", "h2c")]), 426);
        assert_eq!(status_without("connection", &[]), 400);
        assert_eq!(status_without("connection", &[("connection", "keep-alive")]), 400);
        assert_eq!(status_without("sec-websocket-version", &[]), 426);
        assert_eq!(status_without("sec-websocket-version", &[("sec-websocket-version", "8")]), 426);
        assert_eq!(status_without("sec-websocket-key", &[]), 400);
        assert_eq!(status_without("sec-websocket-key", &[("sec-websocket-key", "")]), 400);
        assert_eq!(status_without("sec-websocket-key", &[("sec-websocket-key", "c2hvcnQ=")]), 400);
        assert_eq!(status_without("sec-websocket-key", &[("sec-websocket-key", "!!!!")]), 400);
        assert_eq!(status_without("", &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]), 400);
        assert_eq!(status_without("", &[("content-length", "5")]), 400);
        assert_eq!(status_without("", &[("transfer-encoding", "chunked")]), 400);
    }

    #[test]
    fn other_versions_of_http_are_refused() {
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut parts = parts(GOOD);
            parts.version = version;
            assert_eq!(Handshake::check(&parts).unwrap_err().status(), 400);
        }
    }
}
