//! `/api/v5/conversations/{id}/messages`: what was said in a conversation. Messages are appended and never change.

use std::sync::Arc;

use axum::extract::State;
use coditect_store::records::{Message, MessageRole};
use coditect_store::{NewMessage, Order, TimeCursor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::rfc3339;
use crate::envelope::{Answer, Created, List, ListAnswer};
use crate::error::ApiError;
use crate::extract::{Caller, Cursor, Id, Json, New, PageQuery, Query};
use crate::idempotency::IdempotencyKey;
use crate::state::ApiState;
use crate::validate;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list, append))
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Speaker {
    /// The conversation's user.
    User,
    /// An agent or model.
    Assistant,
    /// Whoever set the conversation up.
    System,
    /// A tool that an agent called.
    Tool,
}

/// A message to append. As JSON, content and metadata have at most 80,000 bytes together.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MessageRequest {
    #[schema(inline)]
    role: Speaker,
    #[schema(max_length = 80000)]
    content: String,
    /// What the client keeps with it: model, tool calls and the like.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

/// In which order messages are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MessageOrder {
    /// From the first to the last.
    #[default]
    Oldest,
    /// From the last to the first.
    Newest,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessageQuery {
    /// Which come first: the `oldest` or the `newest`. A cursor is good for the order it came with.
    #[serde(default)]
    #[param(inline, default = "oldest")]
    order: MessageOrder,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MessageResponse {
    id: Uuid,
    conversation_id: Uuid,
    #[schema(inline)]
    role: Speaker,
    content: String,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// Later than that of every message before it.
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<Speaker> for MessageRole {
    fn from(speaker: Speaker) -> Self {
        match speaker {
            Speaker::User => Self::User,
            Speaker::Assistant => Self::Assistant,
            Speaker::System => Self::System,
            Speaker::Tool => Self::Tool,
        }
    }
}

impl From<MessageRole> for Speaker {
    fn from(role: MessageRole) -> Self {
        match role {
            MessageRole::User => Self::User,
            MessageRole::Assistant => Self::Assistant,
            MessageRole::System => Self::System,
            MessageRole::Tool => Self::Tool,
        }
    }
}

impl TryFrom<Message> for MessageResponse {
    type Error = ApiError;

    fn try_from(message: Message) -> Result<Self, ApiError> {
        Ok(Self {
            id: message.id,
            conversation_id: message.conversation_id,
            role: message.role.into(),
            content: message.content,
            metadata: message.metadata,
            created_at: rfc3339(message.created_at)?,
        })
    }
}

/// Appends a message to a conversation.
#[utoipa::path(
    post, path = "/conversations/{id}/messages", tag = "conversations", operation_id = "appendMessage",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), IdempotencyKey),
    request_body = MessageRequest,
    responses((status = 201, description = "The message", body = Answer<MessageResponse>))
)]
async fn append(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(conversation): Id,
    New { id, now }: New,
    Json(request): Json<MessageRequest>,
) -> Result<Created<MessageResponse>, ApiError> {
    validate::message(&request.content, &request.metadata)?;
    let MessageRequest { role, content, metadata } = request;
    let new = NewMessage { id, role: role.into(), content, metadata };
    let messages = state.repositories.messages();
    let message = messages.append(caller.tenant(), caller.user(), conversation, &new, now).await?;
    Ok(Created(message.try_into()?))
}

/// Lists the messages of a conversation. What is appended while a client pages disturbs no page.
#[utoipa::path(
    get, path = "/conversations/{id}/messages", tag = "conversations", operation_id = "listMessages",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), MessageQuery, PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<MessageResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(conversation): Id,
    Query(wanted): Query<MessageQuery>,
    Query(page): Query<PageQuery>,
) -> Result<List<MessageResponse>, ApiError> {
    let order = match wanted.order {
        MessageOrder::Oldest => Order::OldestFirst,
        MessageOrder::Newest => Order::NewestFirst,
    };
    let after = page.after::<TimeCursor>()?;
    let messages = state.repositories.messages();
    let page = messages
        .list(caller.tenant(), caller.user(), conversation, after.as_ref(), order, page.limit())
        .await?
        .ok_or(ApiError::NotFound)?;
    let items = page.items.into_iter().map(MessageResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: page.next.map(|next| next.write()) })
}
