//! The API under `/api/v5`: an axum router that the edge calls in process, as a tower service.
//!
//! The edge has authenticated a request before it gets here and put a [`coditect_auth::Identity`] into its
//! extensions. Each operation states who may call it ([`access`]); its handler, its types and that statement make the
//! OpenAPI document ([`openapi`]), so that none can say other than what is done. Every JSON answer, errors included, is
//! the envelope of [`envelope`]; [`error`] is the only place where failures become HTTP.

mod access;
mod cookie;
mod envelope;
mod error;
mod error_code;
mod extract;
mod guard;
mod handlers;
mod incoming;
mod metrics;
mod openapi;
mod state;
mod transfers;
mod upload;
mod validate;

use std::sync::Arc;

use axum::{Router, middleware};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use error_code::ErrorCode;
pub use metrics::ApiMetrics;
pub use openapi::document;
pub use state::ApiState;
pub use transfers::Transfers;

use access::{AccessTable, Enforcement};
use error::ApiError;
use handlers::{archive, auth, files, health, sessions};

/// Where the API is.
pub(crate) const PREFIX: &str = "/api/v5";

/// Every operation, with the paths below [`PREFIX`].
fn operations() -> OpenApiRouter<Arc<ApiState>> {
    openapi::base()
        .routes(routes!(openapi::openapi_json))
        .merge(archive::routes())
        .merge(files::routes())
        .merge(health::routes())
        .merge(auth::routes())
        .merge(sessions::routes())
}

/// The whole API, with the paths as clients see them.
pub fn router(state: ApiState) -> Router {
    let state = Arc::new(state);
    let metrics = Arc::clone(&state.metrics);
    let (operations, document) = operations().split_for_parts();
    let enforcement = Enforcement { table: AccessTable::of(&document), state: Arc::clone(&state) };
    let operations =
        operations.route_layer(middleware::from_fn_with_state(Arc::new(enforcement), access::enforce));
    Router::new()
        .nest(PREFIX, operations)
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .with_state(state)
        .layer(middleware::from_fn_with_state(metrics, guard::catch_panic))
        .layer(middleware::from_fn(guard::never_cache))
}
