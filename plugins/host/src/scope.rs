//! What instances of one plugin for one tenant have in common, and what ties them to their plugin.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::abi::LogLevel;
use crate::budget::{Budget, BudgetCounters};
use crate::error::{StartError, Trap, TrapCause};
use crate::exchange::{Environment, LogRecord};
use crate::limits::{Limits, Meter};
use crate::log_budget::{Line, LogBudget};
use crate::metrics::{MetricTable, MetricTotals};
use crate::quarantine::QuarantineTable;
use crate::queues::Queues;
use crate::schedule::nanoseconds;
use crate::shared_data::SharedData;
use crate::threads::Threads;
use crate::trace::Tracer;

/// How long a plugin that crossed its CPU budget for a tenant is slow for that tenant, and one that failed is started
/// where slow ones are.
const SLOW_FOR: Duration = Duration::from_secs(10);
/// Callbacks whose CPU time is measured from end to end after an epoch wake came in the middle of one.
const WATCHED_CALLBACKS: u32 = 8;

/// A plugin's fixed facts, as its guests and its reports need them.
pub(crate) struct PluginFacts {
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
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
    pub(crate) meter: Meter,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) threads: Arc<Threads>,
    pub(crate) counters: Counters,
    pub(crate) quarantine: QuarantineTable,
    /// Metrics of tenants whose instances are all gone.
    pub(crate) retired_metrics: Mutex<MetricTotals>,
}

impl PluginFacts {
    /// The scope of a `vm_id` among this owner's.
    pub(crate) fn vm_scope(&self, vm_id: &str) -> String {
        vm_scope(&self.owner, vm_id)
    }

    /// Counts that a budget was crossed.
    pub(crate) fn crossed(&self, budget: Budget) {
        self.counters.budgets_crossed.crossed(budget);
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
    pub(crate) refused_in_quarantine: AtomicU64,
    pub(crate) refused_busy: AtomicU64,
    pub(crate) log_lines_dropped: AtomicU64,
    pub(crate) budgets_crossed: BudgetCounters,
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
    pub(crate) log_budget: LogBudget,
    /// Until when it is slow, by the environment's clock; 0: it is not.
    slow_until: AtomicU64,
    /// Until when it is one that failed lately.
    failed_until: AtomicU64,
    /// Callbacks left to be measured from end to end.
    watched: AtomicU32,
    /// One of those measured took too long.
    overran: AtomicBool,
    /// What a canary counted is gone with it, and its failures are told to whoever loads the plugin.
    pub(crate) canary: bool,
}

impl Scope {
    pub(crate) fn new(
        plugin: Arc<PluginFacts>,
        tenant: Arc<str>,
        shared_data: Arc<SharedData>,
        queues: Arc<Queues>,
        canary: bool,
    ) -> Self {
        Self {
            plugin,
            tenant,
            shared_data,
            queues,
            calls: AtomicUsize::new(0),
            metrics: Mutex::default(),
            log_budget: LogBudget::default(),
            slow_until: AtomicU64::new(0),
            failed_until: AtomicU64::new(0),
            watched: AtomicU32::new(0),
            overran: AtomicBool::new(false),
            canary,
        }
    }

    /// Whether callbacks for this tenant run on a thread of their own: the plugin lately crossed its CPU budget.
    pub(crate) fn is_apart(&self) -> bool {
        self.plugin.threads.are_own() && self.is_before(&self.slow_until)
    }

    /// The plugin crossed its CPU budget for this tenant.
    pub(crate) fn make_slow(&self) {
        let now = self.plugin.environment.monotonic_nanoseconds();
        self.slow_until.store(now.saturating_add(nanoseconds(SLOW_FOR)), Ordering::Relaxed);
    }

    /// Whether the plugin lately trapped or did not start for this tenant.
    pub(crate) fn failed_lately(&self) -> bool {
        self.is_before(&self.failed_until)
    }

    /// One load where nothing ever failed.
    fn is_before(&self, end: &AtomicU64) -> bool {
        let until = end.load(Ordering::Relaxed);
        if until == 0 {
            return false;
        }
        let before = self.plugin.environment.monotonic_nanoseconds() < until;
        if !before {
            // Fails where it failed again meanwhile.
            end.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed).ok();
        }
        before
    }

    /// An epoch wake came in the middle of a callback: the next ones are measured.
    pub(crate) fn watch(&self) {
        self.watched.store(WATCHED_CALLBACKS, Ordering::Relaxed);
    }

    /// Whether the callback that begins is to be measured from end to end.
    pub(crate) fn is_watched(&self) -> bool {
        let watched = self.watched.load(Ordering::Relaxed);
        // Racing callbacks may count one twice, which costs nothing.
        match watched {
            0 => return self.slow_until.load(Ordering::Relaxed) != 0,
            1 => self.overran.store(false, Ordering::Relaxed),
            _ => {}
        }
        self.watched.store(watched - 1, Ordering::Relaxed);
        true
    }

    /// A callback that was measured took too long. Whether it is not the first of late: one alone may have lost its core to
    /// another virtual machine, which counts as its CPU time.
    pub(crate) fn overran(&self) -> bool {
        self.watch();
        self.overran.swap(true, Ordering::Relaxed)
    }

    /// Counts the end of a guest.
    pub(crate) fn trapped(&self, trap: &Trap) {
        Counters::add(&self.plugin.counters.traps);
        if let Some(budget) = Budget::of(&trap.cause) {
            self.plugin.crossed(budget);
        }
        if matches!(trap.cause, TrapCause::Cpu(_)) {
            self.make_slow();
        }
        self.failed(|| format!("`{}` trapped: {}", trap.function, trap.cause));
    }

    /// Counts an instance that did not come up. What trapped was counted, and that there was no room is no fault of
    /// the plugin's.
    pub(crate) fn did_not_start(&self, reason: &StartError) {
        match reason {
            StartError::Refused { .. } => self.failed(|| reason.to_string()),
            StartError::Trap(_) | StartError::Instantiate(_) | StartError::Exhausted { .. } => {}
        }
    }

    fn failed(&self, cause: impl FnOnce() -> String) {
        if self.canary {
            return;
        }
        let PluginFacts { environment, quarantine, .. } = &*self.plugin;
        let now = environment.monotonic_nanoseconds();
        self.failed_until.store(now.saturating_add(nanoseconds(SLOW_FOR)), Ordering::Relaxed);
        if let Some(quarantine) = quarantine.failed(&self.tenant, now, cause) {
            environment.quarantined(&quarantine);
        }
    }

    /// Logs a line of the guest's, if the budget of lines allows it.
    pub(crate) fn log(&self, level: LogLevel, request_id: Option<&str>, message: &[u8]) {
        let now = self.plugin.environment.monotonic_nanoseconds();
        match self.log_budget.take(self.plugin.limits.log_lines_per_second, now) {
            Line::Passes => {}
            Line::PassesAfter(dropped) => self.report_dropped(dropped),
            Line::Dropped { first } => {
                Counters::add(&self.plugin.counters.log_lines_dropped);
                if first {
                    self.plugin.crossed(Budget::LogLines);
                }
                return;
            }
        }
        self.emit(level, request_id, message);
    }

    fn report_dropped(&self, lines: u64) {
        let most = self.plugin.limits.log_lines_per_second;
        let message = format!("{lines} log lines were dropped: the plugin may log {most} a second");
        self.emit(LogLevel::Warn, None, message.as_bytes());
    }

    fn emit(&self, level: LogLevel, request_id: Option<&str>, message: &[u8]) {
        let PluginFacts { name, root_id, environment, .. } = &*self.plugin;
        let tenant = &self.tenant;
        environment.log(&LogRecord { level, plugin: name, root_id, tenant, request_id, message });
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        match self.log_budget.unreported() {
            0 => {}
            dropped => self.report_dropped(dropped),
        }
        if self.canary {
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
