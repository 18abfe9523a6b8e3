//! `/api/v5/sessions`: workspaces. To anyone but their user they do not exist.

use std::sync::Arc;

use axum::extract::State;
use coditect_store::records::{FIRST_VERSION, Session, SessionStatus};
use coditect_store::{AuditAction, SessionFilter, TimeCursor};
use http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::session_types::{SessionPatch, SessionQuery, SessionRequest, SessionResponse};
use crate::envelope::{Answer, CreatedVersioned, Data, Empty, List, ListAnswer, Versioned};
use crate::error::ApiError;
use crate::extract::{Caller, Cursor, Id, IfMatch, Json, New, PageQuery, Query, client};
use crate::idempotency::IdempotencyKey;
use crate::state::ApiState;
use crate::trail::Deed;
use crate::validate;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, replace, update, delete))
}

/// Creates a workspace.
#[utoipa::path(
    post, path = "/sessions", tag = "sessions", operation_id = "createSession", security(("bearer" = ["member"])),
    params(IdempotencyKey),
    request_body = SessionRequest,
    responses(
        (status = 201, description = "The workspace", body = Answer<SessionResponse>),
        (status = 409, description = "The caller has as many workspaces as allowed"),
    )
)]
async fn create(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    New { id, now }: New,
    Json(request): Json<SessionRequest>,
) -> Result<CreatedVersioned<SessionResponse>, ApiError> {
    let request = request.validate()?;
    let session = Session {
        id,
        name: request.name,
        tenant_id: caller.tenant(),
        user_id: caller.user(),
        workspace_path: request.workspace_path,
        r#type: request.r#type.into(),
        settings: request.settings,
        status: SessionStatus::Active,
        conversation_id: None,
        forked_from: None,
        created_at: now,
        updated_at: now,
        last_accessed_at: now,
        version: FIRST_VERSION,
    };
    state.repositories.sessions().create_within(&session, state.limits.workspaces_per_user).await?;
    Ok(CreatedVersioned(session.version, session.try_into()?))
}

/// Lists the caller's workspaces, newest first. A part may have fewer than asked for although there are more: the list
/// ends where `next_cursor` is null.
#[utoipa::path(
    get, path = "/sessions", tag = "sessions", operation_id = "listSessions", security(("bearer" = ["member"])),
    params(PageQuery, SessionQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<SessionResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Query(page): Query<PageQuery>,
    Query(query): Query<SessionQuery>,
) -> Result<List<SessionResponse>, ApiError> {
    if let Some(path) = &query.workspace_path {
        validate::workspace_path(path)?;
    }
    let filter = SessionFilter {
        status: query.status.map(Into::into),
        r#type: query.r#type.map(Into::into),
        workspace_path: query.workspace_path,
    };
    let after = page.after::<TimeCursor>()?;
    let sessions = state.repositories.sessions();
    let found =
        sessions.page_of(caller.tenant(), caller.user(), &filter, after.as_ref(), page.limit()).await?;
    let items = found.items.into_iter().map(SessionResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: found.next.map(|next| next.write()) })
}

/// Reads a workspace. That counts as an access, which is noted now and then, not each time.
#[utoipa::path(
    get, path = "/sessions/{id}", tag = "sessions", operation_id = "getSession", security(("bearer" = ["member"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The workspace", body = Answer<SessionResponse>))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Versioned<SessionResponse>, ApiError> {
    let session = state.repositories.sessions().get(caller.tenant(), caller.user(), id).await?;
    let session = session.ok_or(ApiError::NotFound)?;
    state.accesses.note(caller.tenant(), caller.user(), id);
    Ok(Versioned(session.version, session.try_into()?))
}

/// Replaces what a client can set of a workspace.
#[utoipa::path(
    put, path = "/sessions/{id}", tag = "sessions", operation_id = "replaceSession", security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The workspace's `ETag`")),
    request_body = SessionRequest,
    responses(
        (status = 200, description = "The workspace as it is now", body = Answer<SessionResponse>),
        (status = 412, description = "It has changed since"),
    )
)]
async fn replace(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    version: IfMatch,
    Json(request): Json<SessionRequest>,
) -> Result<Versioned<SessionResponse>, ApiError> {
    let request = request.validate()?;
    let whole = SessionPatch {
        name: Some(request.name),
        workspace_path: Some(request.workspace_path),
        r#type: Some(request.r#type),
        settings: Some(request.settings),
    };
    change(&state, &caller, id, version, &whole).await
}

/// Changes some fields of a workspace.
#[utoipa::path(
    patch, path = "/sessions/{id}", tag = "sessions", operation_id = "updateSession",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The workspace's `ETag`")),
    request_body = SessionPatch,
    responses(
        (status = 200, description = "The workspace as it is now", body = Answer<SessionResponse>),
        (status = 412, description = "It has changed since"),
    )
)]
async fn update(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    version: IfMatch,
    Json(patch): Json<SessionPatch>,
) -> Result<Versioned<SessionResponse>, ApiError> {
    change(&state, &caller, id, version, &patch.validate()?).await
}

/// Removes a workspace with its files and its state. What runs in it ends. Its conversations stay.
#[utoipa::path(
    delete, path = "/sessions/{id}", tag = "sessions", operation_id = "deleteSession",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The workspace's `ETag`")),
    responses(
        (status = 200, description = "It is gone", body = Answer<Empty>),
        (status = 412, description = "It has changed since"),
    )
)]
async fn delete(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    IfMatch(version): IfMatch,
    headers: HeaderMap,
) -> Result<Data<Empty>, ApiError> {
    state.repositories.sessions().delete_expected(caller.tenant(), caller.user(), id, version).await?;
    // Afterwards: an entry about a removal that failed would be wrong, and a client that is told of a failure here asks
    // again, finds the workspace gone, and knows.
    let client = client(&headers);
    Deed::by(&caller.0.claims, &client).record(&state, AuditAction::SessionDelete, "session", id).await?;
    Ok(Data(Empty {}))
}

async fn change(
    state: &ApiState,
    caller: &Caller,
    id: Uuid,
    IfMatch(version): IfMatch,
    patch: &SessionPatch,
) -> Result<Versioned<SessionResponse>, ApiError> {
    let now = state.clock.now_millis();
    let changed = state
        .repositories
        .sessions()
        .update(caller.tenant(), caller.user(), id, version, |session| {
            patch.apply(session);
            session.updated_at = now;
        })
        .await?;
    Ok(Versioned(changed.version, changed.try_into()?))
}
