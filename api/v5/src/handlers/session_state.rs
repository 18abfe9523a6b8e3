//! `/api/v5/sessions/{id}/state/{part}`: what a front end keeps with a workspace, part by part. No part's write
//! disturbs another's, or the workspace's own.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use bytes::Bytes;
use coditect_store::MAX_STATE_BYTES;
use coditect_store::records::{SessionState, StatePart};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::rfc3339;
use crate::envelope::{Answer, Versioned};
use crate::error::ApiError;
use crate::extract::{Caller, Document, IfMatch, IfNoneMatch, id};
use crate::state::ApiState;

/// The version of a part that was never written.
const NEVER_WRITTEN: u64 = 0;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get, put))
}

/// A part of a workspace's state.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StatePartName {
    /// Layout, cursors, scroll positions.
    Editor,
    /// What is open.
    ActiveFiles,
    /// Which terminals there are, and how they are laid out.
    Terminal,
    /// What agents and extensions keep with the workspace.
    Memory,
}

impl From<StatePartName> for StatePart {
    fn from(name: StatePartName) -> Self {
        match name {
            StatePartName::Editor => Self::Editor,
            StatePartName::ActiveFiles => Self::ActiveFiles,
            StatePartName::Terminal => Self::Terminal,
            StatePartName::Memory => Self::Memory,
        }
    }
}

/// What was written, but for the document itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct StateWritten {
    /// The part's version, as in the `ETag`.
    version: u64,
    /// The bytes of the document as it is kept.
    size: u64,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl TryFrom<SessionState> for StateWritten {
    type Error = ApiError;

    fn try_from(state: SessionState) -> Result<Self, ApiError> {
        Ok(Self { version: state.version, size: state.size, updated_at: rfc3339(state.updated_at)? })
    }
}

/// The workspace and the part that a path names.
pub(crate) struct Place {
    workspace: Uuid,
    part: StatePart,
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((workspace, part)) = Path::<(String, StatePartName)>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::NotFound)?;
        Ok(Self { workspace: id(&workspace)?, part: part.into() })
    }
}

/// Reads a part of a workspace's state: in `data` the document that was written last. A part that was never written is
/// `null`, with the `ETag` `"0"`.
#[utoipa::path(
    get, path = "/sessions/{id}/state/{part}", tag = "sessions", operation_id = "getSessionState",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("part" = inline(StatePartName), Path)),
    responses((status = 200, description = "The document", body = Answer<serde_json::Value>))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Place { workspace, part }: Place,
) -> Result<Versioned<Box<RawValue>>, ApiError> {
    let states = state.repositories.session_states();
    let found = states.get(caller.tenant(), caller.user(), workspace, part).await?;
    let (version, content) = match found {
        Some((state, content)) => (state.version, content),
        None => (NEVER_WRITTEN, Bytes::from_static(b"null")),
    };
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| ApiError::Internal(error);
    let text = String::from_utf8(content.into()).map_err(|error| wrong(error.into()))?;
    Ok(Versioned(version, RawValue::from_string(text).map_err(|error| wrong(error.into()))?))
}

/// Writes a part of a workspace's state: any JSON, at most 1 MiB without the space between its tokens. With `If-Match`
/// only if it is still of that version (`"0"`: never written); with `If-None-Match: *` only if it was never written.
/// Other parts, and the workspace itself, may be written at the same time. To forget a part write `null`.
#[utoipa::path(
    put, path = "/sessions/{id}/state/{part}", tag = "sessions", operation_id = "putSessionState",
    security(("bearer" = ["member"])),
    params(
        ("id" = Uuid, Path),
        ("part" = inline(StatePartName), Path),
        ("If-Match" = Option<String>, Header, description = "The part's `ETag`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be nothing yet"),
    ),
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "What was written", body = Answer<StateWritten>),
        (status = 412, description = "It has changed since"),
    )
)]
async fn put(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Place { workspace, part }: Place,
    IfMatch(version): IfMatch,
    IfNoneMatch(must_be_new): IfNoneMatch,
    Document(content): Document<MAX_STATE_BYTES>,
) -> Result<Versioned<StateWritten>, ApiError> {
    let expected = match (version, must_be_new) {
        (Some(version), true) if version != NEVER_WRITTEN => return Err(ApiError::VersionMismatch),
        (_, true) => Some(NEVER_WRITTEN),
        (version, false) => version,
    };
    let (states, now) = (state.repositories.session_states(), state.clock.now_millis());
    let written =
        states.put(caller.tenant(), caller.user(), workspace, part, &content, expected, now).await?;
    Ok(Versioned(written.version, written.try_into()?))
}
