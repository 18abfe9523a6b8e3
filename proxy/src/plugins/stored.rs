//! Plugins that are kept in a store, as the edge hands them over: this crate knows no store.

use crate::reply::BoxError;
use async_trait::async_trait;
use bytes::Bytes;
use coditect_config::FailureMode;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Whose a plugin of the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginOwner {
    /// The operators': for every tenant, or for the one that its activation names.
    Operators,
    /// A tenant's own, for its own requests.
    Tenant(Uuid),
}

impl PluginOwner {
    /// What its plugins share data with, within a tenant: each other, and neither those of the other kind of owner nor
    /// those of the configuration file.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Operators => "operators",
            Self::Tenant(_) => "tenant",
        }
    }

    /// The name under which a plugin of this owner is counted.
    pub(crate) fn label(self, plugin: &str) -> String {
        format!("{self}/{plugin}")
    }

    /// The name under which failures to load one are counted, also where it is never loaded.
    pub(crate) fn failure_label(self, plugin: &str) -> String {
        match self {
            Self::Operators => self.label(plugin),
            Self::Tenant(_) => "tenants".to_owned(),
        }
    }
}

impl fmt::Display for PluginOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operators => f.write_str("operators"),
            Self::Tenant(tenant) => tenant.fmt(f),
        }
    }
}

/// A version of a plugin at work: what was activated, for whom, and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPlugin {
    /// Its name, unique among its owner's.
    pub name: String,
    /// The number of its version.
    pub version: u64,
    /// The SHA-256 of its module.
    pub sha256: [u8; 32],
    /// The route it is for, by its prefix as configured; `None`: all routes.
    pub route: Option<String>,
    /// The tenant it is for, where the operators named one.
    pub tenant: Option<Uuid>,
    /// The root id given to the plugin.
    pub root_id: String,
    /// What the plugin reads as its configuration.
    pub configuration: Arc<[u8]>,
    /// What a failure does to the request.
    pub failure: FailureMode,
    /// Its place among those of its level: lower ones see a request first.
    pub order: u16,
    /// The share of callers it is for, in percent: 1 to 100.
    pub share_percent: u8,
    /// Whether it runs without changing anything.
    pub shadow: bool,
    /// Whether the store has lost what it is made of: there is nothing to load.
    pub lost: bool,
}

impl StoredPlugin {
    /// Its place among its owner's of one level.
    pub(crate) fn place(&self) -> (bool, u16, &str) {
        (self.route.is_some(), self.order, &self.name)
    }

    /// What makes it the successor of another: the same plugin for the same requests.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        (&self.name, &self.route, self.tenant) == (&other.name, &other.route, other.tenant)
    }
}

/// Where modules are read.
#[async_trait]
pub trait ModuleSource: Send + Sync {
    /// The module of a plugin's version. Cancellation safe. The caller has a deadline of its own.
    ///
    /// # Errors
    /// It cannot be read now; it is asked for again later.
    async fn module(&self, owner: PluginOwner, plugin: &StoredPlugin) -> Result<Bytes, BoxError>;
}
