//! `/api/v5/sessions/{id}/fork`, `/pause`, `/resume`: the life of a workspace.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use coditect_store::{Fork, UpdateError};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::present;
use super::session_types::SessionResponse;
use crate::envelope::{Answer, CreatedVersioned, Versioned};
use crate::error::ApiError;
use crate::extract::{Caller, Id, IfMatch, New, OptionalJson};
use crate::idempotency::IdempotencyKey;
use crate::state::ApiState;
use crate::validate;

/// How long an answer waits for a copy to be finished. A longer one goes on without it.
const FORK_WAIT: Duration = Duration::from_secs(2);

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(fork)).routes(routes!(pause)).routes(routes!(resume))
}

/// What a copy is to be.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ForkRequest {
    /// 1 to 200 characters; without it the name of the workspace with ` (copy)` after it.
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$",
        nullable = false
    )]
    name: Option<String>,
}

/// Copies a workspace: its settings, path and type, all its state, and all its files as they are now, without their
/// older versions. Settings and state are of one moment, each file is as it is when it is copied. While a large copy is
/// not finished its `status` is `forking`; then it becomes `active`. Should the workspace it is copied from be removed
/// meanwhile, the copy goes too.
#[utoipa::path(
    post, path = "/sessions/{id}/fork", tag = "sessions", operation_id = "forkSession",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), IdempotencyKey),
    request_body = Option<ForkRequest>,
    responses(
        (status = 201, description = "The new workspace", body = Answer<SessionResponse>),
        (status = 409, description = "It is itself still being copied, or the caller has as many as allowed"),
        (status = 507, description = "The tenant's quota is exceeded; the copy is removed"),
    )
)]
async fn fork(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    New { id: new, now }: New,
    OptionalJson(request): OptionalJson<ForkRequest>,
) -> Result<CreatedVersioned<SessionResponse>, ApiError> {
    let name = request.unwrap_or_default().name.as_deref().map(validate::name).transpose()?;
    let place = state.forks.0.take(caller.tenant()).await.ok_or(ApiError::Overloaded)?;
    let fork = Fork { id: new, name, limit: state.limits.workspaces_per_user, now };
    let (tenant, user) = (caller.tenant(), caller.user());
    let begun = state.repositories.sessions().fork(tenant, user, id, &fork).await?;
    // In a task of its own: it goes on when the client does not wait. What a crash leaves, upkeep finishes.
    let repositories = state.repositories.clone();
    let copying = tokio::spawn(async move {
        let _place = place;
        repositories.sessions().finish_fork(tenant, new).await
    });
    let session = match timeout(FORK_WAIT, copying).await {
        Ok(Ok(Ok(finished))) => finished,
        Ok(Ok(Err(UpdateError::Store(error)))) => {
            tracing::warn!(workspace = %new, %error, "a copy could not be finished now; upkeep goes on with it");
            begun
        }
        Ok(Ok(Err(error))) => return Err(error.into()),
        Ok(Err(panicked)) => return Err(ApiError::Internal(Box::new(panicked))),
        Err(_) => begun,
    };
    Ok(CreatedVersioned(session.version, session.try_into()?))
}

/// Pauses a workspace: its terminals and sockets end, its files and state are kept. Opening it resumes it: a terminal in
/// it, or any request to its IDE.
#[utoipa::path(
    post, path = "/sessions/{id}/pause", tag = "sessions", operation_id = "pauseSession",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The workspace's `ETag`")),
    responses(
        (status = 200, description = "The workspace, now or already paused", body = Answer<SessionResponse>),
        (status = 409, description = "It is still being copied"),
        (status = 412, description = "It has changed since"),
    )
)]
async fn pause(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    IfMatch(version): IfMatch,
) -> Result<Versioned<SessionResponse>, ApiError> {
    let (sessions, now) = (state.repositories.sessions(), state.clock.now_millis());
    let session = sessions.pause(caller.tenant(), caller.user(), id, version, now).await?;
    Ok(Versioned(session.version, session.try_into()?))
}

/// Resumes a workspace.
#[utoipa::path(
    post, path = "/sessions/{id}/resume", tag = "sessions", operation_id = "resumeSession",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The workspace's `ETag`")),
    responses(
        (status = 200, description = "The workspace, now or already active", body = Answer<SessionResponse>),
        (status = 409, description = "It is still being copied"),
        (status = 412, description = "It has changed since"),
    )
)]
async fn resume(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    IfMatch(version): IfMatch,
) -> Result<Versioned<SessionResponse>, ApiError> {
    let (sessions, now) = (state.repositories.sessions(), state.clock.now_millis());
    let session = sessions.resume(caller.tenant(), caller.user(), id, version, now).await?;
    Ok(Versioned(session.version, session.try_into()?))
}
