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
mod idempotency;
mod incoming;
mod metrics;
mod moved;
mod openapi;
mod places;
mod plugins;
pub mod rules;
mod state;
mod throttle;
mod trail;
mod transfers;
mod upload;
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
pub use throttle::Throttle;
pub use transfers::Transfers;

use access::{AccessTable, Enforcement};
use handlers::{
    account, agents, archive, audit, auth, contract, conversations, files, health, logins, messages,
    plugins as plugin_operations, session_life, session_state, sessions, settings, tickets, users,
};
use idempotency::Idempotency;

/// Where the API is.
pub(crate) const PREFIX: &str = "/api/v5";

/// Every operation, with the paths below [`PREFIX`].
fn operations() -> OpenApiRouter<Arc<ApiState>> {
    openapi::base()
        .merge(contract::routes())
        .merge(archive::routes())
        .merge(files::routes())
        .merge(health::routes())
        .merge(account::routes())
        .merge(agents::routes())
        .merge(audit::routes())
        .merge(auth::routes())
        .merge(conversations::routes())
        .merge(logins::routes())
        .merge(messages::routes())
        .merge(plugin_operations::routes())
        .merge(session_life::routes())
        .merge(session_state::routes())
        .merge(sessions::routes())
        .merge(settings::routes())
        .merge(tickets::routes())
        .merge(users::routes())
}

/// The whole API, with the paths as clients see them.
pub fn router(state: ApiState) -> Router {
    let state = Arc::new(state);
    let metrics = Arc::clone(&state.metrics);
    let (operations, document) = operations().split_for_parts();
    let enforcement = Enforcement { table: AccessTable::of(&document), state: Arc::clone(&state) };
    let idempotency = Idempotency::of(&document, Arc::clone(&state));
    // The last one is the outermost: nobody repeats a request who may not send it.
    let operations = operations
        .route_layer(middleware::from_fn_with_state(Arc::new(idempotency), idempotency::replay))
        .route_layer(middleware::from_fn_with_state(Arc::new(enforcement), access::enforce));
    Router::new()
        .nest(PREFIX, operations)
        .fallback(moved::no_path)
        .method_not_allowed_fallback(moved::no_method)
        .with_state(state)
        .layer(middleware::from_fn_with_state(metrics, guard::catch_panic))
        .layer(middleware::from_fn(guard::never_cache))
}
