//! Plugins; see [`super::plugin_versions`] for what was uploaded of them and [`super::plugin_activations`] for what is at
//! work.

use uuid::Uuid;

use super::indexed::{Indexed, Versioned, expect};
use super::page::record_page;
use super::plugin_activations::active_rows;
use super::plugin_versions::{all_versions, remove};
use super::{Context, Page, UpdateError, load};
use crate::blobs::Blobs;
use crate::error::{StoreError, TransactionError};
use crate::keyspace::{Key, TenantFamily, TenantScope};
use crate::records::Plugin;
use crate::transaction::Transaction;

/// The largest configuration, in bytes: as base64 it still fits into one value of the store.
pub const MAX_CONFIGURATION_BYTES: usize = 64 << 10;
/// The most activations of a tenant at work at a time: every request may have to pass all of them.
pub const MAX_ACTIVE_PLUGINS: usize = 32;

/// Plugins, their versions and their activations.
pub struct Plugins<'a> {
    pub(super) context: &'a Context,
    pub(super) blobs: Blobs,
}

/// Why something was not done with a plugin. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PluginError {
    /// As with every record: not found, another version, the store.
    #[error(transparent)]
    Update(UpdateError),
    /// The plugin has no such version.
    #[error("the plugin has no version {0}")]
    NoVersion(u64),
    /// There are as many as there may be.
    #[error("there are {limit} {what} already, the most there can be")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there can be.
        limit: u64,
    },
    /// It is at work: deactivate it, or activate another version, first.
    #[error("it is active: deactivate it first")]
    Active,
    /// Nothing is at work for the target.
    #[error("the plugin is not active there")]
    NotActive,
    /// There is no activation to go back to, or no more.
    #[error("there is nothing to roll back to")]
    NothingBefore,
}

impl<'a> Plugins<'a> {
    pub(super) fn new(context: &'a Context, blobs: Blobs) -> Self {
        Self { context, blobs }
    }

    /// A plugin.
    pub async fn get(&self, tenant: Uuid, name: &str) -> Result<Option<Plugin>, StoreError> {
        let key = &plugin_key(&self.context.keys.tenant(tenant), name);
        self.context.run(|transaction| async move { load(&transaction, key).await }).await
    }

    /// A page of a tenant's plugins in the order of their names, from the one after `after` on.
    pub async fn list(
        &self,
        tenant: Uuid,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Plugin, String>, StoreError> {
        let plugins = &self.context.keys.tenant(tenant).branch(TenantFamily::Plugins, &());
        self.context
            .run(|transaction| async move { record_page(&transaction, plugins, after, limit).await })
            .await
    }

    /// Removes a plugin that is not at work, with its versions and history, at `now` (Unix milliseconds); returns it
    /// as it was.
    ///
    /// # Errors
    ///
    /// [`PluginError::Active`] if it is at work anywhere.
    pub async fn delete(
        &self,
        tenant: Uuid,
        plugin: &str,
        expected: Option<u64>,
        now: i64,
    ) -> Result<Plugin, PluginError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let old = found(&transaction, scope, plugin, expected).await?;
                if !active_rows(&transaction, scope, Some(plugin)).await?.is_empty() {
                    return Err(PluginError::Active);
                }
                for version in all_versions(&transaction, scope, plugin).await? {
                    remove(&transaction, scope, &version, now).await?;
                }
                // None of them is at work, so none has an entry elsewhere.
                let history = scope.span(TenantFamily::PluginActivations, &(plugin,));
                transaction.clear_range(history.begin, history.end)?;
                transaction.clear(plugin_key(scope, plugin))?;
                Ok(old)
            })
            .await
    }
}

impl Indexed for Plugin {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        plugin_key(scope, &self.name)
    }
}

impl Versioned for Plugin {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.tenant_id = old.tenant_id;
        self.name.clone_from(&old.name);
        self.created_by = old.created_by;
        self.created_at = old.created_at;
    }
}

impl From<UpdateError> for PluginError {
    fn from(error: UpdateError) -> Self {
        Self::Update(error)
    }
}

impl From<StoreError> for PluginError {
    fn from(error: StoreError) -> Self {
        Self::Update(error.into())
    }
}

impl TransactionError for PluginError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Update(error) => error.store_error(),
            _ => None,
        }
    }
}

pub(crate) fn plugin_key(scope: &TenantScope, name: &str) -> Key {
    scope.key(TenantFamily::Plugins, &(name,))
}

/// The plugin, if it has the version expected.
pub(super) async fn found(
    transaction: &Transaction,
    scope: &TenantScope,
    name: &str,
    expected: Option<u64>,
) -> Result<Plugin, PluginError> {
    let plugin = load(transaction, &plugin_key(scope, name)).await?.ok_or(UpdateError::NotFound)?;
    expect(&plugin, expected)?;
    Ok(plugin)
}
