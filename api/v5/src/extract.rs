//! What handlers take from a request: the caller, ids in the path, a query, a JSON body, preconditions.

mod conditions;
mod document;
mod hints;
mod query;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::conditions::{Expected, IfMatch, IfNoneMatch, entity_tags};
pub(crate) use self::document::Document;
pub(crate) use self::query::{Cursor, PageQuery, Query};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use coditect_auth::{AuthError, Identity};
use coditect_store::Client;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use uuid::Uuid;

use crate::error::ApiError;
use crate::state::ApiState;

/// The largest JSON body, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;
/// The largest body of an operation that strangers may call, in bytes: many of them at once must not fill the memory.
pub(crate) const MAX_PUBLIC_BODY_BYTES: usize = 16 << 10;
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// How much of a `User-Agent` is kept, in bytes.
const MAX_USER_AGENT_BYTES: usize = 256;
/// Set by the edge: the client's address.
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The verified caller. Take it before the body, so that a stranger learns nothing about the body.
pub(crate) struct Caller(pub(crate) Identity);

impl Caller {
    pub(crate) fn tenant(&self) -> Uuid {
        self.0.claims.tenant_id
    }

    pub(crate) fn user(&self) -> Uuid {
        self.0.claims.sub
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let identity = parts.extensions.get::<Identity>().cloned();
        identity.map(Self).ok_or(ApiError::Auth(AuthError::MissingCredentials))
    }
}

/// The `{id}` of the path, in its one spelling: 36 characters with hyphens. Anything else names no object.
pub(crate) struct Id(pub(crate) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| ApiError::NotFound)?;
        id(&text).map(Self)
    }
}

/// The one variable segment of the path, decoded. One that is not UTF-8 names no object.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segment = Path::<String>::from_request_parts(parts, state).await;
        segment.map(|Path(text)| Self(text)).map_err(|_| ApiError::NotFound)
    }
}

impl Id {
    /// Reads an id.
    pub(crate) fn parse(text: &str) -> Result<Uuid, ApiError> {
        id(text)
    }
}

pub(crate) fn id(text: &str) -> Result<Uuid, ApiError> {
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return Err(ApiError::NotFound);
    }
    Uuid::try_parse(text).map_err(|_| ApiError::NotFound)
}

/// Id and time of an object that a request creates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New {
    pub(crate) id: Uuid,
    /// Unix milliseconds.
    pub(crate) now: i64,
}

impl FromRequestParts<Arc<ApiState>> for New {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        let claimed = parts.extensions.get::<Self>().copied();
        Ok(claimed.unwrap_or_else(|| Self { id: state.entropy.uuid(), now: state.clock.now_millis() }))
    }
}

/// A JSON body of at most `LIMIT` bytes. Unknown fields are refused by the types themselves.
pub(crate) struct Json<T, const LIMIT: usize = MAX_BODY_BYTES>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for Json<T, LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        parse(&read(request.into_body(), LIMIT).await?).map(Self)
    }
}

/// A JSON body of at most `LIMIT` bytes that may be left out altogether.
pub(crate) struct OptionalJson<T, const LIMIT: usize = MAX_BODY_BYTES>(pub(crate) Option<T>);

impl<S: Send + Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for OptionalJson<T, LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let declared = check_content_type(request.headers());
        let body = read(request.into_body(), LIMIT).await?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        declared?;
        parse(&body).map(Some).map(Self)
    }
}

/// `application/json`, whatever its parameters: JSON is UTF-8 (RFC 8259, 8.1).
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ApiError::UnsupportedMediaType("application/json"))
    }
}

/// A whole body of at most `limit` bytes, within its time.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    // Nobody waits for a body whose declared length is refused anyway.
    if axum::body::HttpBody::size_hint(&body).lower() > limit as u64 {
        return Err(ApiError::PayloadTooLarge { limit: limit as u64 });
    }
    let body = Limited::new(body, limit);
    match tokio::time::timeout(BODY_DEADLINE, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::PayloadTooLarge { limit: limit as u64 })
        }
        Ok(Err(_)) => Err(ApiError::UnreadableBody),
        Err(_) => Err(ApiError::RequestTimeout),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        ApiError::InvalidJson(format!("it is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    if !text.trim_start().starts_with('{') {
        // serde would take an array for a struct.
        let valid = serde_json::from_str::<IgnoredAny>(text);
        valid.map_err(|error| ApiError::InvalidJson(error.to_string()))?;
        return Err(ApiError::validation("body", "must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() { wrong_data(path, &error) } else { ApiError::InvalidJson(error.to_string()) }
    })?;
    json.end().map_err(|error| ApiError::InvalidJson(error.to_string()))?;
    Ok(value)
}

/// Names the field of a well-formed body that does not fit. serde tells about missing and unknown fields at the
/// place of the object that (does not) hold them.
fn wrong_data(path: String, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    // The position is of no use to whoever built the object in a program.
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    let named = reason
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next())
        .filter(|_| path == ".");
    let field = match named {
        Some(field) => field.to_owned(),
        None if path == "." => "body".to_owned(),
        None => path,
    };
    ApiError::Validation { field, reason: hints::unknown_field(reason).unwrap_or_else(|| reason.to_owned()) }
}

/// What is remembered of whoever sent a request.
pub(crate) struct Sender(pub(crate) Client);

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(client(&parts.headers)))
    }
}

/// What is remembered of the client that logs in.
pub(crate) fn client(headers: &HeaderMap) -> Client {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let user_agent = text(USER_AGENT).map(|agent| {
        // `to_str` lets only visible ASCII pass, so every byte is a character.
        agent.get(..MAX_USER_AGENT_BYTES).unwrap_or(agent).to_owned()
    });
    let address = text(X_REAL_IP).and_then(|address| address.parse::<std::net::IpAddr>().ok());
    Client { user_agent, address: address.map(|address| address.to_string()) }
}
