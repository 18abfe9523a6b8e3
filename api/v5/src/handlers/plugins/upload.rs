//! Uploading a version: the module is streamed into the store, where nobody refers to it yet, tried out, and only then
//! kept as a version. What is refused is collected with other unreferenced contents.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use coditect_store::blobs::{BlobError, BlobHash, BlobRef, Upload};
use coditect_store::{AuditAction, MAX_MODULE_BYTES, NewPluginVersion, Repositories};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::scope::{PluginScope, ScopeQuery, is_name};
use super::versions::VersionResponse;
use crate::envelope::{Answer, CreatedVersioned, Versioned};
use crate::error::ApiError;
use crate::extract::{IfMatch, Query};
use crate::plugins::PluginTrial;
use crate::state::ApiState;

/// The media type of modules.
pub(super) const WASM: &str = "application/wasm";
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
    let module = receive(&state.repositories, scope.tenant, request.into_body()).await?;
    let facts = state.plugins.run(async {
        let bytes = read(&state.repositories, scope.tenant, &module.hash).await?;
        Ok::<_, ApiError>(PluginTrial {
            name: name.clone(),
            module: bytes,
            root_id: String::new(),
            configuration: None,
        })
    });
    let facts = facts.await?;
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
    let (plugin, version, is_new) = state.repositories.plugins().add_version(&new, expected, now).await?;
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

/// Streams a module into the store. What does not begin as a module does is not taken to its end.
async fn receive(repositories: &Repositories, tenant: Uuid, body: Body) -> Result<BlobRef, ApiError> {
    // Nobody waits for a body whose declared length is refused anyway.
    if body.size_hint().lower() > MAX_MODULE_BYTES {
        return Err(ApiError::PayloadTooLarge { limit: MAX_MODULE_BYTES });
    }
    let mut upload = repositories.blobs().with_limit(MAX_MODULE_BYTES).upload(tenant);
    let received = match tokio::time::timeout(UPLOAD_DEADLINE, take(&mut upload, body)).await {
        Ok(received) => received,
        Err(_) => Err(ApiError::RequestTimeout),
    };
    match received {
        Ok(()) => Ok(upload.finish().await?),
        Err(refused) => {
            // If this fails too, what was written is collected an hour later.
            if let Err(error) = upload.abort().await {
                tracing::debug!(%error, "an upload that was refused is left to the collector");
            }
            Err(refused)
        }
    }
}

async fn take(upload: &mut Upload, mut body: Body) -> Result<(), ApiError> {
    let mut beginning = Vec::with_capacity(PREAMBLE.len());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::UnreadableBody)?;
        let Ok(bytes) = frame.into_data() else { continue };
        let missing = PREAMBLE.len() - beginning.len();
        beginning.extend(bytes.iter().take(missing));
        if !PREAMBLE.starts_with(&beginning) {
            return Err(not_wasm());
        }
        upload.write(&bytes).await?;
    }
    if beginning.len() < PREAMBLE.len() { Err(not_wasm()) } else { Ok(()) }
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
