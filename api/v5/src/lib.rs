//! The API under `/api/v5`: an axum router that the edge calls in process, as a tower service.
//!
//! The edge has authenticated a request before it gets here and put a [`coditect_auth::Identity`] into its
//! extensions; an operation that needs a caller and finds none answers 401. Every answer, errors included, is
//! the envelope of [`envelope`]; [`ApiError`] is the only place where failures become HTTP.
//!
//! Operations: `GET health`; `POST auth/{register,login,refresh,logout}`; `POST`, `GET sessions`; `GET`, `PUT`,
//! `PATCH`, `DELETE sessions/{id}`. Everything else under `/api/v5` answers 404.

pub mod envelope;

mod cookie;
mod error;
mod extract;
mod guard;
mod handlers;
mod state;
mod validate;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};

pub use error::ApiError;
pub use state::ApiState;

use handlers::{auth, health, sessions};

/// The whole API, with the paths as clients see them.
pub fn router(state: ApiState) -> Router {
    guard::protect(
        Router::new()
            .route("/api/v5/health", get(health::health))
            .route("/api/v5/auth/register", post(auth::register))
            .route("/api/v5/auth/login", post(auth::login))
            .route("/api/v5/auth/refresh", post(auth::refresh))
            .route("/api/v5/auth/logout", post(auth::logout))
            .route("/api/v5/sessions", get(sessions::list).post(sessions::create))
            .route(
                "/api/v5/sessions/{id}",
                get(sessions::get).put(sessions::replace).patch(sessions::update).delete(sessions::delete),
            )
            .fallback(async || ApiError::NotFound)
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .with_state(Arc::new(state)),
    )
    .layer(middleware::from_fn(guard::never_cache))
}
