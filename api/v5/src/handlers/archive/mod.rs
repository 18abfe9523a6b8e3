//! `/api/v5/sessions/{id}/archive`: a workspace's files as one tar stream, out and in.

mod export;
mod format;
mod import;
mod reader;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::export::Export;
use self::import::Import;
use super::files::{RawBytes, Workspace, directory};
use crate::envelope::{Answer, Data};
use crate::error::ApiError;
use crate::extract::Query;
use crate::incoming::Incoming;
use crate::state::ApiState;

/// The media type of tar streams.
const TAR: &str = "application/x-tar";
/// The largest archive that is read, in bytes.
const MAX_ARCHIVE_BYTES: u64 = 8 << 30;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get, put))
}

/// Which part of the workspace.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ArchiveQuery {
    /// A directory, to which the names in the archive are relative; without it, the workspace itself.
    #[serde(default)]
    #[param(max_length = 4096)]
    path: String,
}

/// What was read from an archive.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ImportResponse {
    /// Files written.
    files: u64,
    /// Bytes in them.
    bytes: u64,
}

/// Reads a workspace's files as a tar stream.
///
/// In the PAX format, with the files' modes and times; directories are implied by the names. Files that change
/// meanwhile are in it as they were or as they are. A stream that ends without the two empty blocks of tar was cut off.
#[utoipa::path(
    get, path = "/sessions/{id}/archive", tag = "files", operation_id = "getArchive",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ArchiveQuery),
    responses((status = 200, description = "The archive", body = RawBytes, content_type = "application/x-tar"))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    Query(query): Query<ArchiveQuery>,
) -> Result<Response, ApiError> {
    let path = directory(&query.path)?;
    let transfer = state.transfers.download(workspace.tenant, None)?;
    let export = Export::begin(state, workspace, path, transfer).await?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(TAR)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"workspace.tar\"")),
    ];
    Ok((headers, export.into_body()).into_response())
}

/// Writes the files of a tar stream.
///
/// Of ustar, GNU and PAX archives, regular files and directories are taken, whose names are as those of other files and
/// may begin with `./`; at most 100000 entries and 8 GiB. Links, devices, sparse files, and whatever two programs could
/// read differently are refused with the entry's name. Files are written one after the other: those before a refused
/// one stay written, and the message says how many they are. What they replace becomes versions.
#[utoipa::path(
    put, path = "/sessions/{id}/archive", tag = "files", operation_id = "putArchive",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ArchiveQuery),
    request_body(content = RawBytes, content_type = "application/x-tar"),
    responses(
        (status = 200, description = "All of it was written", body = Answer<ImportResponse>),
        (status = 409, description = "A file cannot be a directory too"),
        (status = 507, description = "The tenant's quota is exceeded"),
    )
)]
async fn put(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    Query(query): Query<ArchiveQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Data<ImportResponse>, ApiError> {
    let path = directory(&query.path)?;
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !declared.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(TAR) {
        return Err(ApiError::UnsupportedMediaType(TAR));
    }
    let body = Incoming::new(body);
    if body.declared().is_some_and(|size| size > MAX_ARCHIVE_BYTES) {
        return Err(ApiError::PayloadTooLarge { limit: MAX_ARCHIVE_BYTES });
    }
    let _transfer = state.transfers.upload(workspace.tenant, body.declared())?;
    let mut import = Import::new(&state, &workspace, path, body);
    match import.run().await {
        Ok(()) => Ok(Data(import.done)),
        Err(error) => Err(after(error, import.done.files)),
    }
}

/// The error, with how many files were written before it.
fn after(error: ApiError, files: u64) -> ApiError {
    let told = |text: String| format!("{text}; {files} files were written before it");
    match error {
        ApiError::Validation { field, reason } => ApiError::Validation { field, reason: told(reason) },
        ApiError::Conflict(text) => ApiError::Conflict(told(text)),
        ApiError::QuotaExceeded(text) => ApiError::QuotaExceeded(told(text)),
        error => error,
    }
}
