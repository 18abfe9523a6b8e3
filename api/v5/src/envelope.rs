//! The one shape of every answer: `{"success":true,"data":…}` or
//! `{"success":false,"data":null,"error":{"code":…,"message":…}}`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// A successful answer.
#[derive(Debug, Serialize)]
struct Success<T> {
    success: bool,
    data: T,
}

/// A failure.
#[derive(Debug, Serialize)]
struct Failure<'a> {
    success: bool,
    data: (),
    error: ErrorBody<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

/// 200 with `data`.
#[derive(Debug)]
pub struct Data<T>(pub T);

/// 201 with the object that was created.
#[derive(Debug)]
pub struct Created<T>(pub T);

/// The empty object, for operations that have nothing to say.
#[derive(Debug, Serialize)]
pub struct Empty {}

impl<T: Serialize> IntoResponse for Data<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &Success { success: true, data: self.0 })
    }
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        json(StatusCode::CREATED, &Success { success: true, data: self.0 })
    }
}

/// A failure with its code and message.
pub(crate) fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    json(status, &Failure { success: false, data: (), error: ErrorBody { code, message } })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let (status, bytes) = match serde_json::to_vec(body) {
        Ok(bytes) => (status, bytes),
        Err(error) => {
            // Our own types always serialise; should one not, the client still gets an envelope.
            tracing::error!(%error, "an answer could not be serialised");
            let fixed =
                br#"{"success":false,"data":null,"error":{"code":"INTERNAL","message":"internal error"}}"#;
            (StatusCode::INTERNAL_SERVER_ERROR, fixed.to_vec())
        }
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
