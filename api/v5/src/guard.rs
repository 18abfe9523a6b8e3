//! What surrounds every handler: a panic becomes a plain 500 and is counted, an internal error tells its request id and
//! nothing else, and no answer is cached unless its handler says how.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::envelope;
use crate::error::{ApiError, ErrorCode};
use crate::metrics::ApiMetrics;

/// Set by the edge: what finds the request in its log.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Catches panics of everything inside.
pub(crate) async fn catch_panic(
    State(metrics): State<Arc<ApiMetrics>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let request_id = request.headers().get(X_REQUEST_ID).cloned();
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".into());
            metrics.panicked();
            tracing::error!(path, ?request_id, message, "an API handler panicked");
            ApiError::Internal(message.into()).into_response()
        }
    };
    match request_id {
        Some(id) if response.status() == StatusCode::INTERNAL_SERVER_ERROR => tell_request_id(&id),
        _ => response,
    }
}

/// The answer to an internal error.
fn tell_request_id(id: &HeaderValue) -> Response {
    let id = id.to_str().unwrap_or("unknown");
    let message = format!("internal error; the operators find it by the request id {id}");
    envelope::failure(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, message)
}

/// Answers hold tokens and private data.
pub(crate) async fn never_cache(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_is_a_plain_500_and_the_next_request_works() {
        let metrics = Arc::new(ApiMetrics::new(&prometheus::Registry::new()).unwrap());
        let router = Router::new()
            .route("/panic", get(async || -> &'static str { panic!("secret detail") }))
            .route("/fine", get(async || "fine"))
            .layer(middleware::from_fn_with_state(Arc::clone(&metrics), catch_panic));
        let ask = |path: &str| {
            let request = Request::get(path).header("x-request-id", "r-1").body(Body::empty()).unwrap();
            router.clone().oneshot(request)
        };
        let response = ask("/panic").await.unwrap();
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let expected = concat!(
            r#"{"success":false,"data":null,"error":{"code":"INTERNAL","message":"internal error; "#,
            r#"the operators find it by the request id r-1"}}"#
        );
        assert_eq!(body, expected);
        assert_eq!(metrics.panics(), 1);
        assert_eq!(ask("/fine").await.unwrap().status(), 200);
    }
}
