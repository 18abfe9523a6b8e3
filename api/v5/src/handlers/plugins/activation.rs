//! What a client says and reads about a plugin at work.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coditect_store::records::{
    ActivationEnd, DEFAULT_ORDER, PluginActivation, PluginFailure, PluginSettings, PluginTarget,
};
use coditect_store::{Activate, MAX_CONFIGURATION_BYTES};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::scope::PluginScope;
use crate::error::ApiError;
use crate::handlers::rfc3339;

/// The longest route, in bytes.
const MAX_ROUTE_BYTES: usize = 1024;
/// The longest root id, in bytes.
const MAX_ROOT_ID_BYTES: usize = 256;
/// The highest place in a chain.
const MAX_ORDER: u16 = 1000;

/// What becomes of a request whose plugin failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fail {
    /// It is answered 503.
    #[default]
    Closed,
    /// It goes on as if the plugin were not there.
    Open,
}

/// A version to put to work, for whom, and how.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ActivateRequest {
    #[schema(minimum = 1)]
    version: u64,
    /// For the requests of this route alone, by its prefix as configured; else of all routes.
    #[schema(max_length = 1024, pattern = r"^/[^\x00-\x1F\x7F-\x9F]*$")]
    route: Option<String>,
    /// For this tenant's requests alone. With `scope=operators` only.
    tenant_id: Option<Uuid>,
    /// The root to start, where the module has several.
    #[serde(default)]
    #[schema(max_length = 256, pattern = r"^[^\x00-\x1F\x7F-\x9F]*$")]
    root_id: String,
    /// What the plugin reads as its configuration: a string as it is, any other value as compact JSON. At most 64 KiB.
    #[schema(value_type = Option<Value>)]
    configuration: Option<Value>,
    /// The same as any bytes, in base64; instead of `configuration`.
    #[schema(format = Byte)]
    configuration_base64: Option<String>,
    #[serde(default)]
    #[schema(inline)]
    fail: Fail,
    /// Plugins with a lower one see a request before those with a higher one: the operators' first, for all routes
    /// before those for one; then the tenant's likewise.
    #[serde(default = "default_order")]
    #[schema(maximum = 1000, default = 100)]
    order: u16,
    /// The share of requests it is for, in percent.
    #[serde(default = "all")]
    #[schema(minimum = 1, maximum = 100, default = 100)]
    share_percent: u8,
    /// Runs it without changing anything; its verdict is only recorded.
    #[serde(default)]
    shadow: bool,
}

/// For whom something is to be at work no more, or what was before.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TargetRequest {
    /// The route it was activated for; else what was activated for all routes.
    #[schema(max_length = 1024, pattern = r"^/[^\x00-\x1F\x7F-\x9F]*$")]
    route: Option<String>,
    /// The tenant it was activated for. With `scope=operators` only.
    tenant_id: Option<Uuid>,
}

/// A version at work, or that was.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActivationResponse {
    plugin: String,
    /// Its number, counted from 1 in each plugin.
    activation: u64,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tenant_id: Option<Uuid>,
    root_id: String,
    /// What the plugin reads as its configuration, where that is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    configuration: Option<String>,
    /// The same in base64, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    configuration_base64: Option<String>,
    #[schema(inline)]
    fail: Fail,
    order: u16,
    share_percent: u8,
    shadow: bool,
    activated_by: Uuid,
    #[schema(format = DateTime)]
    activated_at: String,
    /// The activation that was restored by this one, if a roll-back made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    restores: Option<u64>,
    /// The activation that a roll-back goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    previous: Option<u64>,
    /// Absent while it is at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ended: Option<EndResponse>,
}

/// The end of an activation.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndResponse {
    #[schema(format = DateTime)]
    at: String,
    by: Uuid,
    /// The activation that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    replaced_by: Option<u64>,
}

fn default_order() -> u16 {
    DEFAULT_ORDER
}

fn all() -> u8 {
    100
}

impl ActivateRequest {
    /// What is asked for, if that can be.
    pub(crate) fn validate(self, scope: &PluginScope) -> Result<Activate, ApiError> {
        let target = target(self.route, self.tenant_id, scope)?;
        if self.version == 0 {
            return Err(ApiError::validation("version", "must be a version's number, which count from 1"));
        }
        if self.root_id.len() > MAX_ROOT_ID_BYTES || self.root_id.chars().any(char::is_control) {
            let rule = "must have at most 256 bytes and no control characters";
            return Err(ApiError::validation("rootId", rule));
        }
        if self.order > MAX_ORDER {
            return Err(ApiError::validation("order", "must be a number from 0 to 1000"));
        }
        if !(1..=100).contains(&self.share_percent) {
            return Err(ApiError::validation("sharePercent", "must be a number from 1 to 100"));
        }
        let settings = PluginSettings {
            root_id: self.root_id,
            configuration: configuration(self.configuration, self.configuration_base64)?,
            failure: self.fail.into(),
            order: self.order,
            share_percent: self.share_percent,
            shadow: self.shadow,
        };
        Ok(Activate { version: self.version, target, settings })
    }
}

impl TargetRequest {
    /// What is meant, if that can be.
    pub(crate) fn validate(self, scope: &PluginScope) -> Result<PluginTarget, ApiError> {
        target(self.route, self.tenant_id, scope)
    }
}

fn target(
    route: Option<String>,
    tenant: Option<Uuid>,
    scope: &PluginScope,
) -> Result<PluginTarget, ApiError> {
    if let Some(route) = &route {
        let fits = route.starts_with('/') && route.len() <= MAX_ROUTE_BYTES;
        if !fits || route.chars().any(char::is_control) {
            let rule =
                "must be a route's prefix: begin with /, have at most 1024 bytes and no control characters";
            return Err(ApiError::validation("route", rule));
        }
    }
    if tenant.is_some() && !scope.is_operators() {
        let rule = "is for the operators' plugins only: a tenant's own are for that tenant anyway";
        return Err(ApiError::validation("tenantId", rule));
    }
    if tenant.is_some_and(|tenant| tenant.is_nil()) {
        return Err(ApiError::validation("tenantId", "must be a tenant's id"));
    }
    Ok(PluginTarget { route, tenant })
}

/// The bytes a plugin reads.
fn configuration(value: Option<Value>, base64: Option<String>) -> Result<Vec<u8>, ApiError> {
    let (field, bytes) = match (value, base64) {
        (Some(_), Some(_)) => {
            return Err(ApiError::validation("configurationBase64", "must not be sent beside configuration"));
        }
        (None, None) => return Ok(Vec::new()),
        (Some(Value::String(text)), None) => ("configuration", text.into_bytes()),
        (Some(value), None) => ("configuration", value.to_string().into_bytes()),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text);
            let bytes = bytes.map_err(|_| ApiError::validation("configurationBase64", "must be base64"))?;
            ("configurationBase64", bytes)
        }
    };
    match bytes.len() > MAX_CONFIGURATION_BYTES {
        true => Err(ApiError::validation(field, format!("must be at most {MAX_CONFIGURATION_BYTES} bytes"))),
        false => Ok(bytes),
    }
}

impl TryFrom<PluginActivation> for ActivationResponse {
    type Error = ApiError;

    fn try_from(activation: PluginActivation) -> Result<Self, ApiError> {
        let PluginActivation { settings, target, .. } = activation;
        let (configuration, configuration_base64) = match String::from_utf8(settings.configuration) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
        };
        Ok(Self {
            plugin: activation.plugin,
            activation: activation.activation,
            version: activation.version,
            route: target.route,
            tenant_id: target.tenant,
            root_id: settings.root_id,
            configuration,
            configuration_base64,
            fail: settings.failure.into(),
            order: settings.order,
            share_percent: settings.share_percent,
            shadow: settings.shadow,
            activated_by: activation.activated_by,
            activated_at: rfc3339(activation.activated_at)?,
            restores: activation.restores,
            previous: activation.previous,
            ended: activation.ended.map(EndResponse::try_from).transpose()?,
        })
    }
}

impl TryFrom<ActivationEnd> for EndResponse {
    type Error = ApiError;

    fn try_from(end: ActivationEnd) -> Result<Self, ApiError> {
        Ok(Self { at: rfc3339(end.at)?, by: end.by, replaced_by: end.replaced_by })
    }
}

impl From<Fail> for PluginFailure {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Closed => Self::Closed,
            Fail::Open => Self::Open,
        }
    }
}

impl From<PluginFailure> for Fail {
    fn from(failure: PluginFailure) -> Self {
        match failure {
            PluginFailure::Closed => Self::Closed,
            PluginFailure::Open => Self::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_text_json_or_any_bytes() {
        let of = |value| configuration(Some(value), None).unwrap();
        assert_eq!(of(json!("as it is")), b"as it is");
        assert_eq!(of(json!({"b": [1, null], "a": "x"})), br#"{"a":"x","b":[1,null]}"#);
        assert_eq!(of(json!([true])), b"[true]");
        assert_eq!(configuration(None, Some("/wA=".into())).unwrap(), [0xff, 0]);
        assert!(configuration(None, None).unwrap().is_empty());
        assert!(configuration(Some(json!({})), Some(String::new())).is_err());
        assert!(configuration(None, Some("?".into())).is_err());
        let longest = "x".repeat(MAX_CONFIGURATION_BYTES);
        assert!(configuration(Some(json!(longest)), None).is_ok());
        assert!(configuration(Some(json!(longest + "x")), None).is_err());
    }
}
