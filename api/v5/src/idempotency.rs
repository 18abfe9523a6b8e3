//! `Idempotency-Key`: a request that creates something can be sent again, after whatever went wrong, and creates it once.
//!
//! The semantics are those of draft-ietf-httpapi-idempotency-key-header. Operations that take the header declare it with
//! [`IdempotencyKey`]; elsewhere it has no meaning. The key is claimed before the handler runs, and the claim decides the
//! id and the time of the object ([`New`]), so that attempts at once, or one after another that was cut off, all write
//! the same object, which the store takes as one. The first answer that is final is kept for 24 h; what a repetition may
//! mend (401, 403, 408, 409, 429 and all failures of the server) is not kept, and neither is an answer above
//! [`coditect_store::records::MAX_ANSWER_BYTES`]: the repetition then runs again, with the same id.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use coditect_auth::Identity;
use coditect_store::records::{MAX_ANSWER_BYTES, StoredAnswer};
use coditect_store::{Claimed, RequestKey};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::PREFIX;
use crate::error::ApiError;
use crate::extract::{MAX_BODY_BYTES, New, read};
use crate::state::ApiState;

const NAME: &str = "Idempotency-Key";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is that of an earlier request.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// The headers of an answer that are kept.
const KEPT_HEADERS: [HeaderName; 2] = [ETAG, LOCATION];

/// The header, for the `params` of operations that take it.
pub(crate) struct IdempotencyKey;

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_KEY_BYTES))
            .pattern(Some("^[!-~]+$"));
        let description = "The same key with the same request within 24 h creates nothing again, and answers the same \
                           with `Idempotency-Replayed: true`; with another request it answers 422.";
        let parameter = ParameterBuilder::new()
            .name(NAME)
            .parameter_in(ParameterIn::Header)
            .description(Some(description))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}

/// The operations that take the header, and what it needs.
pub(crate) struct Idempotency {
    /// Paths as the router has them.
    declared: HashSet<(Method, String)>,
    state: Arc<ApiState>,
}

impl Idempotency {
    /// The operations that declare the header in a document.
    pub(crate) fn of(document: &utoipa::openapi::OpenApi, state: Arc<ApiState>) -> Self {
        let document = serde_json::to_value(&document.paths).unwrap_or_default();
        let mut declared = HashSet::new();
        for (path, item) in document.as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let mut parameters = operation["parameters"].as_array().into_iter().flatten();
                let method = Method::from_bytes(method.to_uppercase().as_bytes());
                if let (Ok(method), true) = (method, parameters.any(|parameter| parameter["name"] == NAME)) {
                    declared.insert((method, format!("{PREFIX}{path}")));
                }
            }
        }
        Self { declared, state }
    }

    fn is_declared(&self, request: &Request) -> bool {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
        self.declared.contains(&(request.method().clone(), path.to_owned()))
    }
}

/// Answers a request whose key is known as it was answered before, and keeps the answer to one whose key is not.
pub(crate) async fn replay(
    State(idempotency): State<Arc<Idempotency>>,
    request: Request,
    next: Next,
) -> Response {
    let identity = request.extensions().get::<Identity>().cloned();
    match identity {
        Some(identity)
            if request.headers().contains_key(IDEMPOTENCY_KEY) && idempotency.is_declared(&request) =>
        {
            let answer = once(&idempotency.state, &identity, request, next).await;
            answer.unwrap_or_else(IntoResponse::into_response)
        }
        _ => next.run(request).await,
    }
}

async fn once(
    state: &ApiState,
    identity: &Identity,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let key = key(&parts.headers)?;
    let asked = RequestKey { tenant: identity.claims.tenant_id, user: identity.claims.sub, key: &key };
    let body = read(body, MAX_BODY_BYTES).await?;
    let fingerprint = fingerprint(&parts.method, parts.uri.path(), parts.uri.query(), &body);
    let (fresh, now) = (state.entropy.uuid(), state.clock.now_millis());
    let new = match state.repositories.requests().claim(asked, &fingerprint, fresh, now).await? {
        Claimed::Answered(answer) => return replayed(&answer),
        Claimed::Different => return Err(ApiError::KeyReused),
        Claimed::Begin { object, at } => New { id: object, now: at },
    };
    parts.extensions.insert(new);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    keep(state, asked, new, response).await
}

/// The one key of the request. It is taken as it is, with quotes if it has some.
fn key(headers: &HeaderMap) -> Result<String, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let only = values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes);
    let valid = only
        .filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic))
        .and_then(|key| std::str::from_utf8(key).ok());
    let key =
        valid.ok_or_else(|| ApiError::validation(NAME, "must be 1 to 255 visible ASCII characters, once"))?;
    Ok(key.to_owned())
}

/// What makes two requests the same: the SHA-256 of all that the operation looks at, each part with its length.
fn fingerprint(method: &Method, path: &str, query: Option<&str>, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), path.as_bytes(), query.unwrap_or_default().as_bytes(), body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// Keeps an answer that is final, and gives the one that was kept first, which may be that of another attempt.
async fn keep(
    state: &ApiState,
    asked: RequestKey<'_>,
    new: New,
    response: Response,
) -> Result<Response, ApiError> {
    let size = response.body().size_hint().exact();
    if !is_final(response.status()) || size.is_none_or(|size| size > MAX_ANSWER_BYTES as u64) {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| ApiError::Internal(Box::new(error)))?.to_bytes();
    let kept = KEPT_HEADERS.iter().filter_map(|name| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let ours = StoredAnswer::new(parts.status.as_u16(), kept.collect(), &body);
    let Some(ours) = ours else { return Ok(Response::from_parts(parts, Body::from(body))) };
    match state.repositories.requests().complete(asked, new.id, &ours).await {
        Ok(first) if (first.status(), first.body()) != (ours.status(), ours.body()) => replayed(&first),
        Ok(_) => Ok(Response::from_parts(parts, Body::from(body))),
        Err(error) => {
            // What was asked for is done, and a repetition finds it by its id.
            tracing::warn!(%error, "the answer to a request with an Idempotency-Key was not kept");
            Ok(Response::from_parts(parts, Body::from(body)))
        }
    }
}

/// Whether the same request will never be answered otherwise. A conflict may be: the name or the room it lacks can be free
/// a moment later.
fn is_final(status: StatusCode) -> bool {
    let final_failures = [
        StatusCode::BAD_REQUEST,
        StatusCode::NOT_FOUND,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    status.is_success() || final_failures.contains(&status)
}

fn replayed(answer: &StoredAnswer) -> Result<Response, ApiError> {
    let internal = |error: http::Error| ApiError::Internal(Box::new(error));
    let mut builder = http::Response::builder()
        .status(answer.status())
        .header(CONTENT_TYPE, "application/json")
        .header(IDEMPOTENCY_REPLAYED, "true");
    for (name, value) in answer.headers() {
        builder = builder.header(name, value);
    }
    builder.body(Body::from(Bytes::copy_from_slice(answer.body().as_bytes()))).map_err(internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_requests_share_a_fingerprint_by_where_their_parts_end() {
        let of = |path: &str, query: Option<&str>, body: &str| {
            fingerprint(&Method::POST, path, query, body.as_bytes())
        };
        assert_eq!(of("/a", None, "{}"), of("/a", None, "{}"));
        assert_ne!(of("/a", Some("b"), ""), of("/a", None, "b"));
        assert_ne!(of("/ab", None, ""), of("/a", Some("b"), ""));
        assert_ne!(of("/a", None, "{}"), fingerprint(&Method::PUT, "/a", None, b"{}"));
    }
}
