//! The API under `/api/v5`: an axum router that the edge calls in process, as a tower service.
//!
//! The edge has authenticated a request before it gets here and put a [`coditect_auth::Identity`] into its
//! extensions. Each operation states who may call it ([`access`]); its handler, its types and that statement make the
//! OpenAPI document ([`openapi`]), so that none can say other than what is done. Every JSON answer, errors included, is
//! the envelope of [`envelope`]; [`error`] is the only place where failures become HTTP.

mod access;
mod cookie;
mod docs;
mod envelope;
mod error;
mod error_code;
mod extract;
mod guard;
mod handlers;
mod metrics;
mod openapi;
mod plugins;
pub mod rules;
mod state;
mod validate;

use std::sync::Arc;

use axum::{Router, middleware};
use utoipa_axum::router::OpenApiRouter;

pub use error_code::ErrorCode;
pub use metrics::ApiMetrics;
pub use openapi::document;
pub use plugins::{
    MAX_VALIDATIONS, ModuleFacts, PluginRefusal, PluginTrial, PluginTrials, PluginValidator,
    VALIDATION_DEADLINE,
};
pub use state::{ApiState, ForkPlaces};

use access::{AccessTable, Enforcement};
use error::ApiError;
use handlers::{
    account, audit, auth, contract, health, plugins as plugin_operations, session_life, session_state,
    sessions, users,
};

/// Where the API is.
pub(crate) const PREFIX: &str = "/api/v5";

/// Every operation, with the paths below [`PREFIX`].
fn operations() -> OpenApiRouter<Arc<ApiState>> {
    openapi::base()
        .merge(contract::routes())
        .merge(health::routes())
        .merge(audit::routes())
        .merge(auth::routes())
        .merge(plugin_operations::routes())
        .merge(session_life::routes())
        .merge(session_state::routes())
        .merge(sessions::routes())
        .merge(account::routes())
        .merge(users::routes())
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
