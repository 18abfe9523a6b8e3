//! Which versions of plugins are at work for whom: activation, roll-back, deactivation, and their history. Every
//! change tells the replicas, by the change feed, in its own transaction.

use std::collections::HashSet;

use futures::future::try_join_all;
use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, change, replace, unpack_value};
use super::plugin_versions::{version_in, version_key};
use super::plugins::{MAX_ACTIVE_PLUGINS, found};
use super::{Page, PluginError, Plugins, load};
use crate::audit::OPERATORS;
use crate::changes::{self, Change};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{Key, Keyspace, TenantFamily, TenantScope};
use crate::records::{
    ActivationEnd, Plugin, PluginActivation, PluginSettings, PluginTarget, PluginVersion, Record,
};
use crate::transaction::Transaction;

/// The newest activations of a plugin that are kept as history. Older ones go, but for those at work and those that a
/// roll-back restores.
pub const KEPT_ACTIVATIONS: u64 = 50;
/// The most old activations looked at, and removed, with a new one.
const PRUNED: usize = 2 * MAX_ACTIVE_PLUGINS + 4;

/// A version to put to work.
#[derive(Debug, Clone)]
pub struct Activate {
    /// The version.
    pub version: u64,
    /// For which requests.
    pub target: PluginTarget,
    /// How it is run.
    pub settings: PluginSettings,
}

/// A plugin at work: all the host needs to load it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivePlugin {
    /// For whom, and how.
    pub activation: PluginActivation,
    /// What.
    pub version: PluginVersion,
}

/// What is at work in a tenant's scope, as far as it can be read.
#[derive(Debug, Clone)]
pub struct ReadableActive {
    /// What can be.
    pub active: Vec<ActivePlugin>,
    /// What cannot.
    pub lost: Vec<LostActivation>,
}

/// An activation that is at work by the index, and whose record, or version's record, is missing or damaged.
#[derive(Debug, Clone)]
pub struct LostActivation {
    /// The plugin's name.
    pub plugin: String,
    /// The version.
    pub version: u64,
    /// For which requests.
    pub target: PluginTarget,
    /// How it is to be run, where that is known.
    pub settings: Option<PluginSettings>,
    /// What is wrong with it: [`StoreError::Orphan`] or [`StoreError::Record`].
    pub error: StoreError,
}

impl Plugins<'_> {
    /// Puts a version to work for a target at `now` (Unix milliseconds), in the place of what was at work there;
    /// returns the plugin and the activation. What is at work just so already stays.
    ///
    /// # Errors
    ///
    /// [`PluginError::NoVersion`]; [`PluginError::Limit`] beyond [`MAX_ACTIVE_PLUGINS`].
    pub async fn activate(
        &self,
        (tenant, plugin): (Uuid, &str),
        new: &Activate,
        by: Uuid,
        expected: Option<u64>,
        now: i64,
    ) -> Result<(Plugin, PluginActivation), PluginError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let owner = found(&transaction, scope, plugin, expected).await?;
                let known = version_in(&transaction, scope, plugin, new.version).await?;
                known.ok_or(PluginError::NoVersion(new.version))?;
                let old = at_work(&transaction, scope, plugin, &new.target).await?;
                if let Some(old) = &old
                    && old.version == new.version
                    && old.settings == new.settings
                {
                    return Ok((owner, old.clone()));
                }
                let activation = PluginActivation {
                    tenant_id: tenant,
                    plugin: plugin.to_owned(),
                    activation: owner.activations.saturating_add(1),
                    version: new.version,
                    target: new.target.clone(),
                    settings: new.settings.clone(),
                    activated_by: by,
                    activated_at: now,
                    restores: None,
                    previous: old.as_ref().map(|old| old.activation),
                    ended: None,
                };
                put(&transaction, keys, scope, &owner, old, activation).await
            })
            .await
    }

    /// Puts back to work, at `now` (Unix milliseconds), what was so at a target before what is now, as a new
    /// activation. A second roll-back goes back further.
    ///
    /// # Errors
    ///
    /// [`PluginError::NotActive`]; [`PluginError::NothingBefore`]; [`PluginError::NoVersion`] if that version was removed.
    pub async fn roll_back(
        &self,
        (tenant, plugin): (Uuid, &str),
        target: &PluginTarget,
        by: Uuid,
        expected: Option<u64>,
        now: i64,
    ) -> Result<(Plugin, PluginActivation), PluginError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let owner = found(&transaction, scope, plugin, expected).await?;
                let old =
                    at_work(&transaction, scope, plugin, target).await?.ok_or(PluginError::NotActive)?;
                let before = old.previous.ok_or(PluginError::NothingBefore)?;
                let before: Option<PluginActivation> =
                    load(&transaction, &activation_key(scope, plugin, before)).await?;
                let before = before.ok_or(PluginError::NothingBefore)?;
                let known = version_in(&transaction, scope, plugin, before.version).await?;
                known.ok_or(PluginError::NoVersion(before.version))?;
                let activation = PluginActivation {
                    activation: owner.activations.saturating_add(1),
                    activated_by: by,
                    activated_at: now,
                    restores: Some(before.activation),
                    ended: None,
                    ..before
                };
                put(&transaction, keys, scope, &owner, Some(old), activation).await
            })
            .await
    }

    /// Takes a plugin out of work for a target at `now` (Unix milliseconds); returns the plugin and the activation
    /// that ended.
    ///
    /// # Errors
    ///
    /// [`PluginError::NotActive`].
    pub async fn deactivate(
        &self,
        (tenant, plugin): (Uuid, &str),
        target: &PluginTarget,
        by: Uuid,
        expected: Option<u64>,
        now: i64,
    ) -> Result<(Plugin, PluginActivation), PluginError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let owner = found(&transaction, scope, plugin, expected).await?;
                let old =
                    at_work(&transaction, scope, plugin, target).await?.ok_or(PluginError::NotActive)?;
                let end = ActivationEnd { at: now, by, replaced_by: None };
                let ended = finish(&transaction, keys, scope, &old, end).await?;
                let owner =
                    change(&transaction, keys, scope, &owner, |plugin| plugin.updated_at = now).await?;
                let told = Change::PluginDeactivated { tenant: ended.concerns(), plugin: plugin.to_owned() };
                changes::append(&transaction, keys, now, &told)?;
                Ok((owner, ended))
            })
            .await
    }

    /// What is at work in a tenant's scope, or the operators' ([`OPERATORS`]), in the order in which requests meet
    /// it: first what is for all routes, then what is for one, each by [`PluginSettings::order`] and name. At most
    /// [`MAX_ACTIVE_PLUGINS`], all as they were at one moment.
    ///
    /// A request's chain is the operators' part of it first, then its tenant's.
    pub async fn active(&self, tenant: Uuid) -> Result<Vec<ActivePlugin>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let mut active = self
            .context
            .run(|transaction| async move {
                let transaction = &transaction;
                let rows = active_rows(transaction, scope, None).await?;
                try_join_all(rows.iter().map(|row| row.load(transaction, scope))).await
            })
            .await?;
        active.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok(active)
    }

    /// As [`Self::active`], but what is damaged does not hide the rest.
    pub async fn readable_active(&self, tenant: Uuid) -> Result<ReadableActive, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let mut read = self
            .context
            .run(|transaction| async move {
                let transaction = &transaction;
                let rows = active_rows(transaction, scope, None).await?;
                let loaded = rows.iter().map(|row| row.load_or_tell(transaction, scope));
                let mut read = ReadableActive { active: Vec::new(), lost: Vec::new() };
                for one in try_join_all(loaded).await? {
                    match one {
                        Ok(active) => read.active.push(active),
                        Err(lost) => read.lost.push(lost),
                    }
                }
                Ok::<_, StoreError>(read)
            })
            .await?;
        read.active.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok(read)
    }

    /// A plugin's activations that are at work.
    pub async fn active_of(&self, tenant: Uuid, plugin: &str) -> Result<Vec<PluginActivation>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                let transaction = &transaction;
                let rows = active_rows(transaction, scope, Some(plugin)).await?;
                let loaded = try_join_all(rows.iter().map(|row| row.load(transaction, scope))).await?;
                Ok(loaded.into_iter().map(|active| active.activation).collect())
            })
            .await
    }

    /// A page of a plugin's activations, newest first, from the one before the number `before` on. A page ends
    /// before it grows beyond about 1 MiB.
    pub async fn activations(
        &self,
        tenant: Uuid,
        plugin: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<PluginActivation, u64>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                let mut span = scope.span(TenantFamily::PluginActivations, &(plugin,));
                if let Some(before) = before {
                    span = span.beyond(&activation_key(scope, plugin, before), true);
                }
                let mut read = RangeRead::new(span.begin, span.end, super::page::page_size(limit)).snapshot();
                read.reverse = true;
                let page = transaction.range(read).await?;
                let items = page
                    .rows
                    .iter()
                    .map(|row| PluginActivation::decode(&row.value))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Page { next: items.last().map(|item| item.activation).filter(|_| page.more), items })
            })
            .await
    }
}

impl ActivePlugin {
    /// Its place in its scope's part of a chain.
    fn place(&self) -> (bool, u16, &str, Option<Uuid>, Option<&str>) {
        let PluginActivation { target, settings, plugin, .. } = &self.activation;
        (target.route.is_some(), settings.order, plugin, target.tenant, target.route.as_deref())
    }
}

impl PluginActivation {
    /// Whose chains it is in: one tenant's, or everybody's.
    pub fn concerns(&self) -> Option<Uuid> {
        if self.tenant_id == OPERATORS { self.target.tenant } else { Some(self.tenant_id) }
    }
}

impl Indexed for PluginActivation {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        activation_key(scope, &self.plugin, self.activation)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        if self.ended.is_some() {
            return Vec::new();
        }
        let value = foundationdb_tuple::pack(&(
            self.activation.cast_signed(),
            self.version.cast_signed(),
            self.previous.unwrap_or_default().cast_signed(),
        ));
        vec![IndexEntry::unique(target_key(scope, &self.plugin, &self.target), value)]
    }
}

/// An entry of the index of what is at work.
pub(super) struct ActiveRow {
    plugin: String,
    target: PluginTarget,
    activation: u64,
    pub(super) version: u64,
    previous: u64,
}

impl ActiveRow {
    async fn load(&self, transaction: &Transaction, scope: &TenantScope) -> Result<ActivePlugin, StoreError> {
        const FAMILY: &str = TenantFamily::PluginActivationsByTarget.name();
        let orphan = || StoreError::Orphan { family: FAMILY };
        let activation = load(transaction, &activation_key(scope, &self.plugin, self.activation)).await?;
        let version = load(transaction, &version_key(scope, &self.plugin, self.version)).await?;
        Ok(ActivePlugin { activation: activation.ok_or_else(orphan)?, version: version.ok_or_else(orphan)? })
    }

    /// As [`Self::load`]; what is wrong with these records alone is told beside.
    async fn load_or_tell(
        &self,
        transaction: &Transaction,
        scope: &TenantScope,
    ) -> Result<Result<ActivePlugin, LostActivation>, StoreError> {
        let error = match self.load(transaction, scope).await {
            Ok(active) => return Ok(Ok(active)),
            Err(error @ (StoreError::Orphan { .. } | StoreError::Record { .. })) => error,
            Err(error) => return Err(error),
        };
        let key = activation_key(scope, &self.plugin, self.activation);
        let settings = match load::<PluginActivation>(transaction, &key).await {
            Ok(activation) => activation.map(|activation| activation.settings),
            Err(StoreError::Record { .. }) => None,
            Err(error) => return Err(error),
        };
        let Self { plugin, version, target, .. } = self;
        let (plugin, target) = (plugin.clone(), target.clone());
        Ok(Err(LostActivation { plugin, version: *version, target, settings, error }))
    }
}

/// What is at work of one plugin, or of all.
pub(super) async fn active_rows(
    transaction: &Transaction,
    scope: &TenantScope,
    plugin: Option<&str>,
) -> Result<Vec<ActiveRow>, StoreError> {
    let family = TenantFamily::PluginActivationsByTarget;
    let span = plugin.map_or_else(|| scope.span(family, &()), |plugin| scope.span(family, &(plugin,)));
    // One page: the entries are small.
    let page = transaction.range(RangeRead::new(span.begin, span.end, MAX_ACTIVE_PLUGINS)).await?;
    let row = |row: &crate::contract::Row| {
        let (plugin, route, tenant): (String, String, Uuid) = scope.unpack(family, &row.key)?;
        let target = PluginTarget {
            route: Some(route).filter(|route| !route.is_empty()),
            tenant: Some(tenant).filter(|tenant| !tenant.is_nil()),
        };
        let (activation, version, previous) = unpack_target(&row.value)?;
        Ok(ActiveRow { plugin, target, activation, version, previous })
    };
    page.rows.iter().map(row).collect()
}

/// Activation, version and the activation before, from an entry of the index of what is at work.
pub(crate) fn unpack_target(value: &[u8]) -> Result<(u64, u64, u64), StoreError> {
    let (activation, version, previous): (i64, i64, i64) =
        unpack_value(TenantFamily::PluginActivationsByTarget.name(), value)?;
    Ok((activation.cast_unsigned(), version.cast_unsigned(), previous.cast_unsigned()))
}

pub(crate) fn activation_key(scope: &TenantScope, plugin: &str, activation: u64) -> Key {
    scope.key(TenantFamily::PluginActivations, &(plugin, activation.cast_signed()))
}

fn target_key(scope: &TenantScope, plugin: &str, target: &PluginTarget) -> Key {
    // No route is empty, and no tenant is nil.
    let (route, tenant) = (target.route.as_deref().unwrap_or_default(), target.tenant.unwrap_or_default());
    scope.key(TenantFamily::PluginActivationsByTarget, &(plugin, route, tenant))
}

/// A plugin's activation that is at work for a target.
async fn at_work(
    transaction: &Transaction,
    scope: &TenantScope,
    plugin: &str,
    target: &PluginTarget,
) -> Result<Option<PluginActivation>, StoreError> {
    let Some(value) = transaction.get(target_key(scope, plugin, target)).await? else { return Ok(None) };
    let (activation, _, _) = unpack_target(&value)?;
    let found = load(transaction, &activation_key(scope, plugin, activation)).await?;
    let orphan = StoreError::Orphan { family: TenantFamily::PluginActivationsByTarget.name() };
    found.map(Some).ok_or(orphan)
}

async fn finish(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    old: &PluginActivation,
    end: ActivationEnd,
) -> Result<PluginActivation, PluginError> {
    let ended = PluginActivation { ended: Some(end), ..old.clone() };
    replace(transaction, keys, scope, Some(old), Some(&ended)).await?;
    Ok(ended)
}

/// Writes an activation, ends the one before, forgets the oldest, and tells the replicas.
async fn put(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    owner: &Plugin,
    old: Option<PluginActivation>,
    new: PluginActivation,
) -> Result<(Plugin, PluginActivation), PluginError> {
    let (now, by) = (new.activated_at, new.activated_by);
    match old {
        Some(old) => {
            let end = ActivationEnd { at: now, by, replaced_by: Some(new.activation) };
            finish(transaction, keys, scope, &old, end).await?;
        }
        None if active_rows(transaction, scope, None).await?.len() >= MAX_ACTIVE_PLUGINS => {
            return Err(PluginError::Limit { what: "active plugins", limit: MAX_ACTIVE_PLUGINS as u64 });
        }
        None => {}
    }
    replace(transaction, keys, scope, None, Some(&new)).await?;
    let owner = change(transaction, keys, scope, owner, |plugin| {
        plugin.activations = new.activation;
        plugin.updated_at = now;
    })
    .await?;
    prune(transaction, scope, &new).await?;
    let (plugin, version) = (new.plugin.clone(), new.version.to_string());
    let told = Change::PluginActivated { tenant: new.concerns(), plugin, version };
    changes::append(transaction, keys, now, &told)?;
    Ok((owner, new))
}

/// Removes activations that are older than what is kept.
async fn prune(
    transaction: &Transaction,
    scope: &TenantScope,
    newest: &PluginActivation,
) -> Result<(), StoreError> {
    let Some(first_kept) = newest.activation.checked_sub(KEPT_ACTIVATIONS).filter(|first| *first > 0) else {
        return Ok(());
    };
    let rows = active_rows(transaction, scope, Some(&newest.plugin)).await?;
    let needed: HashSet<u64> = rows.iter().flat_map(|row| [row.activation, row.previous]).collect();
    let mut span = scope.span(TenantFamily::PluginActivations, &(newest.plugin.as_str(),));
    span.end = activation_key(scope, &newest.plugin, first_kept.saturating_add(1)).into();
    for key in super::keys_in(transaction, span, PRUNED, false, crate::contract::ReadMode::Snapshot).await? {
        let (_, activation): (String, i64) = scope.unpack(TenantFamily::PluginActivations, &key)?;
        if !needed.contains(&activation.cast_unsigned()) {
            transaction.clear(key)?;
        }
    }
    Ok(())
}
