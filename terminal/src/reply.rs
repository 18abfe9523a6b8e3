//! Answers in the API's envelope.

use crate::TerminalError;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use std::error::Error;

/// What the service answers with.
pub(crate) type Reply = Response<Full<Bytes>>;

#[derive(Serialize)]
struct Envelope<T> {
    success: bool,
    data: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

#[derive(Serialize)]
struct Problem {
    code: &'static str,
    message: String,
}

/// `{"success":true,"data":…}`.
pub(crate) fn data(status: StatusCode, data: impl Serialize) -> Reply {
    json(status, &Envelope { success: true, data: Some(data), error: None })
}

/// `{"success":false,"data":null,"error":{…}}`, with the headers the status asks for.
pub(crate) fn error(error: &TerminalError) -> Reply {
    if error.status().is_server_error() {
        tracing::error!(code = error.code(), source = error.source(), "{error}");
    }
    let problem = Problem { code: error.code(), message: error.to_string() };
    let mut reply =
        json(error.status(), &Envelope::<()> { success: false, data: None, error: Some(problem) });
    let headers = reply.headers_mut();
    match error {
        TerminalError::MethodNotAllowed { allow } => {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        // RFC 9110, 15.5.22, and RFC 6455, 4.2.2: say what to upgrade to, and the version understood.
        TerminalError::UpgradeRequired => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        TerminalError::LookupFailed | TerminalError::Stopping => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    reply
}

fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let (status, bytes) = match serde_json::to_vec(body) {
        Ok(bytes) => (status, bytes),
        // Only a map with keys that are no strings can get here, and there is none.
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            (StatusCode::INTERNAL_SERVER_ERROR, Vec::new())
        }
    };
    let mut reply = Response::new(Full::new(Bytes::from(bytes)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
