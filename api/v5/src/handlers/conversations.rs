//! `/api/v5/conversations`: what a user and agents say to each other. To anyone but their user they do not exist.

use std::sync::Arc;

use axum::extract::State;
use coditect_store::records::{Conversation, FIRST_VERSION};
use coditect_store::{AuditAction, TimeCursor, UpdateError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{present, rfc3339};
use crate::envelope::{Answer, CreatedVersioned, Data, Empty, List, ListAnswer, Versioned};
use crate::error::ApiError;
use crate::extract::{Caller, Cursor, Id, IfMatch, Json, New, PageQuery, Query, Sender};
use crate::idempotency::IdempotencyKey;
use crate::state::ApiState;
use crate::trail::Deed;
use crate::validate;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete))
}

/// A conversation to begin.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ConversationRequest {
    /// At most 200 characters; empty unless it is given.
    #[serde(default)]
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]*$")]
    title: String,
    /// The workspace it is about, one of the caller's. It outlives the workspace.
    session_id: Option<Uuid>,
}

/// The fields to change.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ConversationPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 200, pattern = r"^[^\x00-\x1F\x7F-\x9F]*$", nullable = false)]
    title: Option<String>,
}

/// Which conversations are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct ConversationQuery {
    /// Only those begun in this workspace.
    session_id: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ConversationResponse {
    id: Uuid,
    tenant_id: Uuid,
    user_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session_id: Option<Uuid>,
    title: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// Messages do not change it.
    #[schema(format = DateTime)]
    updated_at: String,
}

impl TryFrom<Conversation> for ConversationResponse {
    type Error = ApiError;

    fn try_from(conversation: Conversation) -> Result<Self, ApiError> {
        Ok(Self {
            id: conversation.id,
            tenant_id: conversation.tenant_id,
            user_id: conversation.user_id,
            session_id: conversation.session_id,
            title: conversation.title,
            created_at: rfc3339(conversation.created_at)?,
            updated_at: rfc3339(conversation.updated_at)?,
        })
    }
}

/// Begins a conversation.
#[utoipa::path(
    post, path = "/conversations", tag = "conversations", operation_id = "createConversation",
    security(("bearer" = ["member"])),
    params(IdempotencyKey),
    request_body = ConversationRequest,
    responses((status = 201, description = "The conversation", body = Answer<ConversationResponse>))
)]
async fn create(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    New { id, now }: New,
    Json(request): Json<ConversationRequest>,
) -> Result<CreatedVersioned<ConversationResponse>, ApiError> {
    let conversation = Conversation {
        id,
        tenant_id: caller.tenant(),
        user_id: caller.user(),
        session_id: request.session_id,
        title: validate::title(&request.title)?,
        created_at: now,
        updated_at: now,
        version: FIRST_VERSION,
    };
    match state.repositories.conversations().create(&conversation).await {
        Ok(()) => Ok(CreatedVersioned(conversation.version, conversation.try_into()?)),
        Err(UpdateError::NotFound) => {
            Err(ApiError::validation("sessionId", "must be one of your workspaces"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Lists the caller's conversations, newest first.
#[utoipa::path(
    get, path = "/conversations", tag = "conversations", operation_id = "listConversations",
    security(("bearer" = ["member"])),
    params(ConversationQuery, PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<ConversationResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Query(wanted): Query<ConversationQuery>,
    Query(page): Query<PageQuery>,
) -> Result<List<ConversationResponse>, ApiError> {
    let (tenant, user, limit) = (caller.tenant(), caller.user(), page.limit());
    let after = page.after::<TimeCursor>()?;
    let conversations = state.repositories.conversations();
    let page = match wanted.session_id {
        Some(session) => conversations.by_session(tenant, user, session, after.as_ref(), limit).await?,
        None => conversations.by_user(tenant, user, after.as_ref(), limit).await?,
    };
    let items = page.items.into_iter().map(ConversationResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: page.next.map(|next| next.write()) })
}

/// Reads a conversation, without its messages.
#[utoipa::path(
    get, path = "/conversations/{id}", tag = "conversations", operation_id = "getConversation",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The conversation", body = Answer<ConversationResponse>))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Versioned<ConversationResponse>, ApiError> {
    let conversation = state.repositories.conversations().get(caller.tenant(), caller.user(), id).await?;
    let conversation = conversation.ok_or(ApiError::NotFound)?;
    Ok(Versioned(conversation.version, conversation.try_into()?))
}

/// Changes a conversation's title.
#[utoipa::path(
    patch, path = "/conversations/{id}", tag = "conversations", operation_id = "updateConversation",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The conversation's `ETag`")),
    request_body = ConversationPatch,
    responses(
        (status = 200, description = "The conversation as it is now", body = Answer<ConversationResponse>),
        (status = 412, description = "It has changed since"),
    )
)]
async fn update(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    IfMatch(version): IfMatch,
    Json(patch): Json<ConversationPatch>,
) -> Result<Versioned<ConversationResponse>, ApiError> {
    let title = patch.title.as_deref().map(validate::title).transpose()?;
    let now = state.clock.now_millis();
    let change = |conversation: &mut Conversation| {
        if let Some(title) = title.as_ref().filter(|title| **title != conversation.title) {
            conversation.title.clone_from(title);
            conversation.updated_at = now;
        }
    };
    let conversations = state.repositories.conversations();
    let changed = conversations.update(caller.tenant(), caller.user(), id, version, change).await?;
    Ok(Versioned(changed.version, changed.try_into()?))
}

/// Removes a conversation with all its messages.
#[utoipa::path(
    delete, path = "/conversations/{id}", tag = "conversations", operation_id = "deleteConversation",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The conversation's `ETag`")),
    responses(
        (status = 200, description = "It is gone", body = Answer<Empty>),
        (status = 412, description = "It has changed since"),
    )
)]
async fn delete(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Sender(client): Sender,
    Id(id): Id,
    IfMatch(version): IfMatch,
) -> Result<Data<Empty>, ApiError> {
    state.repositories.conversations().delete(caller.tenant(), caller.user(), id, version).await?;
    let deed = Deed::by(&caller.0.claims, &client);
    deed.record(&state, AuditAction::ConversationDelete, "conversation", id).await?;
    Ok(Data(Empty {}))
}
