//! `/api/v5/sessions/{id}/files`: the files of a workspace, raw bytes by path, and what they held before.
//!
//! A path is percent-decoded once and must be as [`file_path`] says. Whatever a file holds is somebody's, and may be
//! made to be mistaken for a page of ours: it is always served as an attachment of no particular type.

mod conditions;
mod content;
mod outgoing;
mod range;
mod trees;
mod versions;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use coditect_store::file_path;
use coditect_store::records::File;
use http::HeaderName;
use http::request::Parts;
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::rfc3339;
use crate::error::ApiError;
use crate::extract::{Caller, Id};
use crate::state::ApiState;

/// Whether a file may be executed: `true` or `false`.
const EXECUTABLE: HeaderName = HeaderName::from_static("x-coditect-executable");

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    content::routes().merge(trees::routes()).merge(versions::routes())
}

/// A file.
#[derive(Serialize, ToSchema)]
pub(super) struct FileResponse {
    /// Relative to the workspace, without a slash at its beginning.
    path: String,
    /// In bytes.
    size: u64,
    /// 64 hexadecimal digits; in quotes, the file's `ETag`.
    sha256: String,
    executable: bool,
    /// Counts the changes at this path.
    version: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl TryFrom<File> for FileResponse {
    type Error = ApiError;

    fn try_from(file: File) -> Result<Self, ApiError> {
        Ok(Self {
            path: file.path,
            size: file.content.size,
            sha256: file.content.sha256.to_string(),
            executable: file.content.executable,
            version: file.version,
            created_at: rfc3339(file.created_at)?,
            updated_at: rfc3339(file.updated_at)?,
        })
    }
}

/// Bytes as they are, in the document.
pub(super) enum RawBytes {}

impl PartialSchema for RawBytes {
    fn schema() -> RefOr<Schema> {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).into()
    }
}

impl ToSchema for RawBytes {}

/// The caller's own workspace, the `{id}` of the path. Another's is not there.
pub(super) struct Workspace {
    pub(super) tenant: Uuid,
    pub(super) user: Uuid,
    pub(super) id: Uuid,
}

impl Workspace {
    /// Whether there is such a workspace, and the caller's.
    pub(super) async fn of(state: &ApiState, caller: &Caller, id: Uuid) -> Result<Self, ApiError> {
        let (tenant, user) = (caller.tenant(), caller.user());
        let session = state.repositories.sessions().get(tenant, user, id).await?;
        session.map(|_| Self { tenant, user, id }).ok_or(ApiError::NotFound)
    }
}

impl FromRequestParts<Arc<ApiState>> for Workspace {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let id = captured(parts, state, "id").await?;
        Self::of(state, &caller, Id::parse(&id)?).await
    }
}

/// The `{path}` of the path, decoded.
pub(super) struct FilePath(pub(super) String);

impl FromRequestParts<Arc<ApiState>> for FilePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        let path = captured(parts, state, "path").await?;
        checked(&path)?;
        Ok(Self(path))
    }
}

/// What stands in the place of a name in the path, decoded.
async fn captured(parts: &mut Parts, state: &Arc<ApiState>, name: &str) -> Result<String, ApiError> {
    let captured = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
    // Decoding is all that can fail.
    let Path(captured) =
        captured.map_err(|_| ApiError::validation("path", "must be UTF-8, percent-encoded"))?;
    let found = captured.into_iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value).ok_or(ApiError::NotFound)
}

/// A path that a file can have.
pub(super) fn checked(path: &str) -> Result<&str, ApiError> {
    file_path::check(path).map(|()| path).map_err(|problem| ApiError::validation("path", problem.to_string()))
}

/// A path that a directory can have; the empty one is the workspace's own.
pub(super) fn directory(path: &str) -> Result<&str, ApiError> {
    if path.is_empty() { Ok(path) } else { checked(path) }
}
