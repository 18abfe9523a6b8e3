//! A plugin's versions and their modules.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use coditect_store::AuditAction;
use coditect_store::records::PluginVersion;
use futures::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::scope::{PluginName, PluginScope, ScopeQuery, VersionPath};
use super::upload::{Module, WASM};
use crate::envelope::{Answer, Data, Empty, List, ListAnswer};
use crate::error::ApiError;
use crate::extract::IfMatch;
use crate::handlers::rfc3339;
use crate::state::ApiState;

/// A version of a plugin.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionResponse {
    plugin: String,
    /// Its number, counted from 1 in each plugin.
    version: u64,
    /// The SHA-256 of the module, in hexadecimal digits.
    sha256: String,
    /// The module's length in bytes.
    size: u64,
    /// The version of the Proxy-Wasm ABI it was written for.
    abi: String,
    /// The host functions it imports.
    imports: Vec<String>,
    note: String,
    uploaded_by: Uuid,
    #[schema(format = DateTime)]
    uploaded_at: String,
}

impl TryFrom<PluginVersion> for VersionResponse {
    type Error = ApiError;

    fn try_from(version: PluginVersion) -> Result<Self, ApiError> {
        Ok(Self {
            plugin: version.plugin,
            version: version.version,
            sha256: version.sha256.to_string(),
            size: version.size,
            abi: version.abi,
            imports: version.imports,
            note: version.note,
            uploaded_by: version.uploaded_by,
            uploaded_at: rfc3339(version.uploaded_at)?,
        })
    }
}

/// Lists a plugin's versions, newest first. There are at most 50, so there is one part.
#[utoipa::path(
    get, path = "/plugins/{name}/versions", tag = "plugins", operation_id = "listPluginVersions",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(("name" = String, Path), ScopeQuery),
    responses((status = 200, description = "All of the list", body = ListAnswer<VersionResponse>))
)]
pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    PluginName(name): PluginName,
) -> Result<List<VersionResponse>, ApiError> {
    let plugins = state.repositories.plugins();
    plugins.get(scope.tenant, &name).await?.ok_or(ApiError::NotFound)?;
    let versions = plugins.versions(scope.tenant, &name).await?;
    let items = versions.into_iter().map(VersionResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: None })
}

/// Reads what is known of a version.
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{version}", tag = "plugins", operation_id = "getPluginVersion",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(("name" = String, Path), ("version" = u64, Path), ScopeQuery),
    responses((status = 200, description = "The version", body = Answer<VersionResponse>))
)]
pub(super) async fn get(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    VersionPath(name, number): VersionPath,
) -> Result<Data<VersionResponse>, ApiError> {
    Ok(Data(find(&state, &scope, &name, number).await?.try_into()?))
}

/// Removes a version that is not at work.
#[utoipa::path(
    delete, path = "/plugins/{name}/versions/{version}", tag = "plugins", operation_id = "deletePluginVersion",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(
        ("name" = String, Path),
        ("version" = u64, Path),
        ("If-Match" = Option<String>, Header, description = "The plugin's `ETag`"),
        ScopeQuery,
    ),
    responses(
        (status = 200, description = "It is gone", body = Answer<Empty>),
        (status = 409, description = "It is at work: activate another, or deactivate it, first"),
        (status = 412, description = "The plugin has changed since"),
    )
)]
pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    VersionPath(name, number): VersionPath,
    IfMatch(expected): IfMatch,
) -> Result<Data<Empty>, ApiError> {
    find(&state, &scope, &name, number).await?;
    let now = state.clock.now_millis();
    let plugins = state.repositories.plugins();
    plugins.delete_version(scope.tenant, &name, number, expected, now).await?;
    scope.record(&state, AuditAction::PluginDelete, &name, json!({ "version": number })).await?;
    Ok(Data(Empty {}))
}

/// Reads a version's module.
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{version}/module", tag = "plugins", operation_id = "getPluginModule",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(("name" = String, Path), ("version" = u64, Path), ScopeQuery),
    responses((status = 200, description = "The module", body = Module, content_type = "application/wasm"))
)]
pub(super) async fn module(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    VersionPath(name, number): VersionPath,
) -> Result<Response, ApiError> {
    let version = find(&state, &scope, &name, number).await?;
    let transfer = state.transfers.download(scope.tenant, Some(version.size))?;
    let reader = state.repositories.plugins().module(scope.tenant, &version).await?;
    let headers = [
        (CONTENT_TYPE, WASM.to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CONTENT_DISPOSITION, "attachment".to_owned()),
        (CONTENT_LENGTH, reader.size().to_string()),
        (ETAG, format!("\"{}\"", version.sha256)),
    ];
    let chunks = stream::try_unfold((reader, transfer), async |(mut reader, transfer)| {
        let chunk = reader.next_chunk().await?;
        Ok::<_, coditect_store::blobs::BlobError>(chunk.map(|chunk| (chunk, (reader, transfer))))
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// A version, which must be there.
pub(super) async fn find(
    state: &ApiState,
    scope: &PluginScope,
    plugin: &str,
    version: u64,
) -> Result<PluginVersion, ApiError> {
    let found = state.repositories.plugins().version(scope.tenant, plugin, version).await?;
    found.ok_or(ApiError::NotFound)
}
