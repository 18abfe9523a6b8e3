//! What requests and answers about workspaces look like; [`super::sessions`] has the operations.

use coditect_store::records::{Session, SessionStatus, SessionType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{present, rfc3339};
use crate::error::ApiError;
use crate::validate;

/// What a workspace is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SessionKind {
    /// A plain workspace.
    #[default]
    Workspace,
    /// A workspace for AI agents.
    AiStudio,
    /// A workspace opened in Theia.
    Theia,
}

/// Where a workspace is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionState {
    /// It can be worked in.
    Active,
    /// Nothing of it runs; opening it resumes it where it was.
    Paused,
    /// It is being copied from another one, and cannot be opened before that is done.
    Forking,
    /// It is being removed.
    Deleting,
}

/// Which workspaces are listed: those that are all of this.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionQuery {
    /// Where they are in their life.
    #[param(inline)]
    pub(super) status: Option<SessionState>,
    /// What they are for.
    #[param(inline)]
    pub(super) r#type: Option<SessionKind>,
    /// Exactly their path.
    #[param(min_length = 1, max_length = 4096)]
    pub(super) workspace_path: Option<String>,
}

/// A whole workspace, to create or to replace.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SessionRequest {
    #[schema(schema_with = validate::name_schema)]
    pub(super) name: String,
    /// 1 to 4096 bytes; the API gives it no meaning.
    #[schema(min_length = 1, max_length = 4096, pattern = "^[^\\x00]*$")]
    pub(super) workspace_path: Option<String>,
    #[serde(default)]
    #[schema(inline)]
    pub(super) r#type: SessionKind,
    /// At most 64 KiB of JSON.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(super) settings: Map<String, Value>,
}

/// The fields to change.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SessionPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = validate::name_schema)]
    pub(super) name: Option<String>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4096, pattern = "^[^\\x00]*$")]
    pub(super) workspace_path: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(inline, nullable = false)]
    pub(super) r#type: Option<SessionKind>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Object, nullable = false)]
    pub(super) settings: Option<Map<String, Value>>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SessionResponse {
    id: Uuid,
    pub(super) name: String,
    tenant_id: Uuid,
    user_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) workspace_path: Option<String>,
    #[schema(inline)]
    pub(super) r#type: SessionKind,
    #[schema(value_type = Object)]
    pub(super) settings: Map<String, Value>,
    #[schema(inline)]
    pub(super) status: SessionState,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    conversation_id: Option<Uuid>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    #[schema(format = DateTime)]
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
            r#type: session.r#type.into(),
            settings: session.settings,
            status: session.status.into(),
            conversation_id: session.conversation_id,
            created_at: rfc3339(session.created_at)?,
            updated_at: rfc3339(session.updated_at)?,
            last_accessed_at: rfc3339(session.last_accessed_at)?,
        })
    }
}

impl SessionRequest {
    pub(super) fn validate(mut self) -> Result<Self, ApiError> {
        self.name = validate::name(&self.name)?;
        if let Some(path) = &self.workspace_path {
            validate::workspace_path(path)?;
        }
        validate::settings(&self.settings)?;
        Ok(self)
    }
}

impl SessionPatch {
    pub(super) fn validate(mut self) -> Result<Self, ApiError> {
        self.name = self.name.as_deref().map(validate::name).transpose()?;
        if let Some(Some(path)) = &self.workspace_path {
            validate::workspace_path(path)?;
        }
        if let Some(settings) = &self.settings {
            validate::settings(settings)?;
        }
        Ok(self)
    }

    pub(super) fn apply(&self, session: &mut Session) {
        if let Some(name) = &self.name {
            session.name.clone_from(name);
        }
        if let Some(path) = &self.workspace_path {
            session.workspace_path.clone_from(path);
        }
        if let Some(kind) = self.r#type {
            session.r#type = kind.into();
        }
        if let Some(settings) = &self.settings {
            session.settings.clone_from(settings);
        }
    }
}

impl From<SessionType> for SessionKind {
    fn from(kind: SessionType) -> Self {
        match kind {
            SessionType::Workspace => Self::Workspace,
            SessionType::AiStudio => Self::AiStudio,
            SessionType::Theia => Self::Theia,
        }
    }
}

impl From<SessionKind> for SessionType {
    fn from(kind: SessionKind) -> Self {
        match kind {
            SessionKind::Workspace => Self::Workspace,
            SessionKind::AiStudio => Self::AiStudio,
            SessionKind::Theia => Self::Theia,
        }
    }
}

impl From<SessionStatus> for SessionState {
    fn from(status: SessionStatus) -> Self {
        match status {
            SessionStatus::Active => Self::Active,
            SessionStatus::Paused => Self::Paused,
            SessionStatus::Forking => Self::Forking,
            SessionStatus::Deleting => Self::Deleting,
        }
    }
}

impl From<SessionState> for SessionStatus {
    fn from(status: SessionState) -> Self {
        match status {
            SessionState::Active => Self::Active,
            SessionState::Paused => Self::Paused,
            SessionState::Forking => Self::Forking,
            SessionState::Deleting => Self::Deleting,
        }
    }
}
