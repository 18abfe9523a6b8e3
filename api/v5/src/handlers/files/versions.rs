//! What files held before: listed, read, brought back, forgotten. Which versions are kept is the tenant's setting
//! `files.versions`: `{"keep": 20, "days": 30}` unless it is set.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use coditect_store::records::FileVersion;
use http::HeaderMap;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::conditions::condition;
use super::content::answer;
use super::content::{Removed, record_removal};
use super::outgoing::Outgoing;
use super::{FileResponse, RawBytes, Workspace, captured, checked, directory};
use crate::envelope::{Answer, Data, List, ListAnswer};
use crate::error::ApiError;
use crate::extract::{Cursor, PageQuery, Query};
use crate::handlers::rfc3339;
use crate::state::ApiState;

/// How often a request goes on to forget versions: 100 each time.
const PARTS_AT_ONCE: usize = 100;

/// Of which path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PathQuery {
    /// A file's path, also that of one that is no more.
    #[param(min_length = 1, max_length = 4096)]
    path: String,
}

/// Of which path, and whether also of what lies below.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct VersionsQuery {
    /// A file's path, also that of one that is no more; or a directory.
    #[serde(default)]
    #[param(max_length = 4096)]
    path: String,
    /// Whether the versions of everything below `path` are meant; without a path, of the whole workspace.
    #[serde(default)]
    recursive: bool,
}

/// What a path held before.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionResponse {
    path: String,
    version: u64,
    /// In bytes.
    size: u64,
    sha256: String,
    executable: bool,
    /// When it came to be.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When it was replaced or removed.
    #[schema(format = DateTime)]
    replaced_at: String,
}

/// How many versions were forgotten.
#[derive(Serialize, ToSchema)]
pub(super) struct ForgottenResponse {
    versions: usize,
    /// False if there were too many for one request: send the same again.
    complete: bool,
}

/// The `{version}` of the path.
pub(super) struct Number(u64);

impl FromRequestParts<Arc<ApiState>> for Number {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        let number = captured(parts, state, "version").await?;
        number.parse().map(Self).map_err(|_| ApiError::NotFound)
    }
}

impl TryFrom<FileVersion> for VersionResponse {
    type Error = ApiError;

    fn try_from(version: FileVersion) -> Result<Self, ApiError> {
        Ok(Self {
            path: version.path,
            version: version.version,
            size: version.content.size,
            sha256: version.content.sha256.to_string(),
            executable: version.content.executable,
            updated_at: rfc3339(version.updated_at)?,
            replaced_at: rfc3339(version.replaced_at)?,
        })
    }
}

/// The operations of this file.
pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list, delete)).routes(routes!(get)).routes(routes!(restore))
}

/// Lists what a path held before, newest first; or with `recursive`, what everything below it did, by path and version.
#[utoipa::path(
    get, path = "/sessions/{id}/versions", tag = "files", operation_id = "listFileVersions",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), VersionsQuery, PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<VersionResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    Query(query): Query<VersionsQuery>,
    Query(page): Query<PageQuery>,
) -> Result<List<VersionResponse>, ApiError> {
    let (files, Workspace { tenant, id, .. }) = (state.repositories.files(), workspace);
    let (items, next_cursor) = if query.recursive {
        let path = directory(&query.path)?;
        let page =
            files.versions_below(tenant, id, path, place(page.after::<String>()?)?, page.limit()).await?;
        (page.items, page.next.map(|(path, version)| format!("{version}.{path}").write()))
    } else {
        let path = checked(&query.path)?;
        let page = files.versions(tenant, id, path, page.after::<u64>()?, page.limit()).await?;
        (page.items, page.next.map(|version| version.write()))
    };
    Ok(List { items: items.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?, next_cursor })
}

/// A place in the list of everything's versions: `<version>.<path>`.
fn place(cursor: Option<String>) -> Result<Option<(String, u64)>, ApiError> {
    let read = |text: String| {
        let (version, path) = text.split_once('.')?;
        Some((path.to_owned(), version.parse().ok()?))
    };
    let wrong = || ApiError::validation("cursor", "must be a next_cursor of this list");
    cursor.map(|text| read(text).ok_or_else(wrong)).transpose()
}

/// Reads what a path held before, as `getFile` reads what it holds.
#[utoipa::path(
    get, path = "/sessions/{id}/versions/{version}", tag = "files", operation_id = "getFileVersion",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("version" = u64, Path), PathQuery,
        ("Range" = Option<String>, Header, description = "One range of bytes")),
    responses(
        (status = 200, description = "What it held", body = RawBytes, content_type = "application/octet-stream"),
        (status = 206, description = "The part asked for", body = RawBytes, content_type = "application/octet-stream"),
        (status = 304, description = "The client has it"),
        (status = 412, description = "It is not the one in `If-Match`"),
        (status = 416, description = "It ends before the range begins"),
    )
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    Number(version): Number,
    Query(PathQuery { path }): Query<PathQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = checked(&path)?;
    let version = state.repositories.files().version(workspace.tenant, workspace.id, path, version).await?;
    let version = version.ok_or(ApiError::NotFound)?;
    let outgoing = Outgoing { content: version.content, updated_at: version.updated_at };
    outgoing.get(&state, workspace.tenant, &headers).await
}

/// Lets a path hold again what it held before. What it holds now becomes a version.
#[utoipa::path(
    post, path = "/sessions/{id}/versions/{version}/restore", tag = "files", operation_id = "restoreFileVersion",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("version" = u64, Path), PathQuery,
        ("If-Match" = Option<String>, Header, description = "`ETag`s, one of which the file must have, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be no file")),
    responses(
        (status = 200, description = "It was replaced", body = Answer<FileResponse>),
        (status = 201, description = "It is there again", body = Answer<FileResponse>),
        (status = 409, description = "A file cannot be a directory too"),
        (status = 412, description = "It is not what the preconditions say"),
        (status = 507, description = "The tenant's quota is exceeded; nothing has changed"),
    )
)]
async fn restore(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    Number(version): Number,
    Query(PathQuery { path }): Query<PathQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (path, condition, now) = (checked(&path)?, condition(&headers)?, state.clock.now_millis());
    let files = state.repositories.files();
    answer(files.restore(workspace.tenant, workspace.id, path, version, &condition, now).await?)
}

/// Forgets what a path held before, and with `recursive` what everything below it did. It no longer counts for the
/// tenant's quota.
#[utoipa::path(
    delete, path = "/sessions/{id}/versions", tag = "files", operation_id = "deleteFileVersions",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), VersionsQuery),
    responses(
        (status = 200, description = "They are gone", body = Answer<ForgottenResponse>),
        (status = 409, description = "The workspace is still being copied"),
    )
)]
async fn delete(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    Query(query): Query<VersionsQuery>,
    headers: HeaderMap,
) -> Result<Data<ForgottenResponse>, ApiError> {
    let path = if query.recursive { directory(&query.path)? } else { checked(&query.path)? };
    let (files, now) = (state.repositories.files(), state.clock.now_millis());
    let mut done = ForgottenResponse { versions: 0, complete: false };
    for _ in 0..PARTS_AT_ONCE {
        let (some, more) =
            files.forget_some(workspace.tenant, workspace.id, path, query.recursive, now).await?;
        done.versions += some;
        done.complete = !more;
        if done.complete {
            break;
        }
    }
    if done.versions > 0 {
        record_removal(&state, &workspace, &headers, path, Removed::Versions(done.versions)).await?;
    }
    Ok(Data(done))
}
