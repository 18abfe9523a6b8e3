//! Directories: listed, moved, removed. A tree is worked on in parts, each of which happens whole or not at all.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use coditect_store::records::File;
use coditect_store::{Condition, DirectoryEntry, FileError, Move, Part};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::conditions::condition;
use super::content::{Removed, record_removal};
use super::{Workspace, checked, directory};
use crate::envelope::{Answer, Data, List, ListAnswer};
use crate::error::ApiError;
use crate::extract::{Cursor, Json, PageQuery, Query};
use crate::handlers::rfc3339;
use crate::state::ApiState;

/// No further part is begun after so long: below what the edge waits for an answer.
const WORK_TIME: Duration = Duration::from_secs(20);

/// Which directory, and how deep.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TreeQuery {
    /// A directory; without it, the workspace itself.
    #[serde(default)]
    #[param(max_length = 4096)]
    path: String,
    /// Whether what lies in directories below is meant too.
    #[serde(default)]
    recursive: bool,
}

/// A file or a directory.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryResponse {
    /// The last segment of the path.
    name: String,
    /// The whole path.
    path: String,
    #[schema(inline)]
    r#type: EntryType,
    /// In bytes. This and all that follows are a file's only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    executable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    updated_at: Option<String>,
}

/// What an entry of a directory is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EntryType {
    /// It holds bytes.
    File,
    /// It is there because there are files below it.
    Directory,
}

/// How far the work on a tree has come.
#[derive(Serialize, ToSchema)]
pub(super) struct TreeResponse {
    /// How many files this request was about.
    files: usize,
    /// False if there was too much for one request: send the same again.
    complete: bool,
}

/// From where to where.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MoveRequest {
    /// A file or a directory.
    #[schema(
        min_length = 1,
        max_length = 4096,
        pattern = r"^(?!\.{1,2}(/|$))[^/\\\x00-\x1F\x7F]{1,255}(/(?!\.{1,2}(/|$))[^/\\\x00-\x1F\x7F]{1,255})*$"
    )]
    from: String,
    /// Its new path, not that of a directory to put it into.
    #[schema(
        min_length = 1,
        max_length = 4096,
        pattern = r"^(?!\.{1,2}(/|$))[^/\\\x00-\x1F\x7F]{1,255}(/(?!\.{1,2}(/|$))[^/\\\x00-\x1F\x7F]{1,255})*$"
    )]
    to: String,
    /// Whether files that are there are replaced; they become versions.
    #[serde(default)]
    replace: bool,
}

/// The operations of this file.
pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list, delete)).routes(routes!(relocate))
}

/// Lists a directory.
///
/// In the order of the paths as bytes, those of directories with a slash at their end. What is not there lists nothing:
/// directories are there for as long as there are files in them.
#[utoipa::path(
    get, path = "/sessions/{id}/files", tag = "files", operation_id = "listFiles", security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), TreeQuery, PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<EntryResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    Query(tree): Query<TreeQuery>,
    Query(page): Query<PageQuery>,
) -> Result<List<EntryResponse>, ApiError> {
    let path = directory(&tree.path)?;
    let (files, Workspace { tenant, id, .. }) = (state.repositories.files(), workspace);
    let (after, limit) = (page.after::<String>()?, page.limit());
    let (items, next) = if tree.recursive {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let page = files.list(tenant, id, &prefix, after.as_deref(), limit).await?;
        (page.items.into_iter().map(EntryResponse::of_file).collect::<Result<_, _>>()?, page.next)
    } else {
        let page = files.list_directory(tenant, id, path, after.as_deref(), limit).await?;
        (page.items.into_iter().map(EntryResponse::of).collect::<Result<_, _>>()?, page.next)
    };
    Ok(List { items, next_cursor: next.map(|place| place.write()) })
}

/// Moves a file or a directory.
///
/// A file moves in one step. A directory moves in parts: whoever reads meanwhile finds each file at its old or at its
/// new path. What is at the new place stays beside it. A request that was cut off, or did not complete, is sent again.
#[utoipa::path(
    post, path = "/sessions/{id}/files:move", tag = "files", operation_id = "moveFiles",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "`ETag`s, one of which the file must have; not for directories")),
    request_body = MoveRequest,
    responses(
        (status = 200, description = "It is there", body = Answer<TreeResponse>),
        (status = 409, description = "Something is in the way; the message says where. What was moved before stays moved"),
        (status = 412, description = "It is not the file in `If-Match`"),
    )
)]
async fn relocate(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    headers: HeaderMap,
    Json(request): Json<MoveRequest>,
) -> Result<Data<TreeResponse>, ApiError> {
    let how =
        Move { from: named("from", &request.from)?, to: named("to", &request.to)?, replace: request.replace };
    let (condition, now) = (condition(&headers)?, state.clock.now_millis());
    let (state, workspace, headers) = (&state, &workspace, &headers);
    let (files, tenant, id) = (state.repositories.files(), workspace.tenant, workspace.id);
    let replaced = |files: usize| async move {
        match how.replace && files > 0 {
            true => record_removal(state, workspace, headers, how.to, Removed::Replaced(files)).await,
            false => Ok(()),
        }
    };
    match files.move_file(tenant, id, how, &condition, now).await {
        Ok(_) => {
            replaced(1).await?;
            return Ok(Data(TreeResponse { files: 1, complete: true }));
        }
        // It may be a directory.
        Err(FileError::NotFound) if condition == Condition::Any => {}
        Err(error) => return Err(error.into()),
    }
    let (mut work, mut after) = (TreeWork::begin(), None::<String>);
    while work.goes_on() {
        match files.move_some(tenant, id, how, after.as_deref(), now).await {
            Ok(part) => after = work.add(part),
            Err(error) => {
                replaced(work.files).await?;
                return Err(error.into());
            }
        }
    }
    let done = work.done();
    replaced(done.files).await?;
    if done.files == 0 { Err(ApiError::NotFound) } else { Ok(Data(done)) }
}

/// Removes a directory with all that is in it, or a file.
///
/// Each file becomes a version. It happens in parts; a request that was cut off, or did not complete, is sent again.
#[utoipa::path(
    delete, path = "/sessions/{id}/files", tag = "files", operation_id = "deleteTree",
    security(("bearer" = ["member"])),
    params(("id" = Uuid, Path), TreeQuery),
    responses(
        (status = 200, description = "It is gone", body = Answer<TreeResponse>),
        (status = 409, description = "The workspace is still being copied"),
    )
)]
async fn delete(
    State(state): State<Arc<ApiState>>,
    workspace: Workspace,
    Query(tree): Query<TreeQuery>,
    headers: HeaderMap,
) -> Result<Data<TreeResponse>, ApiError> {
    let path = directory(&tree.path)?;
    if !tree.recursive {
        return Err(ApiError::validation("recursive", "must be true: a whole tree is removed"));
    }
    let (files, now) = (state.repositories.files(), state.clock.now_millis());
    let (tenant, id) = (workspace.tenant, workspace.id);
    let mut done = TreeResponse { files: 0, complete: true };
    if !path.is_empty() {
        match files.delete(tenant, id, path, &Condition::Any, now).await {
            Ok(_) => done.files = 1,
            Err(FileError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if done.files == 0 {
        let (mut work, mut after) = (TreeWork::begin(), None::<String>);
        while work.goes_on() {
            match files.delete_some(tenant, id, path, after.as_deref(), now).await {
                Ok(part) => after = work.add(part),
                Err(error) => {
                    if work.files > 0 {
                        let removed = Removed::Files(work.files);
                        record_removal(&state, &workspace, &headers, path, removed).await?;
                    }
                    return Err(error.into());
                }
            }
        }
        done = work.done();
    }
    if done.files == 0 && !path.is_empty() {
        return Err(ApiError::NotFound);
    }
    record_removal(&state, &workspace, &headers, path, Removed::Files(done.files)).await?;
    Ok(Data(done))
}

/// Work that is done part after part, for as long as a request may take.
struct TreeWork {
    begun: Instant,
    files: usize,
    complete: bool,
}

impl TreeWork {
    fn begin() -> Self {
        Self { begun: Instant::now(), files: 0, complete: false }
    }

    fn goes_on(&self) -> bool {
        !self.complete && self.begun.elapsed() < WORK_TIME
    }

    /// Counts a part; returns where the next one begins.
    fn add(&mut self, part: Part) -> Option<String> {
        self.files += part.files;
        self.complete = part.next.is_none();
        part.next
    }

    fn done(self) -> TreeResponse {
        TreeResponse { files: self.files, complete: self.complete }
    }
}

/// A path in the body, by the name of its field.
fn named<'a>(field: &str, path: &'a str) -> Result<&'a str, ApiError> {
    checked(path).map_err(|error| match error {
        ApiError::Validation { reason, .. } => ApiError::validation(field, reason),
        error => error,
    })
}

impl EntryResponse {
    fn of(entry: DirectoryEntry) -> Result<Self, ApiError> {
        match entry {
            DirectoryEntry::File(file) => Self::of_file(file),
            DirectoryEntry::Directory(path) => Ok(Self {
                name: name(&path),
                path,
                r#type: EntryType::Directory,
                size: None,
                sha256: None,
                executable: None,
                version: None,
                updated_at: None,
            }),
        }
    }

    fn of_file(file: File) -> Result<Self, ApiError> {
        Ok(Self {
            name: name(&file.path),
            path: file.path,
            r#type: EntryType::File,
            size: Some(file.content.size),
            sha256: Some(file.content.sha256.to_string()),
            executable: Some(file.content.executable),
            version: Some(file.version),
            updated_at: Some(rfc3339(file.updated_at)?),
        })
    }
}

fn name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}
