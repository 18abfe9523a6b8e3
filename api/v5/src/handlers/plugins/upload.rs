//! Uploading a version: the module is received into memory, within the budget of transfers, tried out, and only then
//! written and kept as a version. What is refused leaves nothing in the store.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use coditect_store::blobs::{BlobError, BlobHash, BlobRef};
use coditect_store::{AuditAction, MAX_MODULE_BYTES, NewPluginVersion, Repositories};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::scope::{PluginScope, ScopeQuery, is_name};
use super::versions::VersionResponse;
use crate::envelope::{Answer, CreatedVersioned, Versioned};
use crate::error::ApiError;
use crate::extract::{IfMatch, Query};
use crate::incoming::Incoming;
use crate::plugins::PluginTrial;
use crate::state::ApiState;
use crate::upload::PendingUpload;

/// The media type of modules.
pub(super) const WASM: &str = "application/wasm";
/// [`MAX_MODULE_BYTES`], as the length of what is in memory.
const MAX_BYTES: usize = MAX_MODULE_BYTES as usize;
/// How long a module may take to arrive.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(120);
/// What a module of the core binary format begins with: magic number and version (WebAssembly core, 5.5.16).
const PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";
/// The longest note, in characters.
const MAX_NOTE_CHARS: usize = 500;

/// A module in the WebAssembly binary format, at most 16 MiB.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct Module(#[allow(dead_code, reason = "it only describes the body")] Vec<u8>);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// What the uploader says about the version: at most 500 characters.
    #[param(max_length = 500, pattern = r"^[^\x00-\x1F\x7F-\x9F]*$")]
    note: Option<String>,
}

/// Uploads a module as a plugin's next version, and makes the plugin where there is none. The module is compiled and
/// started, and refused with what is wrong with it. The very module of the latest version makes no new one: 200.
#[utoipa::path(
    post, path = "/plugins/{name}/versions", tag = "plugins", operation_id = "uploadPluginVersion",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(
        ("name" = String, Path, description = "1 to 63 of a-z, 0-9 and -, not beginning with -"),
        ("If-Match" = Option<String>, Header, description = "The plugin's `ETag`"),
        ScopeQuery,
        UploadQuery,
    ),
    request_body(content = Module, content_type = "application/wasm"),
    responses(
        (status = 200, description = "The latest version, which has this module already", body = Answer<VersionResponse>),
        (status = 201, description = "The version", body = Answer<VersionResponse>),
        (status = 409, description = "There are as many plugins, versions or bytes as there may be"),
        (status = 412, description = "The plugin has changed since"),
        (status = 422, description = "The module does not work here, or a field is wrong"),
    )
)]
pub(super) async fn upload(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    axum::extract::Path(name): axum::extract::Path<String>,
    Query(query): Query<UploadQuery>,
    IfMatch(expected): IfMatch,
    request: Request,
) -> Result<Response, ApiError> {
    if !is_name(&name) {
        let rule = "must have 1 to 63 of a-z, 0-9 and -, and not begin with -";
        return Err(ApiError::validation("name", rule));
    }
    let note = query.note.unwrap_or_default();
    if note.chars().count() > MAX_NOTE_CHARS || note.chars().any(char::is_control) {
        let rule = "must have at most 500 characters and no control characters";
        return Err(ApiError::validation("note", rule));
    }
    check_content_type(request.headers())?;
    let body = Incoming::new(request.into_body());
    let declared = body.declared();
    // Nobody waits for a body whose declared length is refused anyway.
    if declared.is_some_and(|size| size > MAX_MODULE_BYTES) {
        return Err(ApiError::PayloadTooLarge { limit: MAX_MODULE_BYTES });
    }
    let _transfer = state.transfers.whole(scope.tenant, declared, MAX_BYTES)?;
    let received = tokio::time::timeout(UPLOAD_DEADLINE, receive(body)).await;
    let module = received.map_err(|_| ApiError::RequestTimeout)??;
    let plugins = state.repositories.plugins();
    let content = BlobRef { hash: BlobHash::of(&module), size: module.len() as u64 };
    plugins.admit(scope.tenant, &name, content, expected).await?;
    let trial = PluginTrial {
        name: name.clone(),
        module: module.clone(),
        root_id: String::new(),
        configuration: None,
    };
    let facts = state.plugins.run(scope.tenant, async { Ok::<_, ApiError>(trial) }).await?;
    let module = write(&state, scope.tenant, &module).await?;
    let new = NewPluginVersion {
        tenant: scope.tenant,
        plugin: name.clone(),
        module,
        abi: facts.abi,
        imports: facts.imports,
        note,
        by: scope.caller.user(),
    };
    let now = state.clock.now_millis();
    let (plugin, version, is_new) = plugins.add_version(&new, expected, now).await?;
    if !is_new {
        return Ok(Versioned(plugin.version, VersionResponse::try_from(version)?).into_response());
    }
    let details = json!({ "version": version.version, "sha256": version.sha256, "size": version.size });
    scope.record(&state, AuditAction::PluginUpload, &name, details).await?;
    Ok(CreatedVersioned(plugin.version, VersionResponse::try_from(version)?).into_response())
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(WASM) { Ok(()) } else { Err(ApiError::UnsupportedMediaType(WASM)) }
}

/// Receives a module. What does not begin as a module does is not taken to its end.
async fn receive(mut body: Incoming) -> Result<Bytes, ApiError> {
    let mut module = Vec::new();
    while let Some(bytes) = body.next().await? {
        if bytes.len() > MAX_BYTES - module.len() {
            return Err(ApiError::PayloadTooLarge { limit: MAX_MODULE_BYTES });
        }
        grow(&mut module, bytes.len());
        module.extend_from_slice(&bytes);
        if !module.iter().zip(PREAMBLE).all(|(is, expected)| is == expected) {
            return Err(not_wasm());
        }
    }
    if module.len() < PREAMBLE.len() { Err(not_wasm()) } else { Ok(module.into()) }
}

/// Makes room for more bytes, twice as much as there was each time and never more than the largest module takes, so that
/// little memory is taken for what has not come yet.
fn grow(module: &mut Vec<u8>, more: usize) {
    let needed = module.len().saturating_add(more);
    if needed > module.capacity() {
        let room = module.capacity().saturating_mul(2).min(MAX_BYTES).max(needed);
        module.reserve_exact(room - module.len());
    }
}

/// Writes a module that passed as a blob, for a version to refer to.
async fn write(state: &ApiState, tenant: Uuid, module: &[u8]) -> Result<BlobRef, ApiError> {
    let mut upload = PendingUpload::begin(state, tenant);
    upload.write(module).await?;
    Ok(upload.complete()?.finish().await?)
}

fn not_wasm() -> ApiError {
    ApiError::PluginRefused("it is no module in the WebAssembly binary format, version 1".into())
}

/// The module of a blob.
///
/// # Errors
///
/// As a read's; [`BlobError::NotFound`] if it is not there.
pub(super) async fn read(
    repositories: &Repositories,
    tenant: Uuid,
    hash: &BlobHash,
) -> Result<Bytes, BlobError> {
    let found = repositories.blobs().open(tenant, hash).await?;
    let mut reader = found.ok_or(BlobError::NotFound { hash: *hash })?;
    // No module is larger than what fits into memory many times over.
    let mut bytes = BytesMut::with_capacity(usize::try_from(reader.size()).unwrap_or_default());
    while let Some(chunk) = reader.next_chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
