//! Whose plugins a request is about, and which.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use coditect_auth::Identity;
use coditect_store::records::AuditObject;
use coditect_store::{AuditAction, AuditEvent, OPERATORS};
use http::request::Parts;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::{self, Access};
use crate::error::ApiError;
use crate::extract::{Caller, Query, client};
use crate::state::ApiState;

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// Whose plugins.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Whose {
    /// The caller's tenant's.
    #[default]
    Tenant,
    /// The operators', which are for all tenants. Takes an operator.
    Operators,
}

/// Whose plugins a request is about.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ScopeQuery {
    /// Whose plugins: the caller's tenant's, or the operators', which takes an operator.
    #[serde(default)]
    #[param(inline)]
    scope: Whose,
}

/// The tenant whose plugins a request is about, or the operators' pseudo-tenant. That the caller may manage them was
/// checked.
pub(crate) struct PluginScope {
    pub(crate) tenant: Uuid,
    pub(crate) caller: Caller,
    address: Option<String>,
}

impl PluginScope {
    /// Whether it is the operators'.
    pub(crate) fn is_operators(&self) -> bool {
        self.tenant == OPERATORS
    }

    /// Records what was done with a plugin. After it was done: what the trail says then is true, and the caller learns
    /// if it could not be said.
    pub(crate) async fn record(
        &self,
        state: &ApiState,
        action: AuditAction,
        plugin: &str,
        details: Value,
    ) -> Result<(), ApiError> {
        let details = match details {
            Value::Object(details) => details,
            _ => serde_json::Map::new(),
        };
        let event = AuditEvent {
            tenant: self.tenant,
            actor: Some(self.caller.user()),
            action,
            object: AuditObject { kind: "plugin".into(), id: plugin.to_owned() },
            address: self.address.clone(),
            details,
        };
        Ok(state.audit.record(event).await?)
    }
}

impl FromRequestParts<Arc<ApiState>> for PluginScope {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let Query(ScopeQuery { scope }) = Query::from_request_parts(parts, state).await?;
        let (access, tenant) = match scope {
            Whose::Tenant => (Access::Owner, caller.tenant()),
            Whose::Operators => (Access::Operator, OPERATORS),
        };
        access::check(state, Some(access), parts.extensions.get::<Identity>()).await?;
        Ok(Self { tenant, caller, address: client(&parts.headers).address })
    }
}

/// The `{name}` of the path; what cannot be a plugin's name names no plugin.
pub(crate) struct PluginName(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PluginName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(names) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::NotFound)?;
        let name = names.into_iter().find(|(key, _)| key == "name").map(|(_, name)| name);
        name.filter(|name| is_name(name)).map(Self).ok_or(ApiError::NotFound)
    }
}

/// The `{name}` and `{version}` of the path.
pub(crate) struct VersionPath(pub(crate) String, pub(crate) u64);

impl<S: Send + Sync> FromRequestParts<S> for VersionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((name, version)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::NotFound)?;
        let digits = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
        let version = version.parse::<i64>().ok().filter(|_| digits).map(i64::cast_unsigned);
        match version.filter(|_| is_name(&name)) {
            Some(version) => Ok(Self(name, version)),
            None => Err(ApiError::NotFound),
        }
    }
}

/// Whether a plugin can have this name: `[a-z0-9][a-z0-9-]{0,62}`.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "0", "rate-limit", "a-", &"x".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "a/b", "ä", "a\0", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
