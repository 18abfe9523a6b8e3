//! Responses made in the process: the one shape the gate, plugins, files and local services all answer in.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// What went wrong while a body was produced or read.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a [`Reply`].
pub type ReplyBody = UnsyncBoxBody<Bytes, BoxError>;
/// A response made in the process.
pub type Reply = Response<ReplyBody>;

/// A body that is at hand.
pub fn full(bytes: impl Into<Bytes>) -> ReplyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A reply with one body and its type.
pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(full(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A refusal in the API's envelope.
pub(crate) fn refusal(status: StatusCode, code: &str, message: &str) -> Reply {
    reply(status, "application/json", envelope(code, message))
}

/// The API's envelope for an error.
pub(crate) fn envelope(code: &str, message: &str) -> String {
    serde_json::json!({ "success": false, "data": null, "error": { "code": code, "message": message } })
        .to_string()
}

/// A redirect. `location` is a path of ours, never taken from outside unchecked.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Reply {
    match HeaderValue::try_from(location) {
        Ok(location) => {
            let mut reply = reply(status, "text/plain; charset=utf-8", "");
            reply.headers_mut().insert(header::LOCATION, location);
            reply.headers_mut().remove(header::CONTENT_TYPE);
            reply
        }
        Err(_) => refusal(StatusCode::BAD_REQUEST, "BAD_REQUEST", "the path cannot be redirected"),
    }
}

/// Adds a header.
pub(crate) fn with(mut reply: Reply, name: HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::try_from(value) {
        reply.headers_mut().append(name, value);
    }
    reply
}
