//! The plugins at work that are kept in the store: read at start, and again where the change feed tells of a change.
//!
//! What is read is handed to the proxy whole, owner by owner, which loads what it does not have. Nothing depends on a
//! change's content, so that one too many does no harm; and where changes may have been missed, all is read again.

use async_trait::async_trait;
use coditect_config::FailureMode;
use coditect_proxy::{BoxError, Bytes, Live, MAX_OWNER_PLUGINS, ModuleSource, PluginOwner, StoredPlugin};
use coditect_store::blobs::BlobHash;
use coditect_store::records::{PluginFailure, PluginSettings, PluginTarget};
use coditect_store::{
    ActivePlugin, LostActivation, MAX_ACTIVE_PLUGINS, MAX_MODULE_BYTES, OPERATORS, ReadableActive,
    Repositories, StoreError,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

/// Tenants in one page of a walk over all.
const TENANTS_PAGE: usize = 200;
/// Tenants whose activations are read at once.
const READS: usize = 16;
/// The most tenants that are remembered as changed; beyond, all are read.
const MAX_CHANGED: usize = 1000;
/// The pause after the store could not be read; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

// What an owner may have at work can be loaded.
const _: () = assert!(MAX_ACTIVE_PLUGINS <= MAX_OWNER_PLUGINS);

/// What has changed in the store since it was read.
#[derive(Default)]
pub(crate) struct PluginChanges {
    changed: Mutex<Changed>,
    told: Notify,
}

#[derive(Default)]
struct Changed {
    all: bool,
    operators: bool,
    tenants: BTreeSet<Uuid>,
}

impl PluginChanges {
    /// An activation was made or ended: for all tenants, or for this one, by its owner or by operators.
    pub(crate) fn note(&self, tenant: Option<Uuid>) {
        self.change(|changed| {
            changed.operators = true;
            changed.tenants.extend(tenant);
        });
    }

    /// Anything may have changed.
    pub(crate) fn note_all(&self) {
        self.change(|changed| changed.all = true);
    }

    fn change(&self, how: impl FnOnce(&mut Changed)) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        how(&mut changed);
        if changed.tenants.len() > MAX_CHANGED {
            changed.all = true;
            changed.tenants.clear();
        }
        drop(changed);
        self.told.notify_one();
    }

    fn take(&self) -> Changed {
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_back(&self, again: Changed) {
        self.change(|changed| {
            changed.all |= again.all;
            changed.operators |= again.operators;
            changed.tenants.extend(again.tenants);
        });
    }
}

/// Brings what is at work in the store to work in this process.
#[derive(Clone)]
pub(crate) struct StoredPlugins {
    repositories: Repositories,
    live: Arc<Live>,
    changes: Arc<PluginChanges>,
}

impl StoredPlugins {
    pub(crate) fn new(repositories: Repositories, live: Arc<Live>, changes: Arc<PluginChanges>) -> Self {
        Self { repositories, live, changes }
    }

    /// Reads what is at work and follows its changes in the background, until the store is closed. Waits for a time until
    /// all was loaded, so that the first requests need not be refused; what then is not loaded, or cannot be, refuses its
    /// requests until it is, unless its activation says otherwise.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn start(self, background: &mut JoinSet<()>) -> Result<(), StoreError> {
        self.read_all().await?;
        let live = Arc::clone(&self.live);
        background.spawn(self.follow());
        if !live.settled().await {
            tracing::warn!("not all plugins are loaded yet; serving begins without those that are not");
        }
        Ok(())
    }

    async fn follow(self) {
        tokio::select! {
            () = self.live.work(&self) => {}
            () = self.read_changes() => {}
        }
    }

    async fn read_changes(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.changes.told.notified().await;
            let changed = self.changes.take();
            match self.read(&changed).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    self.live.could_fit().into_iter().for_each(|tenant| self.changes.note(Some(tenant)));
                }
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "which plugins are at work cannot be read; trying again");
                    self.changes.put_back(changed);
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn read(&self, changed: &Changed) -> Result<(), StoreError> {
        if changed.all {
            return self.read_all().await;
        }
        if changed.operators {
            self.live.want(PluginOwner::Operators, self.active(OPERATORS).await?);
        }
        for tenant in &changed.tenants {
            // What a tenant that is being removed has left does not count.
            let there = self.repositories.tenants().get(*tenant).await?.is_some();
            let active = if there { self.active(*tenant).await? } else { Vec::new() };
            self.live.want(PluginOwner::Tenant(*tenant), active);
        }
        Ok(())
    }

    async fn read_all(&self) -> Result<(), StoreError> {
        self.live.want(PluginOwner::Operators, self.active(OPERATORS).await?);
        let mut there = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.repositories.tenants().list(after, TENANTS_PAGE).await?;
            // By id: a closure over borrowed tenants is none that a task can hold.
            let ids: Vec<Uuid> = page.items.iter().map(|tenant| tenant.id).collect();
            let reads = ids.into_iter().map(|tenant| async move { Ok((tenant, self.active(tenant).await?)) });
            let read: Vec<_> = stream::iter(reads).buffered(READS).try_collect().await?;
            there.extend(read.iter().map(|(tenant, _)| *tenant));
            let of_tenant = |(tenant, active)| (PluginOwner::Tenant(tenant), active);
            self.live.want_all(read.into_iter().map(of_tenant).collect());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let is_gone = |owner: &PluginOwner| matches!(owner, PluginOwner::Tenant(id) if !there.contains(id));
        let gone = self.live.owners().into_iter().filter(is_gone);
        self.live.want_all(gone.map(|owner| (owner, Vec::new())).collect());
        Ok(())
    }

    /// What an owner has at work, as the proxy takes it. What cannot be read is missing, and hides nothing else.
    async fn active(&self, owner: Uuid) -> Result<Vec<StoredPlugin>, StoreError> {
        let ReadableActive { active, lost } = self.repositories.plugins().readable_active(owner).await?;
        for LostActivation { plugin, version, error, .. } in &lost {
            tracing::debug!(%owner, plugin, version, %error, "an activation cannot be read");
        }
        Ok(active.into_iter().map(stored).chain(lost.into_iter().map(missing)).collect())
    }
}

fn stored(active: ActivePlugin) -> StoredPlugin {
    let ActivePlugin { activation, version } = active;
    let module = Some(version.sha256.0);
    plugin(activation.plugin, activation.version, activation.target, activation.settings, module)
}

/// Where it is not known how it is run, it fails closed and is for every request of its target.
fn missing(lost: LostActivation) -> StoredPlugin {
    plugin(lost.plugin, lost.version, lost.target, lost.settings.unwrap_or_default(), None)
}

fn plugin(
    name: String,
    version: u64,
    target: PluginTarget,
    settings: PluginSettings,
    module: Option<[u8; 32]>,
) -> StoredPlugin {
    StoredPlugin {
        name,
        version,
        sha256: module.unwrap_or_default(),
        route: target.route,
        tenant: target.tenant,
        root_id: settings.root_id,
        configuration: settings.configuration.into(),
        failure: match settings.failure {
            PluginFailure::Closed => FailureMode::Closed,
            PluginFailure::Open => FailureMode::Open,
        },
        order: settings.order,
        share_percent: settings.share_percent,
        shadow: settings.shadow,
        lost: module.is_none(),
    }
}

#[async_trait]
impl ModuleSource for StoredPlugins {
    async fn module(&self, owner: PluginOwner, plugin: &StoredPlugin) -> Result<Bytes, BoxError> {
        let tenant = match owner {
            PluginOwner::Operators => OPERATORS,
            PluginOwner::Tenant(tenant) => tenant,
        };
        let hash = BlobHash(plugin.sha256);
        let mut reader = self.repositories.blobs().open(tenant, &hash).await?.ok_or("the module is lost")?;
        if reader.size() > MAX_MODULE_BYTES {
            return Err(format!("the module has {} bytes", reader.size()).into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size())?);
        while let Some(chunk) = reader.next_chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }
}
