//! One file: written, read, removed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use coditect_store::blobs::MAX_BLOB_BYTES;
use coditect_store::records::AuditObject;
use coditect_store::{AuditAction, AuditEvent, Written};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG};
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::conditions::{condition, tag};
use super::outgoing::{Outgoing, header};
use super::{EXECUTABLE, FilePath, FileResponse, RawBytes, Workspace};
use crate::envelope::{Answer, Created, Data, Empty};
use crate::error::ApiError;
use crate::extract::client;
use crate::incoming::Incoming;
use crate::state::ApiState;
use crate::upload::PendingUpload;

/// The operations of this file.
pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get, head, put, delete))
}

/// Reads a file.
///
/// Several ranges at once are answered with the whole. What a file holds is served as an attachment, whatever it is.
#[utoipa::path(
    get, path = "/sessions/{id}/files/{*path}", tag = "files", operation_id = "getFile",
    security(("bearer" = ["member"])),
    params(
        ("id" = Uuid, Path),
        ("path" = String, Path, description = "At most 4096 bytes and 128 segments of at most 255 bytes; no empty, `.` or `..` segment, no control character, no backslash. Slashes are sent as they are."),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "The file's `ETag`: with another one the whole is sent"),
        ("If-Match" = Option<String>, Header, description = "`ETag`s of the file, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "`ETag`s that the client has, or `*`"),
    ),
    responses(
        (status = 200, description = "What it holds", body = RawBytes, content_type = "application/octet-stream",
            headers(("ETag" = String, description = "The SHA-256 in quotes"))),
        (status = 206, description = "The part asked for", body = RawBytes, content_type = "application/octet-stream"),
        (status = 304, description = "The client has it"),
        (status = 412, description = "It is not the one in `If-Match`"),
        (status = 416, description = "The file ends before the range begins"),
    )
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    FilePath(path): FilePath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    find(&state, &workspace, &path).await?.get(&state, workspace.tenant, &headers).await
}

/// Reads what there is to know of a file, as headers.
#[utoipa::path(
    head, path = "/sessions/{id}/files/{*path}", tag = "files", operation_id = "headFile",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("path" = String, Path, description = "See `getFile`")),
    responses(
        (status = 200, description = "The headers of `getFile`"),
        (status = 304, description = "The client has it"),
        (status = 412, description = "It is not the one in `If-Match`"),
    )
)]
async fn head(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    FilePath(path): FilePath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    find(&state, &workspace, &path).await?.head(&headers)
}

/// Creates a file, or replaces what it holds.
///
/// At most 256 MiB, of any type, in one piece. What it held becomes a version. A body that is cut off, or that does
/// not fit into the tenant's quota, changes nothing.
#[utoipa::path(
    put, path = "/sessions/{id}/files/{*path}", tag = "files", operation_id = "putFile",
    security(("bearer" = ["member"])),
    params(
        ("id" = Uuid, Path),
        ("path" = String, Path, description = "See `getFile`"),
        ("X-Coditect-Executable" = Option<bool>, Header, description = "Whether it may be executed; without it this stays as it is"),
        ("If-Match" = Option<String>, Header, description = "`ETag`s, one of which the file must have, or `*`: it must exist"),
        ("If-None-Match" = Option<String>, Header, description = "`ETag`s, none of which the file may have, or `*`: it must not exist"),
    ),
    request_body(content = RawBytes, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "It was replaced", body = Answer<FileResponse>),
        (status = 201, description = "It was created", body = Answer<FileResponse>),
        (status = 409, description = "A file cannot be a directory too"),
        (status = 412, description = "It is not what the preconditions say"),
        (status = 507, description = "The tenant's quota is exceeded; nothing has changed"),
    )
)]
async fn put(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    FilePath(path): FilePath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (condition, executable) = (condition(&headers)?, executable(&headers)?);
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(ApiError::UnsupportedMediaType("sent as it is, without a Content-Encoding"));
    }
    if headers.contains_key(CONTENT_RANGE) {
        return Err(ApiError::validation("Content-Range", "is not supported: a file is written whole"));
    }
    let mut body = Incoming::new(body);
    let declared = body.declared();
    if declared.is_some_and(|size| size > MAX_BLOB_BYTES) {
        return Err(ApiError::PayloadTooLarge { limit: MAX_BLOB_BYTES });
    }
    let files = state.repositories.files();
    let admission = files.admit(workspace.tenant, workspace.id, &path, &condition).await?;
    if declared.is_some_and(|size| size > admission.room) {
        return Err(admission.exceeded().into());
    }
    let _transfer = state.transfers.upload(workspace.tenant, declared)?;
    let mut upload = PendingUpload::begin(&state, workspace.tenant);
    while let Some(bytes) = body.next().await? {
        upload.write(&bytes).await?;
        if upload.size() > admission.room {
            return Err(admission.exceeded().into());
        }
    }
    let now = state.clock.now_millis();
    let upload = upload.complete()?;
    let written =
        files.finish(upload, workspace.tenant, workspace.id, &path, executable, &condition, now).await?;
    answer(written)
}

/// Removes a file. What it held becomes a version.
#[utoipa::path(
    delete, path = "/sessions/{id}/files/{*path}", tag = "files", operation_id = "deleteFile",
    security(("bearer" = ["member"])),
    params(
        ("id" = Uuid, Path),
        ("path" = String, Path, description = "See `getFile`"),
        ("If-Match" = Option<String>, Header, description = "`ETag`s, one of which the file must have"),
    ),
    responses(
        (status = 200, description = "It is gone", body = Answer<Empty>),
        (status = 409, description = "The workspace is still being copied"),
        (status = 412, description = "It is not the one in `If-Match`"),
    )
)]
async fn delete(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    FilePath(path): FilePath,
    headers: HeaderMap,
) -> Result<Data<Empty>, ApiError> {
    let (condition, now) = (condition(&headers)?, state.clock.now_millis());
    let files = state.repositories.files();
    files.delete(workspace.tenant, workspace.id, &path, &condition, now).await?;
    record_removal(&state, &workspace, &headers, &path, Removed::Files(1)).await?;
    Ok(Data(Empty {}))
}

/// How much was removed.
pub(super) enum Removed {
    /// Files, which stay as versions.
    Files(usize),
    /// Versions, for good.
    Versions(usize),
    /// Files, by others that were moved over them or by nothing: how many were moved.
    Replaced(usize),
}

/// Tells the audit trail that files were removed.
pub(super) async fn record_removal(
    state: &ApiState,
    workspace: &Workspace,
    headers: &HeaderMap,
    path: &str,
    removed: Removed,
) -> Result<(), ApiError> {
    let (what, count) = match removed {
        Removed::Files(count) => ("files", count),
        Removed::Versions(count) => ("versions", count),
        Removed::Replaced(count) => ("moved_over", count),
    };
    let details = [("path".to_owned(), shortened(path).into()), (what.to_owned(), Value::from(count))];
    let event = AuditEvent {
        tenant: workspace.tenant,
        actor: Some(workspace.user),
        action: AuditAction::FileDelete,
        object: AuditObject { kind: "session".into(), id: workspace.id.to_string() },
        address: client(headers).address,
        details: Map::from_iter(details),
    };
    Ok(state.audit.record(event).await?)
}

/// As much of a path as an audit entry has room for: 2 KiB.
fn shortened(path: &str) -> &str {
    const ROOM: usize = 2048;
    path.get(..path.floor_char_boundary(ROOM)).unwrap_or(path)
}

async fn find(state: &ApiState, workspace: &Workspace, path: &str) -> Result<Outgoing, ApiError> {
    let file = state.repositories.files().get(workspace.tenant, workspace.id, path).await?;
    let file = file.ok_or(ApiError::NotFound)?;
    Ok(Outgoing { content: file.content, updated_at: file.updated_at })
}

/// A file that was written, with its `ETag`.
pub(super) fn answer(written: Written) -> Result<Response, ApiError> {
    let tag = header(tag(written.file.content.sha256))?;
    let file = FileResponse::try_from(written.file)?;
    let mut response = match written.created {
        true => Created(file).into_response(),
        false => Data(file).into_response(),
    };
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}

fn executable(headers: &HeaderMap) -> Result<Option<bool>, ApiError> {
    match headers.get(EXECUTABLE).map(|value| value.as_bytes()) {
        None => Ok(None),
        Some(b"true") => Ok(Some(true)),
        Some(b"false") => Ok(Some(false)),
        Some(_) => Err(ApiError::validation("X-Coditect-Executable", "must be true or false")),
    }
}
