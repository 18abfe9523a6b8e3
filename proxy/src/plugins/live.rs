//! The plugins at work, and the one place where they change: by the configuration file, and by what the store wants.
//!
//! A plugin is compiled, started and configured on a thread for blocking work, one at a time; then the whole set is
//! swapped. Requests that began before finish on the plugins they began with, and the last of them frees those. What did
//! not change is not loaded again, so that its instances stay warm. What cannot be loaded takes nobody's place, and what
//! is not loaded yet refuses its requests, unless it fails open.

use super::choose::{PluginSet, Use, without_slash};
use super::load::{Configured, PluginError, PluginLoader};
use super::loaded::Loaded;
use super::slot::Shortfall;
use super::slots::{Allowed, Ended, Job, MAX_OWNER_PLUGINS, MAX_TENANTS_PLUGINS, Notice, Slots};
use super::stored::{ModuleSource, PluginOwner, StoredPlugin};
use crate::metrics::Metrics;
use crate::snapshot::{Services, Snapshot};
use arc_swap::ArcSwap;
use coditect_config::{Config, PluginUse};
use coditect_proxy_wasm::{LoadReason, StartError};
use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

/// How long reading a module from the store may take.
const MODULE_DEADLINE: Duration = Duration::from_secs(60);
/// How long the process waits at its start, in all, until what is wanted was loaded.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// The most activations that are named in the log when many are told of at once; the rest is counted.
const MAX_NOTICES: usize = 20;
/// The most routes that a line of the log names.
const MAX_NAMED_ROUTES: usize = 20;

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
    /// A load has ended.
    ended: Notify,
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
            ended: Notify::new(),
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
        let routes: Vec<_> = routes.collect();
        let prefixes = routes.iter().map(|(prefix, _)| prefix.clone()).collect();
        let mut state = self.state();
        let notices = state.slots.set_routes(prefixes);
        state.slots.allow(Allowed {
            operators: config.plugin_host.operator_upstreams.clone().into(),
            tenants: config.plugin_host.tenant_upstreams.clone().into(),
        });
        let replaced = (
            std::mem::replace(&mut state.configured, configured),
            std::mem::replace(&mut state.global, global),
            std::mem::replace(&mut state.routes, routes),
        );
        let set = state.set();
        let next = Arc::new(Snapshot::build(config, &self.services, &self.metrics, set));
        let before = self.snapshot.swap(next);
        if let Some(callable) = callable {
            callable.take();
        }
        self.count(&state);
        self.tell(&state, &notices);
        drop(state);
        discard((replaced, before));
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
            match loaded {
                Ok(loaded) => drop(configured.insert(name, loaded)),
                Err(error) => {
                    self.metrics.plugin_load_failed(&name);
                    discard(configured);
                    return Err(error);
                }
            }
        }
        Ok(configured)
    }

    /// What an owner wants at work from now on: all of it, in place of what it wanted before. What is loaded already is
    /// at work at once, and what is wanted no more is not; the rest is for [`Self::work`], and until then refuses its
    /// requests unless it fails open, or an older version is at work in its place.
    pub fn want(&self, owner: PluginOwner, wanted: Vec<StoredPlugin>) {
        self.want_all(vec![(owner, wanted)]);
    }

    /// As [`Self::want`], for several owners at once.
    pub fn want_all(&self, wanted: Vec<(PluginOwner, Vec<StoredPlugin>)>) {
        let (mut changed, mut notices, mut retired) = (false, Vec::new(), Vec::new());
        let mut state = self.state();
        for (owner, wanted) in wanted {
            let result = state.slots.want(owner, wanted);
            changed |= result.changed;
            notices.extend(result.notices);
            retired.push(result.retired);
        }
        let before = changed.then(|| self.swap(&state));
        self.count(&state);
        self.tell(&state, &notices);
        drop(state);
        discard((retired, before));
        self.wanted.notify_one();
    }

    /// The owners that want anything.
    pub fn owners(&self) -> Vec<PluginOwner> {
        self.state().slots.owners()
    }

    /// Tenants that want more than is loaded, and for whom there is room by now: what they want is to be told again.
    pub fn could_fit(&self) -> Vec<Uuid> {
        self.state().slots.could_fit()
    }

    /// Waits until all that is wanted was tried to load, while [`Self::work`] does it, or for 30 seconds; whether it
    /// was. Cancellation safe.
    pub async fn settled(&self) -> bool {
        let settled = async {
            loop {
                let mut ended = pin!(self.ended.notified());
                ended.as_mut().enable();
                if !self.state().slots.has_untried() {
                    return;
                }
                ended.await;
            }
        };
        timeout(START_DEADLINE, settled).await.is_ok()
    }

    /// Loads what is wanted as it is wanted, until it is dropped.
    pub async fn work(&self, source: &dyn ModuleSource) {
        loop {
            while let Some(job) = self.job() {
                self.load(&job, source).await;
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
        let mut state = self.state();
        let retired = state.slots.ended(job, ended, Instant::now());
        let before = self.swap(&state);
        self.count(&state);
        drop(state);
        discard((retired, before));
        self.ended.notify_waiters();
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
            let loaded = Loaded::new(plugin, Some(job.owner), &job.plugin.name, &metrics);
            if let (PluginOwner::Tenant(tenant), _) | (_, Some(tenant)) = (job.owner, job.plugin.tenant) {
                loaded.warm(tenant);
            }
            Ok(loaded)
        });
        loading.await.unwrap_or_else(|panicked| Err(Failure { again: false, reason: panicked.to_string() }))
    }

    /// Puts the set to work that the state makes; gives what was at work before, to be [discarded](discard).
    #[must_use]
    fn swap(&self, state: &State) -> Arc<Snapshot> {
        let snapshot = self.snapshot.load_full();
        self.snapshot.swap(Arc::new(snapshot.with_plugins(state.set())))
    }

    fn count(&self, state: &State) {
        let shortfalls = state.slots.shortfalls();
        let unfulfilled = Shortfall::ALL.map(|why| (why.label(), shortfalls.get(&why).copied().unwrap_or(0)));
        self.metrics.plugins_wanted(state.configured.len() + state.slots.len(), &unfulfilled);
    }

    /// Tells operators which activations are not at work.
    fn tell(&self, state: &State, notices: &[Notice]) {
        for Notice { owner, plugin, version, route, why } in notices.iter().take(MAX_NOTICES) {
            match why {
                Shortfall::NoRoute => {
                    let routes: Vec<&str> =
                        state.slots.routes().iter().map(|prefix| with_slash(prefix)).collect();
                    let named = &routes[..routes.len().min(MAX_NAMED_ROUTES)];
                    tracing::warn!(plugin, %owner, version, route, routes = ?named, of = routes.len(),
                        "an activation is for a route that the configuration does not have; it has no effect");
                }
                Shortfall::TooMany => tracing::error!(plugin, %owner, version, limit = MAX_OWNER_PLUGINS,
                    limit_of_tenants = MAX_TENANTS_PLUGINS,
                    "too many plugins are at work; this one is not loaded, and its failure mode decides about requests"),
                Shortfall::Lost => tracing::error!(plugin, %owner, version,
                    "the store has lost what an activation needs: activate the plugin again, or deactivate it"),
                Shortfall::Loading | Shortfall::Refused => {}
            }
        }
        if let Some(more) = notices.len().checked_sub(MAX_NOTICES).filter(|more| *more > 0) {
            tracing::warn!(
                more,
                "and further activations are not in effect; see coditect_plugins_unfulfilled"
            );
        }
        for lost in notices.iter().filter(|notice| notice.why == Shortfall::Lost) {
            self.metrics.plugin_load_failed(&lost.owner.failure_label(&lost.plugin));
        }
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
        PluginSet::new(routes, stored.tenants, stored.own)
    }
}

/// A route's prefix as a person knows it.
fn with_slash(prefix: &str) -> &str {
    if prefix.is_empty() { "/" } else { prefix }
}

/// Drops what was taken out of work, on a thread for blocking work: the last use of a plugin frees its instances and its
/// code, which takes time. Never called with the state's lock held.
fn discard(things: impl Send + 'static) {
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(things))),
        // Nobody is held up.
        Err(_) => drop(things),
    }
}
