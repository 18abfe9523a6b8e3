//! Plugins that were uploaded, their versions, and when each was at work with which configuration.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::Record;
use crate::blobs::BlobHash;

/// A plugin of a tenant, or of the operators (the pseudo-tenant [`crate::OPERATORS`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// Its name, which no other plugin of the tenant has.
    pub name: String,
    /// The number of its newest version. Numbers count from 1, and none is given twice.
    pub latest: u64,
    /// How many versions are kept.
    pub versions: u64,
    /// The bytes of those versions' modules together.
    pub module_bytes: u64,
    /// The number of its newest activation.
    pub activations: u64,
    /// The user who uploaded its first version.
    pub created_by: Uuid,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Counts the changes, those of versions and activations included.
    pub version: u64,
}

/// A version of a plugin: one module that was uploaded and found to work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The plugin's name.
    pub plugin: String,
    /// Which one, counted from 1.
    pub version: u64,
    /// What its module is held by.
    pub id: Uuid,
    /// The digest of the module, which is also where it is kept.
    pub sha256: BlobHash,
    /// The module's length in bytes.
    pub size: u64,
    /// The version of the Proxy-Wasm ABI it was written for, such as `0.2.1`.
    pub abi: String,
    /// The host functions it imports, as `module.name`, sorted.
    pub imports: Vec<String>,
    /// What the uploader says about it.
    pub note: String,
    /// The user who uploaded it.
    pub uploaded_by: Uuid,
    /// Unix milliseconds.
    pub uploaded_at: i64,
}

/// Which requests a plugin is for. One activation of a plugin is at work for each target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PluginTarget {
    /// Those of this route alone, by its prefix as configured; else of all routes.
    pub route: Option<String>,
    /// Those of this tenant alone. For the operators' plugins; a tenant's own are for that tenant anyway.
    pub tenant: Option<Uuid>,
}

/// What becomes of a request whose plugin failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginFailure {
    /// It is refused.
    #[default]
    Closed,
    /// It goes on as if the plugin were not there.
    Open,
}

/// How a plugin is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginSettings {
    /// What tells apart the roots of a module that has several.
    pub root_id: String,
    /// What the plugin reads as its configuration: any bytes.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub configuration: Vec<u8>,
    /// What becomes of requests when it fails.
    pub failure: PluginFailure,
    /// Its place among the plugins of the same level of a chain: lower ones see a request first.
    pub order: u16,
    /// The share of requests it is for, in percent: 1 to 100.
    pub share_percent: u8,
    /// Whether it runs without changing anything; its verdict is only recorded.
    pub shadow: bool,
}

/// A version put to work. Kept as history after it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginActivation {
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The plugin's name.
    pub plugin: String,
    /// Which one, counted from 1 over all targets of the plugin.
    pub activation: u64,
    /// The version at work.
    pub version: u64,
    /// For which requests.
    pub target: PluginTarget,
    /// How it is run.
    pub settings: PluginSettings,
    /// The user who activated it.
    pub activated_by: Uuid,
    /// Unix milliseconds.
    pub activated_at: i64,
    /// The activation that was restored by this one, if a roll-back made it.
    pub restores: Option<u64>,
    /// The activation that rolling this one back restores.
    pub previous: Option<u64>,
    /// When and how it ended; absent while it is at work.
    pub ended: Option<ActivationEnd>,
}

/// The end of an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationEnd {
    /// Unix milliseconds.
    pub at: i64,
    /// The user who ended it.
    pub by: Uuid,
    /// The activation that took its place; absent if none did.
    pub replaced_by: Option<u64>,
}

impl Record for Plugin {
    const FAMILY: &'static str = "plugins";
}

impl Record for PluginVersion {
    const FAMILY: &'static str = "plugin_versions";
}

impl Record for PluginActivation {
    const FAMILY: &'static str = "plugin_activations";
}

impl Default for PluginSettings {
    /// Without a configuration, closed, for every request.
    fn default() -> Self {
        Self {
            root_id: String::new(),
            configuration: Vec::new(),
            failure: PluginFailure::Closed,
            order: DEFAULT_ORDER,
            share_percent: 100,
            shadow: false,
        }
    }
}

/// The [`PluginSettings::order`] of what states none.
pub const DEFAULT_ORDER: u16 = 100;

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(|_| D::Error::custom("the configuration is no base64"))
}
