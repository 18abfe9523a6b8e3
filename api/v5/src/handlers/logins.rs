//! `/api/v5/auth/sessions`: where the caller is logged in. One entry is one login with all its refreshes, which the API
//! calls a session of authentication and tokens name as their `token_family`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use coditect_store::records::TokenFamily;
use coditect_store::{AuditAction, TimeCursor};
use http::header::SET_COOKIE;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::rfc3339;
use crate::cookie::CookieMode;
use crate::envelope::{Answer, Data, Empty, List, ListAnswer};
use crate::error::ApiError;
use crate::extract::{Caller, Cursor, Id, PageQuery, Query, Sender};
use crate::state::ApiState;
use crate::trail::Deed;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(end))
}

/// A login.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuthSessionResponse {
    /// The `token_family` of its tokens: it stays the same however often the login is refreshed.
    id: Uuid,
    #[schema(format = DateTime)]
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    refreshed_at: Option<String>,
    /// When it ends unless it is ended before.
    #[schema(format = DateTime)]
    ends_at: String,
    /// Of the client that logged in or refreshed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_agent: Option<String>,
    /// Of the same client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    address: Option<String>,
    /// Whether this request was sent with it.
    current: bool,
}

impl AuthSessionResponse {
    fn of(family: TokenFamily, current: Uuid) -> Result<Self, ApiError> {
        let time = |seconds: i64| rfc3339(seconds.saturating_mul(1000));
        Ok(Self {
            id: family.id,
            created_at: time(family.created_at)?,
            refreshed_at: family.refreshed_at.map(time).transpose()?,
            ends_at: time(family.ends_at)?,
            user_agent: family.user_agent,
            address: family.address,
            current: family.id == current,
        })
    }
}

/// Lists the caller's logins that are alive, the newest first.
#[utoipa::path(
    get, path = "/auth/sessions", tag = "auth", operation_id = "listAuthSessions", security(("bearer" = ["member"])),
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<AuthSessionResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Result<List<AuthSessionResponse>, ApiError> {
    let (tenant, user, limit) = (caller.tenant(), caller.user(), page.limit());
    let after = page.after::<TimeCursor>()?;
    let logins = state.repositories.auth_sessions();
    let page = logins.live_families(tenant, user, after.as_ref(), limit, state.clock.now()).await?;
    let current = caller.0.claims.token_family;
    let items = page.items.into_iter().map(|family| AuthSessionResponse::of(family, current));
    Ok(List { items: items.collect::<Result<_, _>>()?, next_cursor: page.next.map(|next| next.write()) })
}

/// Ends one of the caller's logins, and every socket that was opened with it.
#[utoipa::path(
    delete, path = "/auth/sessions/{id}", tag = "auth", operation_id = "endAuthSession",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The login has ended", body = Answer<Empty>))
)]
async fn end(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Sender(client): Sender,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let (tenant, now) = (caller.tenant(), state.clock.now());
    let logins = state.repositories.auth_sessions();
    let family = logins.family(tenant, id).await?;
    let is_alive = |family: &TokenFamily| {
        family.user_id == caller.user() && family.revoked_at.is_none() && family.ends_at > now
    };
    family.filter(is_alive).ok_or(ApiError::NotFound)?;
    // First what outlives this process, then what takes effect at once.
    logins.revoke_family(tenant, id, now).await?;
    state.families.revoke(id);
    let deed = Deed::by(&caller.0.claims, &client);
    deed.record(&state, AuditAction::Revoke, "family", id).await?;
    let mut response = Data(Empty {}).into_response();
    if id == caller.0.claims.token_family {
        response.headers_mut().insert(SET_COOKIE, CookieMode::expire());
    }
    Ok(response)
}
