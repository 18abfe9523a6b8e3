//! `/api/v5/plugins`: uploaded plugins, their versions, and which of them are at work. A tenant's are its owners' to
//! manage; with `?scope=operators` the operators manage theirs, which are for all tenants.

mod activation;
mod activations;
mod scope;
mod upload;
mod versions;

use std::sync::Arc;

use axum::extract::State;
use coditect_store::AuditAction;
use coditect_store::records::{Plugin, PluginActivation};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::activation::ActivationResponse;
use self::scope::{PluginName, PluginScope, ScopeQuery};
use super::rfc3339;
use crate::envelope::{Answer, Data, Empty, List, ListAnswer, Versioned};
use crate::error::ApiError;
use crate::extract::{Cursor, IfMatch, PageQuery, Query};
use crate::state::ApiState;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, delete))
        .routes(routes!(versions::list, upload::upload))
        .routes(routes!(versions::get, versions::delete))
        .routes(routes!(versions::module))
        .routes(routes!(activations::list))
        .routes(routes!(activations::activate))
        .routes(routes!(activations::roll_back))
        .routes(routes!(activations::deactivate))
}

/// A plugin.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginResponse {
    name: String,
    /// The number of its newest version.
    latest_version: u64,
    /// How many versions are kept.
    versions: u64,
    /// The bytes of their modules together.
    module_bytes: u64,
    /// What is at work.
    active: Vec<ActivationResponse>,
    created_by: Uuid,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl PluginResponse {
    fn new(plugin: Plugin, active: impl IntoIterator<Item = PluginActivation>) -> Result<Self, ApiError> {
        Ok(Self {
            name: plugin.name,
            latest_version: plugin.latest,
            versions: plugin.versions,
            module_bytes: plugin.module_bytes,
            active: active.into_iter().map(ActivationResponse::try_from).collect::<Result<_, _>>()?,
            created_by: plugin.created_by,
            created_at: rfc3339(plugin.created_at)?,
            updated_at: rfc3339(plugin.updated_at)?,
        })
    }
}

/// Lists plugins by name, each with what is at work of it.
#[utoipa::path(
    get, path = "/plugins", tag = "plugins", operation_id = "listPlugins",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(ScopeQuery, PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<PluginResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    Query(page): Query<PageQuery>,
) -> Result<List<PluginResponse>, ApiError> {
    let after: Option<String> = page.after()?;
    let plugins = state.repositories.plugins();
    let found = plugins.list(scope.tenant, after.as_deref(), page.limit()).await?;
    let active = plugins.active(scope.tenant).await?;
    let items = found.items.into_iter().map(|plugin| {
        let of_it = active.iter().filter(|active| active.activation.plugin == plugin.name);
        let of_it: Vec<_> = of_it.map(|active| active.activation.clone()).collect();
        PluginResponse::new(plugin, of_it)
    });
    let items = items.collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: found.next.map(|name| name.write()) })
}

/// Reads a plugin, with what is at work of it.
#[utoipa::path(
    get, path = "/plugins/{name}", tag = "plugins", operation_id = "getPlugin",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(("name" = String, Path), ScopeQuery),
    responses((status = 200, description = "The plugin", body = Answer<PluginResponse>))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    PluginName(name): PluginName,
) -> Result<Versioned<PluginResponse>, ApiError> {
    let plugins = state.repositories.plugins();
    let plugin = plugins.get(scope.tenant, &name).await?.ok_or(ApiError::NotFound)?;
    let active = plugins.active_of(scope.tenant, &name).await?;
    Ok(Versioned(plugin.version, PluginResponse::new(plugin, active)?))
}

/// Removes a plugin that is not at work, with all its versions and its history.
#[utoipa::path(
    delete, path = "/plugins/{name}", tag = "plugins", operation_id = "deletePlugin",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The plugin's `ETag`"),
        ScopeQuery,
    ),
    responses(
        (status = 200, description = "It is gone", body = Answer<Empty>),
        (status = 409, description = "It is at work: deactivate it first"),
        (status = 412, description = "It has changed since"),
    )
)]
async fn delete(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    PluginName(name): PluginName,
    IfMatch(version): IfMatch,
) -> Result<Data<Empty>, ApiError> {
    let now = state.clock.now_millis();
    let gone = state.repositories.plugins().delete(scope.tenant, &name, version, now).await?;
    let details = json!({ "versions": gone.versions, "latest_version": gone.latest });
    scope.record(&state, AuditAction::PluginDelete, &name, details).await?;
    Ok(Data(Empty {}))
}
