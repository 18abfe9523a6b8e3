//! Putting plugins to work, back to work, and out of it.

use std::sync::Arc;

use axum::extract::State;
use coditect_store::AuditAction;
use coditect_store::records::PluginActivation;
use serde_json::{Value, json};

use super::activation::{ActivateRequest, ActivationResponse, TargetRequest};
use super::scope::{PluginName, PluginScope, ScopeQuery};
use super::upload;
use crate::envelope::{Answer, List, ListAnswer, Versioned};
use crate::error::ApiError;
use crate::extract::{Cursor, IfMatch, Json, OptionalJson, PageQuery, Query};
use crate::plugins::PluginTrial;
use crate::state::ApiState;

/// Lists a plugin's activations, newest first: those at work, and the history.
#[utoipa::path(
    get, path = "/plugins/{name}/activations", tag = "plugins", operation_id = "listPluginActivations",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(("name" = String, Path), ScopeQuery, PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<ActivationResponse>))
)]
pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    PluginName(name): PluginName,
    Query(page): Query<PageQuery>,
) -> Result<List<ActivationResponse>, ApiError> {
    // What no key can hold is no cursor of ours.
    let before: Option<u64> = page.after::<i64>()?.map(i64::unsigned_abs);
    let plugins = state.repositories.plugins();
    plugins.get(scope.tenant, &name).await?.ok_or(ApiError::NotFound)?;
    let found = plugins.activations(scope.tenant, &name, before, page.limit()).await?;
    let items = found.items.into_iter().map(ActivationResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: found.next.map(|number| number.write()) })
}

/// Puts a version to work, in the place of what is at work for the same target. It is started with its configuration
/// first, and refused with what is wrong.
#[utoipa::path(
    post, path = "/plugins/{name}/activate", tag = "plugins", operation_id = "activatePlugin",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The plugin's `ETag`"),
        ScopeQuery,
    ),
    request_body = ActivateRequest,
    responses(
        (status = 200, description = "The activation; `ETag` is the plugin's", body = Answer<ActivationResponse>),
        (status = 409, description = "There are as many plugins at work as there may be"),
        (status = 412, description = "The plugin has changed since"),
        (status = 422, description = "The plugin does not work with this configuration, or a field is wrong"),
    )
)]
pub(super) async fn activate(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    PluginName(name): PluginName,
    IfMatch(expected): IfMatch,
    Json(request): Json<ActivateRequest>,
) -> Result<Versioned<ActivationResponse>, ApiError> {
    let new = request.validate(&scope)?;
    let plugins = state.repositories.plugins();
    plugins.get(scope.tenant, &name).await?.ok_or(ApiError::NotFound)?;
    let version = plugins.version(scope.tenant, &name, new.version).await?;
    let version = version.ok_or(coditect_store::PluginError::NoVersion(new.version))?;
    let trial = state.plugins.run(scope.tenant, async {
        Ok::<_, ApiError>(PluginTrial {
            name: name.clone(),
            module: upload::read(&state.repositories, scope.tenant, &version.sha256).await?,
            root_id: new.settings.root_id.clone(),
            configuration: Some(new.settings.configuration.clone()),
        })
    });
    trial.await?;
    let now = state.clock.now_millis();
    let place = (scope.tenant, name.as_str());
    let (plugin, activation) = plugins.activate(place, &new, scope.caller.user(), expected, now).await?;
    scope.record(&state, AuditAction::PluginActivate, &name, details(&activation)).await?;
    Ok(Versioned(plugin.version, activation.try_into()?))
}

/// Puts back to work what was so before what is now, as it was; a second time, what was before that. It worked then,
/// so that it is not tried out again: a roll-back waits for nothing.
#[utoipa::path(
    post, path = "/plugins/{name}/rollback", tag = "plugins", operation_id = "rollBackPlugin",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The plugin's `ETag`"),
        ScopeQuery,
    ),
    request_body = Option<TargetRequest>,
    responses(
        (status = 200, description = "The activation; `ETag` is the plugin's", body = Answer<ActivationResponse>),
        (status = 409, description = "Nothing is at work there, or there is nothing to go back to"),
        (status = 412, description = "The plugin has changed since"),
    )
)]
pub(super) async fn roll_back(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    PluginName(name): PluginName,
    IfMatch(expected): IfMatch,
    OptionalJson(request): OptionalJson<TargetRequest>,
) -> Result<Versioned<ActivationResponse>, ApiError> {
    let target = request.unwrap_or_default().validate(&scope)?;
    let now = state.clock.now_millis();
    let (place, by) = ((scope.tenant, name.as_str()), scope.caller.user());
    let plugins = state.repositories.plugins();
    let (plugin, activation) = plugins.roll_back(place, &target, by, expected, now).await?;
    scope.record(&state, AuditAction::PluginActivate, &name, details(&activation)).await?;
    Ok(Versioned(plugin.version, activation.try_into()?))
}

/// Takes a plugin out of work.
#[utoipa::path(
    post, path = "/plugins/{name}/deactivate", tag = "plugins", operation_id = "deactivatePlugin",
    security(("bearer" = ["owner"]), ("bearer" = ["operator"])),
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The plugin's `ETag`"),
        ScopeQuery,
    ),
    request_body = Option<TargetRequest>,
    responses(
        (status = 200, description = "What ended; `ETag` is the plugin's", body = Answer<ActivationResponse>),
        (status = 409, description = "Nothing is at work there"),
        (status = 412, description = "The plugin has changed since"),
    )
)]
pub(super) async fn deactivate(
    State(state): State<Arc<ApiState>>,
    scope: PluginScope,
    PluginName(name): PluginName,
    IfMatch(expected): IfMatch,
    OptionalJson(request): OptionalJson<TargetRequest>,
) -> Result<Versioned<ActivationResponse>, ApiError> {
    let target = request.unwrap_or_default().validate(&scope)?;
    let now = state.clock.now_millis();
    let (place, by) = ((scope.tenant, name.as_str()), scope.caller.user());
    let plugins = state.repositories.plugins();
    let (plugin, ended) = plugins.deactivate(place, &target, by, expected, now).await?;
    scope.record(&state, AuditAction::PluginDeactivate, &name, details(&ended)).await?;
    Ok(Versioned(plugin.version, ended.try_into()?))
}

/// What the audit trail keeps of an activation: never the configuration, which may hold secrets.
fn details(activation: &PluginActivation) -> Value {
    json!({
        "version": activation.version,
        "activation": activation.activation,
        "route": activation.target.route,
        "tenant_id": activation.target.tenant,
        "restores": activation.restores,
        "shadow": activation.settings.shadow,
        "share_percent": activation.settings.share_percent,
    })
}
