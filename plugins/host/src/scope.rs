//! What instances of one plugin for one tenant have in common, and what ties them to their plugin.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::abi::LogLevel;
use crate::exchange::Environment;
use crate::limits::Limits;
use crate::metrics::{MetricTable, MetricTotals};
use crate::queues::Queues;
use crate::shared_data::SharedData;
use crate::trace::Tracer;

/// A plugin's fixed facts, as its guests and its reports need them.
pub(crate) struct PluginFacts {
    pub(crate) name: Arc<str>,
    pub(crate) root_id: String,
    /// What keeps shared data and queues of one owner's plugins apart from another's.
    pub(crate) owner: String,
    /// The name of its scope: the owner and the guest's own `vm_id`.
    pub(crate) vm_id: String,
    /// As the guest knows it.
    pub(crate) guest_vm_id: String,
    /// The upstreams it may call.
    pub(crate) upstreams: Vec<String>,
    pub(crate) tracer: Option<Arc<dyn Tracer>>,
    pub(crate) vm_configuration: Vec<u8>,
    pub(crate) configuration: Vec<u8>,
    pub(crate) log_level: LogLevel,
    pub(crate) limits: Limits,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) counters: Counters,
    /// How often each budget was crossed, by its name in [`Limits`].
    pub(crate) crossed: Mutex<BTreeMap<&'static str, u64>>,
    /// Metrics of tenants whose instances are all gone.
    pub(crate) retired_metrics: Mutex<MetricTotals>,
}

impl PluginFacts {
    /// The scope of a `vm_id` among this owner's.
    pub(crate) fn vm_scope(&self, vm_id: &str) -> String {
        vm_scope(&self.owner, vm_id)
    }

    /// Counts that a budget which does not trap was crossed.
    pub(crate) fn crossed(&self, budget: &'static str) {
        let mut crossed = self.crossed.lock().unwrap_or_else(PoisonError::into_inner);
        *crossed.entry(budget).or_default() += 1;
    }
}

/// The scope of an owner's `vm_id`. A guest's own has no NUL that could reach over: an owner is the embedder's word.
pub(crate) fn vm_scope(owner: &str, vm_id: &str) -> String {
    format!("{owner}\0{vm_id}")
}

/// What happened to a plugin so far.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) callbacks: AtomicU64,
    pub(crate) traps: AtomicU64,
    pub(crate) instances_started: AtomicU64,
    pub(crate) instances_evicted: AtomicU64,
    pub(crate) instances_shared: AtomicU64,
    pub(crate) exhausted: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// One tenant's part of a plugin. Nothing in it is ever another tenant's.
pub(crate) struct Scope {
    pub(crate) plugin: Arc<PluginFacts>,
    pub(crate) tenant: Arc<str>,
    pub(crate) shared_data: Arc<SharedData>,
    pub(crate) queues: Arc<Queues>,
    /// Calls out under way.
    pub(crate) calls: AtomicUsize,
    pub(crate) metrics: Mutex<MetricTable>,
    /// Whether what was counted here stays counted when it is gone; not for a canary.
    pub(crate) keeps_metrics: bool,
}

impl Scope {
    pub(crate) fn new(
        plugin: Arc<PluginFacts>,
        tenant: Arc<str>,
        shared_data: Arc<SharedData>,
        queues: Arc<Queues>,
        keeps_metrics: bool,
    ) -> Self {
        let (calls, metrics) = (AtomicUsize::new(0), Mutex::default());
        Self { plugin, tenant, shared_data, queues, calls, metrics, keeps_metrics }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if !self.keeps_metrics {
            return;
        }
        let table = self.metrics.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.plugin.retired_metrics.lock().unwrap_or_else(PoisonError::into_inner).retire(table);
    }
}

/// One call out under way, counted against its tenant's limit.
pub(crate) struct InFlight(Arc<Scope>);

impl InFlight {
    /// None where there are `most` already.
    pub(crate) fn begin(scope: &Arc<Scope>, most: usize) -> Option<Self> {
        let below = |calls: usize| (calls < most).then_some(calls + 1);
        scope.calls.fetch_update(Ordering::AcqRel, Ordering::Relaxed, below).ok()?;
        Some(Self(Arc::clone(scope)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}
