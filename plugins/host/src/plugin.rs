//! A loaded plugin.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::abi::{AbiVersion, Direction, LogLevel};
use crate::budget::Budget;
use crate::check::CheckDepth;
use crate::engine::EngineInner;
use crate::error::{LoadReason, StartError, StreamError};
use crate::exchange::SharedExchange;
use crate::instance::{self, Instance};
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::metrics::{MetricSample, MetricTotals};
use crate::module::CompiledModule;
use crate::modules::Keep;
use crate::pool::{Lease, Opening, Pool};
use crate::quarantine::{Quarantine, QuarantineTable, Rule};
use crate::scope::{Counters, PluginFacts, Scope, vm_scope};
use crate::stats::PluginStats;
use crate::stream::{Bell, StreamContext};
use crate::threads::Worker;
use crate::trace::Tracer;

/// The canary's tenant in logs and reports. No real tenant can have it: it is no UUID and not `public`.
const CANARY_TENANT: &str = "(canary)";

/// How many instances a new stream may lose to the traps of others before it gives up.
const MAX_OPEN_TRIES: u32 = 8;

/// What becomes of a request whose plugin trapped. The embedder acts on it; the host only keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureMode {
    /// The request is answered 503.
    #[default]
    Closed,
    /// The request goes on as if the plugin were not there.
    Open,
}

/// A plugin as it is configured.
#[derive(Clone)]
pub struct PluginConfig {
    /// Its name in the configuration, in logs and metrics, and its property `plugin_name`.
    pub name: String,
    /// The module, in the binary format.
    pub wasm: Arc<[u8]>,
    /// The root id a module with several roots tells them apart by; property `plugin_root_id`.
    pub root_id: String,
    /// Names the scope of shared data and queues; property `plugin_vm_id`.
    pub vm_id: String,
    /// Whose plugin it is, in the embedder's words: a `vm_id` of one owner is another one than the same of another's.
    pub owner: String,
    /// Its version, in the embedder's words; for reports.
    pub version: String,
    /// The upstreams it may call, by name. None by default.
    pub upstreams: Vec<String>,
    /// Whether a pause at headers holds back the headers only, while the body comes to the plugin: Envoy's
    /// `allow_on_headers_stop_iteration`. False by default: then such a pause holds everything back.
    pub stop_iteration: bool,
    /// Sees every call in either direction. None by default; each call costs more with one.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// What `proxy_on_vm_start` can read.
    pub vm_configuration: Vec<u8>,
    /// What `proxy_on_configure` can read: any bytes, most plugins want JSON.
    pub configuration: Vec<u8>,
    /// What becomes of requests when it fails.
    pub failure_mode: FailureMode,
    /// Messages below are dropped; what `proxy_get_log_level` answers.
    pub log_level: LogLevel,
    /// What it may use.
    pub limits: Limits,
    /// After this many traps and failed starts for one tenant within [`quarantine_window`](Self::quarantine_window) it
    /// is not started for that tenant any more ([`StreamError::Quarantined`]), until it is released or replaced.
    /// Default 10; 0 means never; at most [`MAX_QUARANTINE_TRAPS`](crate::MAX_QUARANTINE_TRAPS).
    pub quarantine_traps: u32,
    /// Default 60 s.
    pub quarantine_window: Duration,
}

impl PluginConfig {
    /// A plugin without ids and configuration, closed, with default limits.
    #[must_use]
    pub fn new(name: impl Into<String>, wasm: impl Into<Arc<[u8]>>) -> Self {
        Self {
            name: name.into(),
            wasm: wasm.into(),
            root_id: String::new(),
            vm_id: String::new(),
            owner: String::new(),
            version: String::new(),
            upstreams: Vec::new(),
            stop_iteration: false,
            tracer: None,
            vm_configuration: Vec::new(),
            configuration: Vec::new(),
            failure_mode: FailureMode::default(),
            log_level: LogLevel::default(),
            limits: Limits::default(),
            quarantine_traps: 10,
            quarantine_window: Duration::from_secs(60),
        }
    }
}

/// A plugin that compiled, fits the host and took its configuration. Cheap to clone.
///
/// When the last clone and the last stream are gone, so are its instances.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<PluginInner>,
}

struct PluginInner {
    engine: Arc<EngineInner>,
    module: Arc<CompiledModule>,
    facts: Arc<PluginFacts>,
    failure_mode: FailureMode,
    stop_iteration: bool,
    pool: Arc<Pool>,
}

/// A plugin, if it is still there: does not keep it.
#[derive(Clone)]
pub struct WeakPlugin(std::sync::Weak<PluginInner>);

impl WeakPlugin {
    /// The plugin, while something else keeps it.
    #[must_use]
    pub fn upgrade(&self) -> Option<Plugin> {
        self.0.upgrade().map(|inner| Plugin { inner })
    }
}

impl Plugin {
    /// A handle that does not keep it.
    #[must_use]
    pub fn downgrade(&self) -> WeakPlugin {
        WeakPlugin(Arc::downgrade(&self.inner))
    }

    pub(crate) fn load(engine: &Arc<EngineInner>, config: PluginConfig) -> Result<Self, LoadReason> {
        let (failure_mode, stop_iteration) = (config.failure_mode, config.stop_iteration);
        let (module, facts) = try_out(engine, config, CheckDepth::Configured, Keep::OnDisk)?;
        let pool = Arc::new(Pool::new());
        engine.add_pool(&pool);
        let engine = Arc::clone(engine);
        let inner = PluginInner { engine, module, facts, failure_mode, stop_iteration, pool };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Loads one as far as `depth`, and keeps only its module.
    pub(crate) fn check(
        engine: &Arc<EngineInner>,
        config: PluginConfig,
        depth: CheckDepth,
    ) -> Result<Arc<CompiledModule>, LoadReason> {
        try_out(engine, config, depth, Keep::No).map(|(module, _)| module)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.facts.name
    }

    /// The ABI version its module was written for.
    #[must_use]
    pub fn abi(&self) -> AbiVersion {
        self.inner.module.abi
    }

    /// What the embedder is to do when it fails.
    #[must_use]
    pub fn failure_mode(&self) -> FailureMode {
        self.inner.failure_mode
    }

    /// Whether a pause at headers holds back the headers only ([`PluginConfig::stop_iteration`]).
    #[must_use]
    pub fn stop_iteration(&self) -> bool {
        self.inner.stop_iteration
    }

    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.facts.limits
    }

    /// Whether it looks at bodies of that direction.
    #[must_use]
    pub fn has_body_callback(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.inner.module.request_body,
            Direction::Response => self.inner.module.response_body,
        }
    }

    /// Whether it looks at trailers of that direction.
    #[must_use]
    pub fn has_trailer_callback(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.inner.module.request_trailers,
            Direction::Response => self.inner.module.response_trailers,
        }
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.inner.facts.name)
    }

    /// Counts a budget that a stream of this plugin crossed.
    pub(crate) fn crossed(&self, budget: Budget) {
        self.inner.facts.crossed(budget);
    }

    /// The budgets its guests crossed so far, by name, and how often. [`PluginStats`] has the others too.
    #[must_use]
    pub fn budgets_crossed(&self) -> Vec<(&'static str, u64)> {
        let counts = self.inner.facts.counters.budgets_crossed.counts();
        let crossed = counts.iter().filter(|(_, count)| *count > 0);
        crossed.map(|(budget, count)| (budget.name(), count)).collect()
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> PluginStats {
        let counters = &self.inner.facts.counters;
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (tenants, instances) = self.inner.pool.live();
        PluginStats {
            instances,
            tenants,
            callbacks: get(&counters.callbacks),
            traps: get(&counters.traps),
            instances_started: get(&counters.instances_started),
            instances_evicted: get(&counters.instances_evicted),
            instances_shared: get(&counters.instances_shared),
            exhausted: get(&counters.exhausted),
            quarantined: self.inner.facts.quarantine.count() as u64,
            refused_in_quarantine: get(&counters.refused_in_quarantine),
            refused_while_slow: get(&counters.refused_while_slow),
            log_lines_dropped: get(&counters.log_lines_dropped),
            budgets_crossed: counters.budgets_crossed.counts(),
        }
    }

    /// The tenants it is in quarantine for, sorted.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantine> {
        self.inner.facts.quarantine.list()
    }

    /// Ends the quarantine for a tenant; its next stream starts the plugin again, with no trap counted. Whether there
    /// was one.
    pub fn release(&self, tenant: &str) -> bool {
        self.inner.facts.quarantine.release(tenant)
    }

    /// The metrics its guests defined, summed over tenants, sorted by name. At most [`Limits::metrics`] per tenant.
    #[must_use]
    pub fn metrics(&self) -> Vec<MetricSample> {
        let retired = self.inner.facts.retired_metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals: MetricTotals = retired.clone();
        drop(retired);
        self.inner.pool.for_each_scope(|scope| {
            totals.add(&scope.metrics.lock().unwrap_or_else(PoisonError::into_inner));
        });
        totals.into_samples()
    }

    /// Begins a stream for a tenant: takes one of its instances, or starts one (its start-up functions take up to
    /// [`Limits::start_cpu`] each, on this thread; [`Chain`](crate::Chain) leaves that to the engine's), and runs
    /// `proxy_on_context_create`. Requests without a tenant belong to the pseudo-tenant `public`.
    ///
    /// The stream keeps to that instance. Several streams share one; their callbacks are one at a time, so a call
    /// may wait for another stream's callback, at most for the CPU budget.
    ///
    /// # Errors
    /// No instance could be had, the plugin is in quarantine for that tenant, or the guest trapped.
    pub fn open(&self, tenant: &str, exchange: SharedExchange) -> Result<StreamContext, StreamError> {
        self.open_here(tenant, &exchange, &Arc::default())
    }

    /// As [`open`](Self::open), with the bell of the request's streams. What may take long is done by another thread.
    pub(crate) async fn open_for(
        &self,
        tenant: &Arc<str>,
        exchange: &SharedExchange,
        bell: &Arc<Bell>,
    ) -> Result<StreamContext, StreamError> {
        let PluginInner { engine, facts, pool, .. } = &*self.inner;
        if facts.quarantine.holds(tenant) {
            return Err(self.refused_in_quarantine(tenant));
        }
        for _ in 0..MAX_OPEN_TRIES {
            match pool.opening(tenant, facts.limits.instances_per_tenant, |tenant| self.new_scope(tenant)) {
                Opening::Here(lease) => {
                    lease.used(engine.next_use());
                    match self.begin_on(lease, exchange, bell) {
                        // Another stream's trap was faster. This one has not begun, so it can begin elsewhere.
                        Err(StreamError::InstanceLost { .. }) => {}
                        begun => return begun,
                    }
                }
                Opening::Start(order) => {
                    return self.open_there(Worker::Starter, tenant, exchange, bell, order).await;
                }
                Opening::Slow(scope) => {
                    return self.open_there(Worker::Slow(&scope), tenant, exchange, bell, ()).await;
                }
                Opening::Wait(started) => started.await,
            }
        }
        Err(self.busy())
    }

    /// As [`open_here`](Self::open_here), by another thread; `until` is kept for as long.
    async fn open_there(
        &self,
        worker: Worker<'_>,
        tenant: &Arc<str>,
        exchange: &SharedExchange,
        bell: &Arc<Bell>,
        until: impl Send + 'static,
    ) -> Result<StreamContext, StreamError> {
        let (plugin, tenant) = (self.clone(), Arc::clone(tenant));
        let (exchange, bell) = (Arc::clone(exchange), Arc::clone(bell));
        let open = move || {
            let opened = plugin.open_here(&tenant, &exchange, &bell);
            drop(until);
            opened
        };
        let threads = &self.inner.facts.threads;
        threads.run(worker, open).await.unwrap_or_else(|_| Err(self.busy()))
    }

    fn open_here(
        &self,
        tenant: &str,
        exchange: &SharedExchange,
        bell: &Arc<Bell>,
    ) -> Result<StreamContext, StreamError> {
        let mut tries = 1;
        loop {
            let lease = self.lease(tenant)?;
            match self.begin_on(lease, exchange, bell) {
                // Another stream's trap was faster. This one has not begun, so it can begin elsewhere.
                Err(StreamError::InstanceLost { .. }) if tries < MAX_OPEN_TRIES => tries += 1,
                begun => return begun,
            }
        }
    }

    fn begin_on(
        &self,
        lease: Lease,
        exchange: &SharedExchange,
        bell: &Arc<Bell>,
    ) -> Result<StreamContext, StreamError> {
        let state = lease.with(|instance| instance.create_stream(Arc::clone(exchange), bell))?;
        Ok(StreamContext::new(self.clone(), lease, state))
    }

    /// Whether it lately failed for a tenant.
    pub(crate) fn failed_lately(&self, tenant: &str) -> bool {
        self.inner.pool.failed_lately(tenant)
    }

    /// Too much of its work waits.
    pub(crate) fn busy(&self) -> StreamError {
        Counters::add(&self.inner.facts.counters.refused_while_slow);
        StreamError::Busy { plugin: self.shared_name() }
    }

    fn refused_in_quarantine(&self, tenant: &str) -> StreamError {
        Counters::add(&self.inner.facts.counters.refused_in_quarantine);
        StreamError::Quarantined { plugin: self.shared_name(), tenant: tenant.into() }
    }

    /// Starts an instance for a tenant that has none, so that its first request need not.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn warm(&self, tenant: &str) -> Result<(), StreamError> {
        self.lease(tenant).map(drop)
    }

    fn lease(&self, tenant: &str) -> Result<Lease, StreamError> {
        let PluginInner { engine, facts, pool, .. } = &*self.inner;
        if facts.quarantine.holds(tenant) {
            return Err(self.refused_in_quarantine(tenant));
        }
        let most = facts.limits.instances_per_tenant;
        let new_scope = |tenant: &Arc<str>| self.new_scope(tenant);
        let lease = pool.lease(tenant, most, new_scope, |scope| self.start(scope))?;
        lease.used(engine.next_use());
        Ok(lease)
    }

    fn new_scope(&self, tenant: &Arc<str>) -> Arc<Scope> {
        let PluginInner { engine, facts, .. } = &*self.inner;
        let shared_data = engine.shared_data.scope(&facts.vm_id, tenant);
        let (plugin, tenant) = (Arc::clone(facts), Arc::clone(tenant));
        let queues = engine.queues.of(&tenant, &facts.owner);
        Arc::new(Scope::new(plugin, tenant, shared_data, queues, false))
    }

    fn start(&self, scope: &Arc<Scope>) -> Result<Instance, StreamError> {
        let PluginInner { engine, module, facts, .. } = &*self.inner;
        let plugin = || Arc::clone(&facts.name);
        let place = engine.place().map_err(|limit| {
            Counters::add(&facts.counters.exhausted);
            StreamError::Exhausted { plugin: plugin(), limit }
        })?;
        let ticking = engine.ticking();
        let mailbox = Mailbox::new(Arc::clone(&engine.schedule));
        let store = instance::store(&engine.runtime, Arc::clone(scope), mailbox, &ticking);
        Counters::add(&facts.counters.instances_started);
        let started = Instance::start(module, place, store, ticking);
        let configured = started.and_then(|mut instance| instance.configure().map(|()| instance));
        configured.map_err(|reason| {
            scope.did_not_start(&reason);
            match reason {
                StartError::Trap(trap) => StreamError::Trap(trap),
                reason => StreamError::Start { plugin: plugin(), reason },
            }
        })
    }
}

/// The canary shares nothing: what it counts and stores is gone with it.
fn canary_scope(engine: &EngineInner, facts: &Arc<PluginFacts>) -> Arc<Scope> {
    let shared_data = Arc::new(engine.shared_data.private());
    Arc::new(Scope::new(Arc::clone(facts), CANARY_TENANT.into(), shared_data, Arc::default(), true))
}

/// Compiles a plugin's module and starts a canary of it, as far as `depth`.
fn try_out(
    engine: &Arc<EngineInner>,
    config: PluginConfig,
    depth: CheckDepth,
    keep: Keep,
) -> Result<(Arc<CompiledModule>, Arc<PluginFacts>), LoadReason> {
    let (name, version): (Arc<str>, Arc<str>) = (config.name.into(), config.version.into());
    let quarantine = QuarantineTable::new(Rule {
        plugin: Arc::clone(&name),
        version: Arc::clone(&version),
        traps: config.quarantine_traps,
        window: config.quarantine_window,
    });
    let facts = Arc::new(PluginFacts {
        name,
        version,
        quarantine,
        root_id: config.root_id,
        vm_id: vm_scope(&config.owner, &config.vm_id),
        guest_vm_id: config.vm_id,
        owner: config.owner,
        upstreams: config.upstreams,
        tracer: config.tracer,
        meter: engine.meter(),
        vm_configuration: config.vm_configuration,
        configuration: config.configuration,
        log_level: config.log_level,
        limits: config.limits,
        environment: Arc::clone(&engine.environment),
        threads: Arc::clone(&engine.threads),
        counters: Counters::default(),
        retired_metrics: Mutex::default(),
    });
    let scope = canary_scope(engine, &facts);
    let probe = instance::store(&engine.runtime, Arc::clone(&scope), nobody(), &engine.ticking());
    let module = engine.module(&config.wasm, probe, keep)?;
    start_canary(engine, &module, scope, depth).map_err(LoadReason::Canary)?;
    Ok((module, facts))
}

fn start_canary(
    engine: &EngineInner,
    module: &CompiledModule,
    scope: Arc<Scope>,
    depth: CheckDepth,
) -> Result<(), StartError> {
    let place = engine.place().map_err(|limit| StartError::Exhausted { limit })?;
    let ticking = engine.ticking();
    Counters::add(&scope.plugin.counters.instances_started);
    let store = instance::store(&engine.runtime, scope, nobody(), &ticking);
    let mut canary = Instance::start(module, place, store, ticking)?;
    if depth == CheckDepth::Configured {
        canary.configure()?;
    }
    canary.end_root()?;
    Ok(())
}

/// A canary's mailbox: its ticks do not come, its calls are not answered.
fn nobody() -> Arc<Mailbox> {
    Mailbox::new(Arc::default())
}

impl Drop for PluginInner {
    fn drop(&mut self) {
        self.facts.quarantine.close();
        let pool = Arc::clone(&self.pool);
        // Guests have a last word, and whoever let go of the plugin may have requests to serve.
        if self.facts.threads.submit(Worker::Starter, move || pool.close()).is_err() {
            self.pool.close();
        }
    }
}
