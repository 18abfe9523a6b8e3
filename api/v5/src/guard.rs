//! What surrounds every handler: a panic becomes a plain 500, and no answer is ever cached.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::HeaderValue;
use http::header::CACHE_CONTROL;

use crate::error::ApiError;

/// Catches panics of everything inside.
pub(crate) fn protect(router: Router) -> Router {
    router.layer(middleware::from_fn(catch_panic))
}

async fn catch_panic(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".into());
            tracing::error!(path, message, "an API handler panicked");
            ApiError::Internal(message.into()).into_response()
        }
    }
}

/// Answers hold tokens and private data.
pub(crate) async fn never_cache(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_is_a_plain_500_and_the_next_request_works() {
        let router = protect(
            Router::new()
                .route("/panic", get(async || -> &'static str { panic!("secret detail") }))
                .route("/fine", get(async || "fine")),
        );
        let ask = |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request)
        };
        let response = ask("/panic").await.unwrap();
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"success":false,"data":null,"error":{"code":"INTERNAL","message":"internal error"}}"#
        );
        assert_eq!(ask("/fine").await.unwrap().status(), 200);
    }
}
