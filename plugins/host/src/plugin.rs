//! A loaded plugin.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::abi::{AbiVersion, Direction};
use crate::budget::Budget;
use crate::check::CheckDepth;
use crate::engine::EngineInner;
use crate::error::LoadReason;
use crate::limits::Limits;
use crate::metrics::{MetricSample, MetricTotals};
use crate::module::CompiledModule;
use crate::modules::Keep;
use crate::pool::Pool;
use crate::quarantine::Quarantine;
use crate::scope::PluginFacts;
use crate::stats::PluginStats;

mod canary;
mod config;
mod open;

use canary::try_out;
pub use config::{FailureMode, PluginConfig};

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
            refused_busy: get(&counters.refused_busy),
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
}

impl Drop for PluginInner {
    fn drop(&mut self) {
        self.facts.quarantine.close();
        self.pool.close(&self.facts.threads);
    }
}
