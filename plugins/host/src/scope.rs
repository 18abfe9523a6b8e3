//! What instances of one plugin for one tenant have in common, and what ties them to their plugin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::abi::LogLevel;
use crate::exchange::Environment;
use crate::limits::Limits;
use crate::metrics::{MetricTable, MetricTotals};
use crate::shared_data::SharedData;

/// A plugin's fixed facts, as its guests and its reports need them.
pub(crate) struct PluginFacts {
    pub(crate) name: Arc<str>,
    pub(crate) root_id: String,
    pub(crate) vm_id: String,
    pub(crate) vm_configuration: Vec<u8>,
    pub(crate) configuration: Vec<u8>,
    pub(crate) log_level: LogLevel,
    pub(crate) limits: Limits,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) counters: Counters,
    /// Metrics of tenants whose instances are all gone.
    pub(crate) retired_metrics: Mutex<MetricTotals>,
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
    pub(crate) metrics: Mutex<MetricTable>,
    /// Whether what was counted here stays counted when it is gone; not for a canary.
    pub(crate) keeps_metrics: bool,
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
