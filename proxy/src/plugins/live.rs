//! The plugins at work, and the one place where they change: by the configuration file, and by what the store wants.
//!
//! A plugin is compiled, started and configured on a thread for blocking work, one at a time; then the whole set is
//! swapped. Requests that began before finish on the plugins they began with, and the last of them frees those. What did
//! not change is not loaded again, so that its instances stay warm. What cannot be loaded takes nobody's place.

use super::choose::{PluginSet, Use, without_slash};
use super::load::{Configured, PluginError, PluginLoader};
use super::loaded::Loaded;
use super::slots::{Allowed, Ended, Job, MAX_STORED_PLUGINS, Slots, Wanted};
use super::stored::{ModuleSource, PluginOwner, StoredPlugin};
use crate::metrics::Metrics;
use crate::snapshot::{Services, Snapshot};
use arc_swap::ArcSwap;
use coditect_config::{Config, PluginUse};
use coditect_proxy_wasm::{LoadReason, StartError};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

/// How long reading a module from the store may take.
const MODULE_DEADLINE: Duration = Duration::from_secs(60);

/// The configuration at work, with the plugins of the store in it.
pub struct Live {
    loader: PluginLoader,
    services: Services,
    metrics: Metrics,
    snapshot: Arc<ArcSwap<Snapshot>>,
    state: Mutex<State>,
    /// Held while a configuration is taken: one at a time.
    taking: tokio::sync::Mutex<()>,
    /// There may be something to load.
    wanted: Notify,
}

/// What the set is made of.
#[derive(Default)]
struct State {
    /// The plugins of the configuration file, by name.
    configured: HashMap<String, Configured>,
    /// Their uses on every route.
    global: Vec<Arc<Use>>,
    /// Their uses by route.
    routes: Vec<(String, Vec<Arc<Use>>)>,
    slots: Slots,
}

impl Live {
    /// Takes the first configuration. The plugins of the store come with [`Self::want`].
    ///
    /// # Errors
    /// A plugin of the configuration could not be loaded.
    pub async fn start(
        config: &Config,
        services: Services,
        loader: PluginLoader,
        metrics: Metrics,
    ) -> Result<Self, PluginError> {
        let empty = Snapshot::build(config, &services, &metrics, PluginSet::default());
        let live = Self {
            loader,
            services,
            metrics,
            snapshot: Arc::new(ArcSwap::from_pointee(empty)),
            state: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
            wanted: Notify::new(),
        };
        live.take(config).await?;
        Ok(live)
    }

    /// What requests are decided by now.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Puts another configuration to work: routes, upstreams, plugins. If it is dropped before its end, the old one
    /// stays.
    ///
    /// # Errors
    /// A plugin could not be loaded. Nothing has changed then.
    pub async fn take(&self, config: &Config) -> Result<(), PluginError> {
        let _one = self.taking.lock().await;
        // A plugin may call out as soon as it is configured.
        let callable = self.loader.offer(&config.upstreams);
        let configured = self.load_configured(config).await?;
        let uses = |written: &[PluginUse]| -> Vec<Arc<Use>> {
            let made = written.iter().filter_map(|used| {
                let plugin = configured.get(&used.plugin)?.loaded.clone();
                Some(Arc::new(Use::configured(used, plugin)))
            });
            made.collect()
        };
        let global = uses(&config.plugin_chain);
        let routes = config
            .routes
            .iter()
            .map(|route| (without_slash(&route.prefix.text).to_owned(), uses(&route.plugins)));
        let routes = routes.collect();
        let mut state = self.state();
        state.slots.allow(Allowed {
            operators: config.plugin_host.operator_upstreams.clone().into(),
            tenants: config.plugin_host.tenant_upstreams.clone().into(),
        });
        (state.configured, state.global, state.routes) = (configured, global, routes);
        let set = state.set();
        self.snapshot.store(Arc::new(Snapshot::build(config, &self.services, &self.metrics, set)));
        if let Some(callable) = callable {
            callable.take();
        }
        self.count(&state);
        drop(state);
        // Whoever has a configuration taken has seen to what was wrong.
        self.metrics.guests.release_quarantines();
        self.wanted.notify_one();
        Ok(())
    }

    async fn load_configured(&self, config: &Config) -> Result<HashMap<String, Configured>, PluginError> {
        let mut configured = HashMap::new();
        for plugin in &config.plugins {
            let old = self.state().configured.get(&plugin.name).cloned();
            let (loader, metrics, plugin) = (self.loader.clone(), self.metrics.clone(), plugin.clone());
            let (name, tenants) = (plugin.name.clone(), tenants_of(config, &plugin.name));
            let loading = tokio::task::spawn_blocking(move || {
                let configured = loader.configured(&plugin, old, &metrics)?;
                tenants.into_iter().for_each(|tenant| configured.loaded.warm(tenant));
                Ok(configured)
            });
            let loaded = loading.await.unwrap_or_else(|panicked| {
                Err(PluginError::Panicked { plugin: name.clone(), reason: panicked.to_string() })
            });
            let loaded = loaded.inspect_err(|_| self.metrics.plugin_load_failed(&name))?;
            configured.insert(name, loaded);
        }
        Ok(configured)
    }

    /// What an owner wants at work from now on: all of it, in place of what it wanted before. What is loaded already is
    /// at work at once, and what is wanted no more is not; the rest is for [`Self::settle`] and [`Self::work`].
    pub fn want(&self, owner: PluginOwner, wanted: Vec<StoredPlugin>) {
        let mut state = self.state();
        let Wanted { changed, left_out } = state.slots.want(owner, wanted);
        if left_out > 0 {
            tracing::error!(%owner, left_out, limit = MAX_STORED_PLUGINS, "there are too many plugins at work");
        }
        if changed {
            self.swap(&state);
        }
        self.count(&state);
        drop(state);
        self.wanted.notify_one();
    }

    /// The owners that want anything.
    pub fn owners(&self) -> Vec<PluginOwner> {
        self.state().slots.owners()
    }

    /// Loads what is wanted, each once, whether it succeeds or not, and puts it to work as a whole.
    pub async fn settle(&self, source: &dyn ModuleSource) {
        while let Some(job) = self.job() {
            self.load(&job, source).await;
        }
        self.swap(&self.state());
    }

    /// Loads what is wanted as it is wanted, until it is dropped.
    pub async fn work(&self, source: &dyn ModuleSource) {
        loop {
            while let Some(job) = self.job() {
                self.load(&job, source).await;
                self.swap(&self.state());
            }
            let retry = self.state().slots.retry();
            let again = async {
                match retry {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wanted.notified() => {}
                () = again => {}
            }
        }
    }

    async fn load(&self, job: &Job, source: &dyn ModuleSource) {
        let Job { owner, plugin: StoredPlugin { name, version, .. }, .. } = job;
        let (ended, reason) = match self.try_load(job, source).await {
            Ok(loaded) => {
                tracing::info!(plugin = name, %owner, version, "plugin loaded");
                (Ended::Loaded(loaded), None)
            }
            Err(Failure { again: true, reason }) => (Ended::Failed, Some(reason)),
            Err(Failure { again: false, reason }) => (Ended::Refused, Some(reason)),
        };
        if let Some(reason) = reason {
            self.metrics.plugin_load_failed(&owner.failure_label(name));
            let again = matches!(ended, Ended::Failed);
            tracing::error!(
                plugin = name,
                %owner,
                version,
                reason,
                again,
                "a plugin could not be loaded; what was at work before it goes on"
            );
        }
        self.state().slots.ended(job, ended, Instant::now());
    }

    fn job(&self) -> Option<Job> {
        self.state().slots.job(Instant::now())
    }

    async fn try_load(&self, job: &Job, source: &dyn ModuleSource) -> Result<Loaded, Failure> {
        let module = timeout(MODULE_DEADLINE, source.module(job.owner, &job.plugin)).await;
        let later = |reason: String| Failure { again: true, reason };
        let module = match module {
            Ok(Ok(module)) => module,
            Ok(Err(error)) => return Err(later(format!("its module cannot be read: {error}"))),
            Err(_) => return Err(later(format!("its module was not read within {MODULE_DEADLINE:?}"))),
        };
        let (loader, metrics, job) = (self.loader.clone(), self.metrics.clone(), job.clone());
        let loading = tokio::task::spawn_blocking(move || {
            let plugin = loader.stored(&job.made, &module).map_err(|error| Failure {
                again: matches!(
                    *error.reason,
                    LoadReason::Busy { .. } | LoadReason::Canary(StartError::Exhausted { .. })
                ),
                reason: error.reason.to_string(),
            })?;
            let loaded = Loaded::new(plugin, &job.owner.label(&job.plugin.name), &metrics);
            if let (PluginOwner::Tenant(tenant), _) | (_, Some(tenant)) = (job.owner, job.plugin.tenant) {
                loaded.warm(tenant);
            }
            Ok(loaded)
        });
        loading.await.unwrap_or_else(|panicked| Err(Failure { again: false, reason: panicked.to_string() }))
    }

    /// Puts the set to work that the state makes.
    fn swap(&self, state: &State) {
        let snapshot = self.snapshot.load_full();
        self.snapshot.store(Arc::new(snapshot.with_plugins(state.set())));
        self.count(state);
    }

    fn count(&self, state: &State) {
        self.metrics.plugins_wanted(state.configured.len() + state.slots.len(), state.slots.unfulfilled());
    }

    /// Never held over an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tenants that a plugin of the configuration names: their first requests need not wait for an instance.
fn tenants_of(config: &Config, plugin: &str) -> BTreeSet<Uuid> {
    let of_routes = config.routes.iter().flat_map(|route| &route.plugins);
    let uses = config.plugin_chain.iter().chain(of_routes).filter(|used| used.plugin == plugin);
    uses.filter_map(|used| used.tenants.as_ref()).flatten().copied().collect()
}

/// Why a plugin of the store is not loaded.
struct Failure {
    /// Whether it may succeed later.
    again: bool,
    reason: String,
}

impl State {
    fn set(&self) -> PluginSet {
        let stored = self.slots.uses();
        let mut routes = HashMap::with_capacity(self.routes.len());
        for (prefix, own) in &self.routes {
            let of_route = stored.routes.get(prefix).map_or(&[][..], Vec::as_slice);
            let uses = self.global.iter().chain(&stored.global).chain(own).chain(of_route);
            routes.insert(prefix.clone(), uses.cloned().collect());
        }
        PluginSet::new(routes, stored.tenants)
    }
}
