//! `GET /api/v5/openapi.json` and `GET /api/v5/docs`: the contract, for programs and for people.

use std::sync::{Arc, OnceLock};

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::docs;
use crate::openapi::document;
use crate::state::ApiState;

/// It changes with the program only.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(openapi_json)).routes(routes!(documentation))
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "contract", operation_id = "getOpenApi", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object, content_type = "application/json"))
)]
async fn openapi_json() -> Response {
    // The same for the life of the process, and some milliseconds' work.
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_string());
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (CACHE_CONTROL, CACHING)];
    (headers, text.as_str()).into_response()
}

/// This document as a page for people.
#[utoipa::path(
    get, path = "/docs", tag = "contract", operation_id = "getDocs", security(()),
    responses((status = 200, description = "A page without scripts", body = String, content_type = "text/html; charset=utf-8"))
)]
async fn documentation() -> Response {
    static PAGE: OnceLock<docs::Page> = OnceLock::new();
    let page = PAGE.get_or_init(|| docs::page(&document()));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, CACHING),
        (CONTENT_SECURITY_POLICY, page.policy.clone()),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, page.html.as_str()).into_response()
}
