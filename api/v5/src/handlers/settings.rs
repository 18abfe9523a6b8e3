//! `/api/v5/settings`: named values, of each user, and of the tenant. Every member reads the tenant's; its owners and
//! admins set them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use coditect_store::records::{FIRST_VERSION, Setting, SettingScope};
use coditect_store::{AuditAction, RETENTION_SETTING, Retention, SettingOwner};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rfc3339;
use crate::access::require_admin;
use crate::envelope::{Answer, CreatedVersioned, Data, Empty, List, ListAnswer, Versioned};
use crate::error::ApiError;
use crate::extract::{Caller, Cursor, Expected, IfMatch, Json, PageQuery, Query, Segment, Sender};
use crate::state::ApiState;
use crate::trail::Deed;
use crate::validate;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, delete))
}

/// Whose settings are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// The caller's own.
    #[default]
    User,
    /// Those of all users of the tenant.
    Tenant,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ScopeQuery {
    /// Whose settings are meant: the caller's own (`user`), or those of all users of the `tenant`.
    #[serde(default)]
    #[param(inline, default = "user")]
    scope: Scope,
}

/// What to set.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SettingRequest {
    /// Any JSON of at most 65,536 bytes, `null` too.
    value: Value,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SettingResponse {
    key: String,
    #[schema(inline)]
    scope: Scope,
    value: Value,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl TryFrom<Setting> for SettingResponse {
    type Error = ApiError;

    fn try_from(setting: Setting) -> Result<Self, ApiError> {
        let scope = match setting.scope {
            SettingScope::User => Scope::User,
            SettingScope::Tenant => Scope::Tenant,
        };
        Ok(Self {
            key: setting.key,
            scope,
            value: setting.value,
            created_at: rfc3339(setting.created_at)?,
            updated_at: rfc3339(setting.updated_at)?,
        })
    }
}

impl Scope {
    fn owner(self, caller: &Caller) -> SettingOwner {
        match self {
            Self::User => SettingOwner::User(caller.user()),
            Self::Tenant => SettingOwner::Tenant,
        }
    }

    /// Lets through who may change settings of this scope.
    async fn check_write(self, state: &ApiState, caller: &Caller) -> Result<(), ApiError> {
        match self {
            Self::User => Ok(()),
            Self::Tenant => {
                require_admin(state, caller, "only owners and admins change settings of the tenant").await
            }
        }
    }
}

/// Lists settings in the order of their keys.
#[utoipa::path(
    get, path = "/settings", tag = "settings", operation_id = "listSettings", security(("bearer" = ["member"])),
    params(ScopeQuery, PageQuery),
    responses((status = 200, description = "A part of the list", body = ListAnswer<SettingResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Query(ScopeQuery { scope }): Query<ScopeQuery>,
    Query(page): Query<PageQuery>,
) -> Result<List<SettingResponse>, ApiError> {
    let after = page.after::<String>()?;
    let settings = state.repositories.settings();
    let page = settings.list(caller.tenant(), scope.owner(&caller), after.as_deref(), page.limit()).await?;
    let items = page.items.into_iter().map(SettingResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: page.next.map(|next| next.write()) })
}

/// Reads a setting.
#[utoipa::path(
    get, path = "/settings/{key}", tag = "settings", operation_id = "getSetting", security(("bearer" = ["member"])),
    params(("key" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$"), ScopeQuery),
    responses((status = 200, description = "The setting", body = Answer<SettingResponse>))
)]
async fn get(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Segment(key): Segment,
    Query(ScopeQuery { scope }): Query<ScopeQuery>,
) -> Result<Versioned<SettingResponse>, ApiError> {
    let key = validate::setting_key(&key)?;
    let setting = state.repositories.settings().get(caller.tenant(), scope.owner(&caller), key).await?;
    let setting = setting.ok_or(ApiError::NotFound)?;
    Ok(Versioned(setting.version, setting.try_into()?))
}

/// Sets a setting. The tenant's are set by owners and admins.
#[utoipa::path(
    put, path = "/settings/{key}", tag = "settings", operation_id = "putSetting", security(("bearer" = ["member"])),
    params(
        ("key" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$"),
        ScopeQuery,
        ("If-Match" = Option<String>, Header, description = "The setting's `ETag`, or `*` if it must be set"),
        ("If-None-Match" = Option<String>, Header, description = "`*` if it must not be set yet"),
    ),
    request_body = SettingRequest,
    responses(
        (status = 200, description = "The setting as it is now", body = Answer<SettingResponse>),
        (status = 201, description = "The setting, which is new", body = Answer<SettingResponse>),
        (status = 412, description = "It has changed since, or is set already, or is not"),
    )
)]
async fn put(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Sender(client): Sender,
    Segment(key): Segment,
    Query(ScopeQuery { scope }): Query<ScopeQuery>,
    expected: Expected,
    Json(request): Json<SettingRequest>,
) -> Result<Response, ApiError> {
    let key = validate::setting_key(&key)?;
    validate::setting_value(&request.value)?;
    if scope == Scope::Tenant && key == RETENTION_SETTING {
        Retention::parse(&request.value)
            .map_err(|reason| ApiError::validation("value", reason.to_string()))?;
    }
    scope.check_write(&state, &caller).await?;
    let (tenant, owner, now) = (caller.tenant(), scope.owner(&caller), state.clock.now_millis());
    let settings = state.repositories.settings();
    let expected = match expected {
        Expected::Anything => None,
        Expected::Nothing => Some(0),
        // Whatever is there now; should that change before it is written, the client learns of it.
        Expected::Something => {
            let found = settings.get(tenant, owner, key).await?;
            Some(found.ok_or(ApiError::VersionMismatch)?.version)
        }
        Expected::Version(version) => Some(version),
    };
    let setting = settings.put(tenant, owner, key, &request.value, expected, now).await?;
    if scope == Scope::Tenant {
        let deed = Deed::by(&caller.0.claims, &client).with("version", setting.version);
        deed.record(&state, AuditAction::SettingUpdate, "setting", key).await?;
    }
    let is_new = setting.version == FIRST_VERSION && setting.created_at == now;
    let version = setting.version;
    let setting = SettingResponse::try_from(setting)?;
    Ok(match is_new {
        true => CreatedVersioned(version, setting).into_response(),
        false => Versioned(version, setting).into_response(),
    })
}

/// Removes a setting. The tenant's are removed by owners and admins.
#[utoipa::path(
    delete, path = "/settings/{key}", tag = "settings", operation_id = "deleteSetting",
    security(("bearer" = ["member"])),
    params(
        ("key" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$"),
        ScopeQuery,
        ("If-Match" = Option<String>, Header, description = "The setting's `ETag`"),
    ),
    responses(
        (status = 200, description = "It is gone", body = Answer<Empty>),
        (status = 412, description = "It has changed since"),
    )
)]
async fn delete(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Sender(client): Sender,
    Segment(key): Segment,
    Query(ScopeQuery { scope }): Query<ScopeQuery>,
    IfMatch(version): IfMatch,
) -> Result<Data<Empty>, ApiError> {
    let key = validate::setting_key(&key)?;
    scope.check_write(&state, &caller).await?;
    state.repositories.settings().delete(caller.tenant(), scope.owner(&caller), key, version).await?;
    if scope == Scope::Tenant {
        let deed = Deed::by(&caller.0.claims, &client).with("removed", true);
        deed.record(&state, AuditAction::SettingUpdate, "setting", key).await?;
    }
    Ok(Data(Empty {}))
}
