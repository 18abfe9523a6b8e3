//! `/api/v5/agents`: AI agents that the members of a tenant define and share. Who made one changes it, and so do owners
//! and admins.

use std::sync::Arc;

use axum::extract::State;
use coditect_store::AuditAction;
use coditect_store::records::{Agent, FIRST_VERSION};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{present, rfc3339};
use crate::access::require_admin;
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

/// An agent to define.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentRequest {
    /// 1 to 200 characters; no other agent of the tenant has it, in whatever case or spacing.
    #[schema(schema_with = validate::name_schema)]
    name: String,
    /// What it is for: at most 2000 characters.
    #[serde(default)]
    #[schema(max_length = 2000, pattern = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$")]
    description: String,
    /// How it is set up (model, instructions, tools): at most 64 KiB of JSON. Never secrets: all members read it.
    #[serde(default)]
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
}

/// The fields to change.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = validate::name_schema)]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(max_length = 2000, pattern = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$", nullable = false)]
    description: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Object, nullable = false)]
    settings: Option<Map<String, Value>>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct AgentResponse {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    description: String,
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// The user who made it.
    created_by: Uuid,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl TryFrom<Agent> for AgentResponse {
    type Error = ApiError;

    fn try_from(agent: Agent) -> Result<Self, ApiError> {
        Ok(Self {
            id: agent.id,
            tenant_id: agent.tenant_id,
            name: agent.name,
            description: agent.description,
            settings: agent.settings,
            created_by: agent.created_by,
            created_at: rfc3339(agent.created_at)?,
            updated_at: rfc3339(agent.updated_at)?,
        })
    }
}

impl AgentPatch {
    fn validate(mut self) -> Result<Self, ApiError> {
        self.name = self.name.as_deref().map(validate::name).transpose()?;
        self.description.as_deref().map(validate::description).transpose()?;
        self.settings.as_ref().map(validate::settings).transpose()?;
        Ok(self)
    }

    fn apply(&self, agent: &mut Agent, now: i64) {
        let before = agent.clone();
        if let Some(name) = &self.name {
            agent.name.clone_from(name);
        }
        if let Some(description) = &self.description {
            agent.description.clone_from(description);
        }
        if let Some(settings) = &self.settings {
            agent.settings.clone_from(settings);
        }
        if *agent != before {
            agent.updated_at = now;
        }
    }
}

/// Defines an agent.
#[utoipa::path(
    post, path = "/agents", tag = "agents", operation_id = "createAgent", security(("bearer" = ["member"])),
    params(IdempotencyKey),
    request_body = AgentRequest,
    responses(
        (status = 201, description = "The agent", body = Answer<AgentResponse>),
        (status = 409, description = "Another agent has the name"),
    )
)]
async fn create(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    New { id, now }: New,
    Json(request): Json<AgentRequest>,
) -> Result<CreatedVersioned<AgentResponse>, ApiError> {
    validate::description(&request.description)?;
    validate::settings(&request.settings)?;
    let agent = Agent {
        id,
        tenant_id: caller.tenant(),
        name: validate::name(&request.name)?,
        description: request.description,
        settings: request.settings,
        created_by: caller.user(),
        created_at: now,
        updated_at: now,
        version: FIRST_VERSION,
    };
    state.repositories.agents().create(&agent).await?;
    Ok(CreatedVersioned(agent.version, agent.try_into()?))
}

/// Lists the tenant's agents in the order of their names.
#[utoipa::path(
    get, path = "/agents", tag = "agents", operation_id = "listAgents", security(("bearer" = ["member"])),
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<AgentResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Result<List<AgentResponse>, ApiError> {
    let after = page.after::<String>()?;
    let page = state.repositories.agents().list(caller.tenant(), after.as_deref(), page.limit()).await?;
    let items = page.items.into_iter().map(AgentResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: page.next.map(|next| next.write()) })
}

/// Reads an agent.
#[utoipa::path(
    get, path = "/agents/{id}", tag = "agents", operation_id = "getAgent", security(("bearer" = ["member"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "The agent", body = Answer<AgentResponse>))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Versioned<AgentResponse>, ApiError> {
    let agent = state.repositories.agents().get(caller.tenant(), id).await?.ok_or(ApiError::NotFound)?;
    Ok(Versioned(agent.version, agent.try_into()?))
}

/// Changes an agent: who made it, an owner or an admin may.
#[utoipa::path(
    patch, path = "/agents/{id}", tag = "agents", operation_id = "updateAgent", security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The agent's `ETag`")),
    request_body = AgentPatch,
    responses(
        (status = 200, description = "The agent as it is now", body = Answer<AgentResponse>),
        (status = 409, description = "Another agent has the name"),
        (status = 412, description = "It has changed since"),
    )
)]
async fn update(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    IfMatch(version): IfMatch,
    Json(patch): Json<AgentPatch>,
) -> Result<Versioned<AgentResponse>, ApiError> {
    let patch = patch.validate()?;
    check_write(&state, &caller, id).await?;
    let now = state.clock.now_millis();
    let agents = state.repositories.agents();
    let changed = agents.update(caller.tenant(), id, version, |agent| patch.apply(agent, now)).await?;
    Ok(Versioned(changed.version, changed.try_into()?))
}

/// Removes an agent: who made it, an owner or an admin may.
#[utoipa::path(
    delete, path = "/agents/{id}", tag = "agents", operation_id = "deleteAgent", security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The agent's `ETag`")),
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
    check_write(&state, &caller, id).await?;
    let agent = state.repositories.agents().delete(caller.tenant(), id, version).await?;
    let deed = Deed::by(&caller.0.claims, &client).with("name", agent.name);
    deed.record(&state, AuditAction::AgentDelete, "agent", id).await?;
    Ok(Data(Empty {}))
}

/// Lets through who may change an agent. Its maker never changes, so this holds until the change is made.
async fn check_write(state: &ApiState, caller: &Caller, id: Uuid) -> Result<(), ApiError> {
    let agent = state.repositories.agents().get(caller.tenant(), id).await?.ok_or(ApiError::NotFound)?;
    if agent.created_by == caller.user() {
        return Ok(());
    }
    require_admin(state, caller, "only its maker, owners and admins change an agent").await
}
