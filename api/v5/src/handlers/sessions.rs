//! `/api/v5/sessions`: workspaces. To anyone but their user they do not exist.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use coditect_store::records::{FIRST_VERSION, Session, SessionStatus, SessionType};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::rfc3339;
use crate::envelope::{Created, Data, Empty};
use crate::error::ApiError;
use crate::extract::{Caller, Id, Json};
use crate::state::ApiState;
use crate::validate;

/// Workspaces in one answer when the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// The most workspaces in one answer.
const MAX_LIMIT: usize = 200;

/// A whole workspace, to create or to replace.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SessionRequest {
    name: String,
    workspace_path: Option<String>,
    #[serde(default)]
    r#type: SessionType,
    #[serde(default)]
    settings: Map<String, Value>,
}

/// The fields to change.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SessionPatch {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "present")]
    workspace_path: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    r#type: Option<SessionType>,
    #[serde(default, deserialize_with = "present")]
    settings: Option<Map<String, Value>>,
}

/// A field that is there, so that `null` is not mistaken for a field left out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct SessionResponse {
    id: Uuid,
    name: String,
    tenant_id: Uuid,
    user_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_path: Option<String>,
    r#type: SessionType,
    settings: Map<String, Value>,
    status: SessionStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<Uuid>,
    created_at: String,
    updated_at: String,
    last_accessed_at: String,
}

impl TryFrom<Session> for SessionResponse {
    type Error = ApiError;

    fn try_from(session: Session) -> Result<Self, ApiError> {
        Ok(Self {
            id: session.id,
            name: session.name,
            tenant_id: session.tenant_id,
            user_id: session.user_id,
            workspace_path: session.workspace_path,
            r#type: session.r#type,
            settings: session.settings,
            status: session.status,
            conversation_id: session.conversation_id,
            created_at: rfc3339(session.created_at)?,
            updated_at: rfc3339(session.updated_at)?,
            last_accessed_at: rfc3339(session.last_accessed_at)?,
        })
    }
}

impl SessionRequest {
    fn validate(mut self) -> Result<Self, ApiError> {
        self.name = validate::name(&self.name)?;
        if let Some(path) = &self.workspace_path {
            validate::workspace_path(path)?;
        }
        validate::settings(&self.settings)?;
        Ok(self)
    }
}

impl SessionPatch {
    fn validate(mut self) -> Result<Self, ApiError> {
        self.name = self.name.as_deref().map(validate::name).transpose()?;
        if let Some(Some(path)) = &self.workspace_path {
            validate::workspace_path(path)?;
        }
        if let Some(settings) = &self.settings {
            validate::settings(settings)?;
        }
        Ok(self)
    }

    fn apply(&self, session: &mut Session) {
        if let Some(name) = &self.name {
            session.name.clone_from(name);
        }
        if let Some(path) = &self.workspace_path {
            session.workspace_path.clone_from(path);
        }
        if let Some(kind) = self.r#type {
            session.r#type = kind;
        }
        if let Some(settings) = &self.settings {
            session.settings.clone_from(settings);
        }
    }
}

pub(crate) async fn create(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Json(request): Json<SessionRequest>,
) -> Result<Created<SessionResponse>, ApiError> {
    let request = request.validate()?;
    let now = state.clock.now_millis();
    let session = Session {
        id: state.entropy.uuid(),
        name: request.name,
        tenant_id: caller.tenant(),
        user_id: caller.user(),
        workspace_path: request.workspace_path,
        r#type: request.r#type,
        settings: request.settings,
        status: SessionStatus::Active,
        conversation_id: None,
        created_at: now,
        updated_at: now,
        last_accessed_at: now,
        version: FIRST_VERSION,
    };
    state.repositories.sessions().create(&session).await?;
    Ok(Created(session.try_into()?))
}

pub(crate) async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Data<Vec<SessionResponse>>, ApiError> {
    let limit = match query {
        Ok(Query(ListQuery { limit })) => limit.unwrap_or(DEFAULT_LIMIT),
        Err(_) => 0,
    };
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::validation("limit", "must be a number from 1 to 200"));
    }
    let sessions = state.repositories.sessions().list(caller.tenant(), caller.user(), limit).await?;
    sessions.into_iter().map(SessionResponse::try_from).collect::<Result<_, _>>().map(Data)
}

pub(crate) async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Data<SessionResponse>, ApiError> {
    found(state.repositories.sessions().get(caller.tenant(), caller.user(), id).await?)
}

pub(crate) async fn replace(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    Json(request): Json<SessionRequest>,
) -> Result<Data<SessionResponse>, ApiError> {
    let request = request.validate()?;
    let whole = SessionPatch {
        name: Some(request.name),
        workspace_path: Some(request.workspace_path),
        r#type: Some(request.r#type),
        settings: Some(request.settings),
    };
    change(&state, &caller, id, &whole).await
}

pub(crate) async fn update(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
    Json(patch): Json<SessionPatch>,
) -> Result<Data<SessionResponse>, ApiError> {
    change(&state, &caller, id, &patch.validate()?).await
}

pub(crate) async fn delete(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Data<Empty>, ApiError> {
    if state.repositories.sessions().delete(caller.tenant(), caller.user(), id).await? {
        Ok(Data(Empty {}))
    } else {
        Err(ApiError::NotFound)
    }
}

async fn change(
    state: &ApiState,
    caller: &Caller,
    id: Uuid,
    patch: &SessionPatch,
) -> Result<Data<SessionResponse>, ApiError> {
    let now = state.clock.now_millis();
    let changed = state
        .repositories
        .sessions()
        .update(caller.tenant(), caller.user(), id, None, |session| {
            patch.apply(session);
            session.updated_at = now;
        })
        .await?;
    Ok(Data(changed.try_into()?))
}

fn found(session: Option<Session>) -> Result<Data<SessionResponse>, ApiError> {
    Ok(Data(session.ok_or(ApiError::NotFound)?.try_into()?))
}
