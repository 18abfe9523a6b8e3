//! The versions of plugins. Each holds on to its module, a blob.

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, change, replace};
use super::plugin_activations::active_rows;
use super::plugins::{found, plugin_key};
use super::{PluginError, Plugins, UpdateError, load};
use crate::blobs::{BlobError, BlobReader, BlobRef, add_reference_from, remove_reference};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{Key, TenantFamily, TenantScope};
use crate::records::{FIRST_VERSION, Plugin, PluginVersion, Record};
use crate::transaction::Transaction;

/// The largest module, in bytes.
pub const MAX_MODULE_BYTES: u64 = 16 << 20;
/// The most plugins of a tenant.
pub const MAX_PLUGINS: usize = 50;
/// The most versions kept of a plugin.
pub const MAX_PLUGIN_VERSIONS: usize = 50;
/// The most bytes of modules kept for a tenant, equal ones counted each time.
pub const MAX_TENANT_MODULE_BYTES: u64 = 512 << 20;

/// A module that was uploaded and validated.
#[derive(Debug, Clone)]
pub struct NewPluginVersion {
    /// The tenant, or [`crate::OPERATORS`].
    pub tenant: Uuid,
    /// The plugin's name. The plugin is made where there is none.
    pub plugin: String,
    /// Its module, which the tenant must have as a blob.
    pub module: BlobRef,
    /// The version of the ABI it was written for.
    pub abi: String,
    /// The host functions it imports.
    pub imports: Vec<String>,
    /// What the uploader says about it.
    pub note: String,
    /// The uploader.
    pub by: Uuid,
}

/// What a module would be to a plugin.
enum Admitted {
    /// The module of its latest version.
    Known(Plugin, PluginVersion),
    /// Its next version; the first one of a plugin that is not there yet.
    New(Option<Plugin>),
}

impl Plugins<'_> {
    /// Whether [`Self::add_version`] would take a module as things are, so that nobody writes one that is refused.
    ///
    /// # Errors
    ///
    /// As [`Self::add_version`]'s, but that the tenant need not have the module.
    pub async fn admit(
        &self,
        tenant: Uuid,
        plugin: &str,
        module: BlobRef,
        expected: Option<u64>,
    ) -> Result<(), PluginError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                admitted(&transaction, scope, plugin, module, expected).await.map(drop)
            })
            .await
    }

    /// Adds a version to a plugin at `now` (Unix milliseconds); returns the plugin, the version, and whether it is
    /// new: the very module of the latest version again adds none.
    ///
    /// With `expected` 0 there must be no such plugin yet; with another number, one of that [`Plugin::version`].
    ///
    /// # Errors
    ///
    /// [`PluginError::Limit`] beyond what is kept; [`UpdateError::NoContent`] if the tenant has no such blob (any more).
    pub async fn add_version(
        &self,
        new: &NewPluginVersion,
        expected: Option<u64>,
        now: i64,
    ) -> Result<(Plugin, PluginVersion, bool), PluginError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(new.tenant);
        let id = self.context.entropy.uuid();
        self.context
            .once(|transaction| async move {
                let old = match admitted(&transaction, scope, &new.plugin, new.module, expected).await? {
                    Admitted::Known(plugin, latest) => return Ok((plugin, latest, false)),
                    Admitted::New(old) => old,
                };
                let number = old.as_ref().map_or(0, |plugin| plugin.latest).saturating_add(1);
                let version = new.record(id, number, now);
                replace(&transaction, keys, scope, None, Some(&version)).await?;
                hold(&transaction, scope, &version).await?;
                let plugin = match &old {
                    Some(old) => {
                        change(&transaction, keys, scope, old, |plugin| plugin.added(&version, now)).await?
                    }
                    None => {
                        let plugin = Plugin::first(&version, now);
                        replace(&transaction, keys, scope, None, Some(&plugin)).await?;
                        plugin
                    }
                };
                Ok((plugin, version, true))
            })
            .await
    }

    /// A version of a plugin.
    pub async fn version(
        &self,
        tenant: Uuid,
        plugin: &str,
        version: u64,
    ) -> Result<Option<PluginVersion>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move { version_in(&transaction, scope, plugin, version).await })
            .await
    }

    /// The versions of a plugin, newest first: at most [`MAX_PLUGIN_VERSIONS`].
    pub async fn versions(&self, tenant: Uuid, plugin: &str) -> Result<Vec<PluginVersion>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let mut all = self
            .context
            .run(|transaction| async move { all_versions(&transaction, scope, plugin).await })
            .await?;
        all.reverse();
        Ok(all)
    }

    /// Opens the module of a version; `None` if there is no such version.
    ///
    /// # Errors
    ///
    /// As a read's; [`BlobError::NotFound`] if the version's module is lost.
    pub async fn module(&self, tenant: Uuid, version: &PluginVersion) -> Result<BlobReader, BlobError> {
        let hash = version.sha256;
        self.blobs.open(tenant, &hash).await?.ok_or(BlobError::NotFound { hash })
    }

    /// Removes a version that is not at work, at `now` (Unix milliseconds); returns the plugin as it is then.
    ///
    /// # Errors
    ///
    /// [`PluginError::Active`] if it is; [`PluginError::NoVersion`].
    pub async fn delete_version(
        &self,
        tenant: Uuid,
        plugin: &str,
        version: u64,
        expected: Option<u64>,
        now: i64,
    ) -> Result<Plugin, PluginError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let old = found(&transaction, scope, plugin, expected).await?;
                let gone = version_in(&transaction, scope, plugin, version).await?;
                let gone = gone.ok_or(PluginError::NoVersion(version))?;
                if active_rows(&transaction, scope, Some(plugin))
                    .await?
                    .iter()
                    .any(|row| row.version == version)
                {
                    return Err(PluginError::Active);
                }
                remove(&transaction, scope, &gone, now).await?;
                let plugin =
                    change(&transaction, keys, scope, &old, |plugin| plugin.removed(&gone, now)).await?;
                Ok(plugin)
            })
            .await
    }
}

impl NewPluginVersion {
    fn record(&self, id: Uuid, version: u64, now: i64) -> PluginVersion {
        PluginVersion {
            tenant_id: self.tenant,
            plugin: self.plugin.clone(),
            version,
            id,
            sha256: self.module.hash,
            size: self.module.size,
            abi: self.abi.clone(),
            imports: self.imports.clone(),
            note: self.note.clone(),
            uploaded_by: self.by,
            uploaded_at: now,
        }
    }
}

impl Plugin {
    fn first(version: &PluginVersion, now: i64) -> Self {
        Self {
            tenant_id: version.tenant_id,
            name: version.plugin.clone(),
            latest: version.version,
            versions: 1,
            module_bytes: version.size,
            activations: 0,
            created_by: version.uploaded_by,
            created_at: now,
            updated_at: now,
            version: FIRST_VERSION,
        }
    }

    fn added(&mut self, version: &PluginVersion, now: i64) {
        self.latest = version.version;
        self.versions = self.versions.saturating_add(1);
        self.module_bytes = self.module_bytes.saturating_add(version.size);
        self.updated_at = now;
    }

    fn removed(&mut self, version: &PluginVersion, now: i64) {
        self.versions = self.versions.saturating_sub(1);
        self.module_bytes = self.module_bytes.saturating_sub(version.size);
        self.updated_at = now;
    }
}

impl Indexed for PluginVersion {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        version_key(scope, &self.plugin, self.version)
    }

    fn references(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let key = scope.key(TenantFamily::BlobReferences, &(self.sha256.0.as_slice(), self.id));
        vec![IndexEntry::valued(key, holder(self))]
    }
}

pub(crate) fn version_key(scope: &TenantScope, plugin: &str, version: u64) -> Key {
    scope.key(TenantFamily::PluginVersions, &(plugin, version.cast_signed()))
}

/// The key of the version that holds a module, from the value of its reference; `None` if that is nothing of ours.
pub(crate) fn version_held_by(scope: &TenantScope, value: &[u8]) -> Option<Key> {
    let (plugin, version): (String, i64) = foundationdb_tuple::unpack(value).ok()?;
    Some(version_key(scope, &plugin, version.cast_unsigned()))
}

/// What a reference to a module says of the version that holds it.
fn holder(version: &PluginVersion) -> Vec<u8> {
    foundationdb_tuple::pack(&(version.plugin.as_str(), version.version.cast_signed()))
}

pub(super) async fn version_in(
    transaction: &Transaction,
    scope: &TenantScope,
    plugin: &str,
    version: u64,
) -> Result<Option<PluginVersion>, StoreError> {
    load(transaction, &version_key(scope, plugin, version)).await
}

/// A plugin's versions, oldest first.
pub(super) async fn all_versions(
    transaction: &Transaction,
    scope: &TenantScope,
    plugin: &str,
) -> Result<Vec<PluginVersion>, StoreError> {
    let span = scope.span(TenantFamily::PluginVersions, &(plugin,));
    let (mut begin, mut versions) = (span.begin, Vec::new());
    while versions.len() < MAX_PLUGIN_VERSIONS {
        let limit = MAX_PLUGIN_VERSIONS - versions.len();
        let page = transaction.range(RangeRead::new(begin.clone(), span.end.clone(), limit)).await?;
        for row in &page.rows {
            versions.push(PluginVersion::decode(&row.value)?);
        }
        let Some(last) = page.rows.last().filter(|_| page.more) else { break };
        begin.clone_from(&last.key);
        begin.push(0);
    }
    Ok(versions)
}

/// What a module would be to a plugin, if it may be that.
async fn admitted(
    transaction: &Transaction,
    scope: &TenantScope,
    plugin: &str,
    module: BlobRef,
    expected: Option<u64>,
) -> Result<Admitted, PluginError> {
    let old: Option<Plugin> = load(transaction, &plugin_key(scope, plugin)).await?;
    let current = old.as_ref().map_or(0, |plugin| plugin.version);
    if expected.is_some_and(|expected| expected != current) {
        return Err(UpdateError::VersionMismatch { current }.into());
    }
    if let Some(plugin) = &old
        && let Some(latest) = version_in(transaction, scope, &plugin.name, plugin.latest).await?
        && latest.sha256 == module.hash
    {
        return Ok(Admitted::Known(plugin.clone(), latest));
    }
    check_room(transaction, scope, old.as_ref(), module.size).await?;
    Ok(Admitted::New(old))
}

/// Refuses a version for which there is no room.
async fn check_room(
    transaction: &Transaction,
    scope: &TenantScope,
    plugin: Option<&Plugin>,
    size: u64,
) -> Result<(), PluginError> {
    let limit = |what, limit| PluginError::Limit { what, limit };
    if plugin.is_some_and(|plugin| plugin.versions >= MAX_PLUGIN_VERSIONS as u64) {
        return Err(limit("versions of the plugin", MAX_PLUGIN_VERSIONS as u64));
    }
    // One page: the records are small. All of them count as read, so that two uploads cannot share the last room.
    let span = scope.span(TenantFamily::Plugins, &());
    let page = transaction.range(RangeRead::new(span.begin, span.end, MAX_PLUGINS + 1)).await?;
    if plugin.is_none() && page.rows.len() >= MAX_PLUGINS {
        return Err(limit("plugins", MAX_PLUGINS as u64));
    }
    let mut bytes = size;
    for row in &page.rows {
        bytes = bytes.saturating_add(Plugin::decode(&row.value)?.module_bytes);
    }
    match bytes > MAX_TENANT_MODULE_BYTES {
        true => Err(limit("bytes of modules", MAX_TENANT_MODULE_BYTES)),
        false => Ok(()),
    }
}

/// Lets a version hold on to its module.
async fn hold(
    transaction: &Transaction,
    scope: &TenantScope,
    version: &PluginVersion,
) -> Result<(), UpdateError> {
    let held = add_reference_from(transaction, scope, &version.sha256, version.id, holder(version)).await;
    match held {
        Ok(_) => Ok(()),
        Err(BlobError::Store(error)) => Err(error.into()),
        Err(_) => Err(UpdateError::NoContent),
    }
}

/// Removes a version and lets go of its module.
pub(super) async fn remove(
    transaction: &Transaction,
    scope: &TenantScope,
    version: &PluginVersion,
    now: i64,
) -> Result<(), StoreError> {
    transaction.clear(version.key(scope))?;
    remove_reference(transaction, scope, &version.sha256, version.id, now).await?;
    Ok(())
}
