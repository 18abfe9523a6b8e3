//! The one shape of every JSON answer: `{"success":true,"data":…}`, with `next_cursor` beside the `data` of a list, or
//! `{"success":false,"data":null,"error":{"code":…,"message":…}}`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::error::ErrorCode;

/// A successful answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Answer<T> {
    #[schema(schema_with = always_true)]
    success: bool,
    data: T,
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListAnswer<T> {
    #[schema(schema_with = always_true)]
    success: bool,
    data: Vec<T>,
    /// Send it as `cursor` to get the next part; `null` at the list's end.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A failure.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorAnswer {
    #[schema(schema_with = always_false)]
    success: bool,
    #[schema(schema_with = always_null)]
    data: (),
    error: ErrorBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    code: ErrorCode,
    /// For people. It may change; programs read the code.
    message: String,
}

/// 200 with `data`.
#[derive(Debug)]
pub(crate) struct Data<T>(pub(crate) T);

/// 201 with the object that was created.
#[derive(Debug)]
pub(crate) struct Created<T>(pub(crate) T);

/// 200 with an object and its version as `ETag`.
#[derive(Debug)]
pub(crate) struct Versioned<T>(pub(crate) u64, pub(crate) T);

/// 201 with an object and its version as `ETag`.
#[derive(Debug)]
pub(crate) struct CreatedVersioned<T>(pub(crate) u64, pub(crate) T);

/// 200 with a part of a list.
#[derive(Debug)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next_cursor: Option<String>,
}

/// The empty object, for operations that have nothing to say.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Empty {}

impl<T: Serialize> IntoResponse for Data<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &Answer { success: true, data: self.0 })
    }
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        json(StatusCode::CREATED, &Answer { success: true, data: self.0 })
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        tagged(self.0, Data(self.1).into_response())
    }
}

impl<T: Serialize> IntoResponse for CreatedVersioned<T> {
    fn into_response(self) -> Response {
        tagged(self.0, Created(self.1).into_response())
    }
}

impl<T: Serialize> IntoResponse for List<T> {
    fn into_response(self) -> Response {
        let answer = ListAnswer { success: true, data: self.items, next_cursor: self.next_cursor };
        json(StatusCode::OK, &answer)
    }
}

/// A failure with its code and message.
pub(crate) fn failure(status: StatusCode, code: ErrorCode, message: String) -> Response {
    json(status, &ErrorAnswer { success: false, data: (), error: ErrorBody { code, message } })
}

fn tagged(version: u64, mut response: Response) -> Response {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
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

fn always_true() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build()
}

fn always_false() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([false])).build()
}

fn always_null() -> Object {
    ObjectBuilder::new().schema_type(Type::Null).build()
}
