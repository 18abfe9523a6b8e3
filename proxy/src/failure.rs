//! What a client gets when a request could not be served, and what the access log calls it.

use crate::reply::{Reply, refusal, with};
use crate::request::RequestCtx;
use http::StatusCode;
use http::header::RETRY_AFTER;
use pingora::{Error, ErrorSource, ErrorType};

/// The reply to a failure before anything was sent to the client; none where nobody is there to get it.
pub(crate) fn reply(error: &Error, ctx: &mut RequestCtx) -> Option<Reply> {
    let (status, code, message) = match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(413), _) => {
            ctx.code = Some("PAYLOAD_TOO_LARGE");
            return Some(too_large());
        }
        (
            ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout,
            ErrorSource::Upstream,
        ) => (StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_TIMEOUT", "the upstream did not answer in time"),
        (_, ErrorSource::Upstream) if is_connect(error.etype()) => {
            (StatusCode::BAD_GATEWAY, "UPSTREAM_UNREACHABLE", "the upstream could not be reached")
        }
        (_, ErrorSource::Upstream) => (
            StatusCode::BAD_GATEWAY,
            "BAD_GATEWAY",
            "the upstream broke off or sent what is no HTTP response",
        ),
        (
            ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::ReadError,
            ErrorSource::Downstream,
        ) if !is_malformed(error) => {
            ctx.code = Some("CLIENT_GONE");
            return None;
        }
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Downstream) => {
            ctx.code = Some("REQUEST_TIMEOUT");
            let message = "the request did not arrive in time";
            return Some(refusal(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message));
        }
        (_, ErrorSource::Downstream) => {
            (StatusCode::BAD_REQUEST, "BAD_REQUEST", "the request is malformed or was cut off")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the edge failed to serve this request"),
    };
    ctx.code = Some(code);
    Some(refusal(status, code, message))
}

/// Whether reading failed because of what was read.
fn is_malformed(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::InvalidData)
}

fn is_connect(etype: &ErrorType) -> bool {
    matches!(
        etype,
        ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::ConnectTimedout
            | ErrorType::SocketError
            | ErrorType::BindError
            | ErrorType::UnknownError
    )
}

/// A body larger than its route takes.
pub(crate) fn too_large() -> Reply {
    refusal(
        StatusCode::PAYLOAD_TOO_LARGE,
        "PAYLOAD_TOO_LARGE",
        "the request's body is larger than this route takes",
    )
}

/// A body that cannot be read to its end.
pub(crate) fn body_broken() -> Reply {
    refusal(StatusCode::BAD_REQUEST, "BAD_REQUEST", "the request's body is malformed or was cut off")
}

/// A service, or the client, that did nothing for too long.
pub(crate) fn stalled() -> Reply {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the request made no progress and was given up")
}

/// A plugin failed, and it fails closed.
pub(crate) fn plugin_failed() -> Reply {
    let reply = refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "PLUGIN_FAILED",
        "a policy of this route failed, so the request was refused",
    );
    with(reply, RETRY_AFTER, "1")
}

/// A plugin held the request and did not let it go.
pub(crate) fn plugin_timeout() -> Reply {
    let message = "a policy of this route did not decide in time";
    refusal(StatusCode::GATEWAY_TIMEOUT, "PLUGIN_TIMEOUT", message)
}

/// A plugin wanted the whole of a request's body, which is more than is held for one.
pub(crate) fn held_too_large() -> Reply {
    let message = "the request's body is larger than a policy of this route may look at as a whole";
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
}

/// A plugin wanted the whole of a response's body, which is more than is held for one.
pub(crate) fn response_too_large() -> Reply {
    let message = "the response's body is larger than a policy of this route may look at as a whole";
    refusal(StatusCode::BAD_GATEWAY, "RESPONSE_TOO_LARGE", message)
}

/// A plugin left the request without method, path or authority. Envoy answers 404 then.
pub(crate) fn unroutable() -> Reply {
    refusal(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        "a policy of this route left nothing of the request to be routed by",
    )
}
