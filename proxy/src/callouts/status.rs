//! How a gRPC call ends: its status, out of trailers, out of an HTTP status, or out of what went wrong.

use super::fields::to_pairs;
use super::frames::FrameError;
use super::http2::OpenError;
use super::life::{MAX_IDLE, MAX_LIFE};
use super::metrics::Outcome;
use crate::upstream::ConnectError;
use coditect_proxy_wasm::Pairs;
use h2::Reason;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;

const OK: i32 = 0;
const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;
const DEADLINE_EXCEEDED: i32 = 4;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) status: i32,
    pub(super) message: String,
    /// Empty where there were none.
    pub(super) trailers: Pairs,
    pub(super) outcome: Outcome,
}

impl End {
    fn new(status: i32, message: impl Into<String>, outcome: Outcome) -> Self {
        Self { status, message: message.into(), trailers: Pairs::new(), outcome }
    }

    /// What trailers say, or the head of a response that has nothing but a head.
    pub(super) fn of_trailers(trailers: &HeaderMap) -> Self {
        let pairs = to_pairs(None, trailers);
        let Some(status) = grpc_status(trailers) else {
            let end = Self::new(UNKNOWN, "the upstream's trailers have no grpc-status", Outcome::Reset);
            return Self { trailers: pairs, ..end };
        };
        // Percent-encoded UTF-8 (PROTOCOL-HTTP2.md, "Status-Message"); what is not is read as far as it goes.
        let message = trailers.get("grpc-message").map(|message| percent_decode(message.as_bytes()));
        let message = message.map_or_else(String::new, |message| message.decode_utf8_lossy().into_owned());
        let outcome = if status == OK { Outcome::Ok } else { Outcome::Status };
        Self { status, message, trailers: pairs, outcome }
    }

    /// What a response means that is no gRPC (grpc/grpc, `doc/http-grpc-status-mapping.md`).
    pub(super) fn of_http(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => INTERNAL,
            401 => UNAUTHENTICATED,
            403 => PERMISSION_DENIED,
            404 => UNIMPLEMENTED,
            429 | 502..=504 => UNAVAILABLE,
            _ => UNKNOWN,
        };
        Self::new(code, format!("the upstream answered with HTTP status {status}"), Outcome::Status)
    }

    /// There is no connection.
    pub(super) fn of_open(error: &OpenError) -> Self {
        match error {
            OpenError::Connect(ConnectError::Timeout) => {
                Self::new(UNAVAILABLE, "the upstream took no connection in time", Outcome::Unreachable)
            }
            OpenError::Connect(_) => {
                Self::new(UNAVAILABLE, "the upstream could not be reached", Outcome::Unreachable)
            }
            OpenError::Http2(error) => Self::of_http2(error),
            OpenError::Full => Self::new(UNAVAILABLE, error.to_string(), Outcome::Timeout),
        }
    }

    /// What a broken stream or connection means (PROTOCOL-HTTP2.md, "Errors").
    pub(super) fn of_http2(error: &h2::Error) -> Self {
        let code = match error.reason() {
            None | Some(Reason::REFUSED_STREAM) => UNAVAILABLE,
            Some(_) if error.is_go_away() => UNAVAILABLE,
            Some(Reason::CANCEL) => CANCELLED,
            Some(Reason::ENHANCE_YOUR_CALM) => RESOURCE_EXHAUSTED,
            Some(Reason::INADEQUATE_SECURITY) => PERMISSION_DENIED,
            Some(_) => INTERNAL,
        };
        Self::new(code, format!("the upstream broke off: {error}"), Outcome::Reset)
    }

    /// The response's messages cannot be read.
    pub(super) fn of_frame(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { .. } => {
                Self::new(RESOURCE_EXHAUSTED, error.to_string(), Outcome::TooLarge)
            }
            _ => Self::new(INTERNAL, error.to_string(), Outcome::Reset),
        }
    }

    pub(super) fn cut_short() -> Self {
        Self::new(INTERNAL, "the response ended in the middle of a message", Outcome::Reset)
    }

    pub(super) fn no_room() -> Self {
        Self::new(RESOURCE_EXHAUSTED, "no room for another message in this process", Outcome::TooLarge)
    }

    pub(super) fn timed_out() -> Self {
        Self::new(DEADLINE_EXCEEDED, "the upstream did not answer in time", Outcome::Timeout)
    }

    /// A stream lived for as long as one may.
    pub(super) fn of_age() -> Self {
        let message = format!("a stream ends after {} s: begin it anew", MAX_LIFE.as_secs());
        Self::new(DEADLINE_EXCEEDED, message, Outcome::Timeout)
    }

    /// A stream carried no message for as long as one may.
    pub(super) fn idle() -> Self {
        let message = format!("a stream ends after {} s without a message", MAX_IDLE.as_secs());
        Self::new(DEADLINE_EXCEEDED, message, Outcome::Timeout)
    }

    pub(super) fn not_grpc() -> Self {
        Self::new(UNKNOWN, "the upstream's answer is no gRPC: its content-type is another", Outcome::Reset)
    }

    /// A unary call's response that is not one message.
    pub(super) fn not_unary(messages: usize) -> Self {
        let message = format!("a unary call was answered with {messages} messages");
        Self::new(INTERNAL, message, Outcome::Reset)
    }

    /// The request could not be made.
    pub(super) fn unsendable() -> Self {
        Self::new(INTERNAL, "the request could not be sent", Outcome::Reset)
    }

    pub(super) fn is_ok(&self) -> bool {
        self.status == OK
    }
}

/// The status a header map has, if it is one.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    let status = headers.get("grpc-status")?.to_str().ok()?;
    Some(status.parse::<u16>().map_or(UNKNOWN, i32::from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn trailers_say_how_it_ended() {
        let end = End::of_trailers(&trailers(&[("grpc-status", "0")]));
        assert!(end.is_ok() && end.message.is_empty() && end.outcome == Outcome::Ok);
        let end =
            End::of_trailers(&trailers(&[("grpc-status", "5"), ("grpc-message", "no%20key%20%C3%A9 %zz")]));
        assert_eq!((end.status, end.message.as_str()), (5, "no key é %zz"));
        assert_eq!(end.trailers.len(), 2);
        let end = End::of_trailers(&trailers(&[("grpc-message", "%ff")]));
        assert_eq!(end.status, UNKNOWN);
        for odd in ["", "-1", "OK", "70000"] {
            let end = End::of_trailers(&trailers(&[("grpc-status", odd)]));
            assert_eq!(end.status, UNKNOWN, "{odd}");
        }
    }

    #[test]
    fn http_statuses_have_their_grpc_ones() {
        let mapped = [400, 401, 403, 404, 429, 500, 502, 503, 504, 301]
            .map(|status| End::of_http(StatusCode::from_u16(status).unwrap()).status);
        assert_eq!(mapped, [13, 16, 7, 12, 14, 2, 14, 14, 14, 2]);
    }

    #[test]
    fn resets_have_their_status() {
        let reset = |reason: Reason| End::of_http2(&h2::Error::from(reason)).status;
        assert_eq!(reset(Reason::REFUSED_STREAM), UNAVAILABLE);
        assert_eq!(reset(Reason::CANCEL), CANCELLED);
        assert_eq!(reset(Reason::ENHANCE_YOUR_CALM), RESOURCE_EXHAUSTED);
        assert_eq!(reset(Reason::PROTOCOL_ERROR), INTERNAL);
        assert_eq!(reset(Reason::NO_ERROR), INTERNAL);
    }
}
