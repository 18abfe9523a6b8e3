//! A plugin that is loaded: its series, its uses, and who is told what becomes of them.

use super::stored::PluginOwner;
use crate::metrics::{Metrics, PluginMetrics, PluginSeries};
use coditect_proxy_wasm::{Link, LinkObserver, LocalResponse, Plugin, ShadowVerdict, StreamError};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A loaded plugin and who is told of it. When the last use and the last stream are gone, so is the plugin.
#[derive(Clone)]
pub(crate) struct Loaded {
    plugin: Plugin,
    observer: Arc<Observer>,
}

impl Loaded {
    /// A plugin that is counted under its owner's name and its own; one of the configuration has no owner.
    pub(crate) fn new(plugin: Plugin, owner: Option<PluginOwner>, name: &str, metrics: &Metrics) -> Self {
        let label = owner.map_or_else(|| name.to_owned(), |owner| owner.label(name));
        let tenant = match owner {
            Some(PluginOwner::Tenant(tenant)) => Some(tenant),
            Some(PluginOwner::Operators) | None => None,
        };
        let series = metrics.plugin_series(&label, tenant.is_some());
        metrics.guests.watch(series.label(), tenant, &plugin);
        let metrics = metrics.plugin(series.label());
        Self { plugin, observer: Arc::new(Observer { metrics, series }) }
    }

    /// A use of it, for one request. A shadow changes nothing.
    pub(crate) fn link(&self, shadow: bool) -> Link {
        let observer: Arc<dyn LinkObserver> = Arc::clone(&self.observer) as _;
        Link { plugin: self.plugin.clone(), shadow, observer: Some(observer) }
    }

    /// Starts an instance for a tenant, so that its first request need not wait for it. A failure shows again there.
    pub(crate) fn warm(&self, tenant: Uuid) {
        if let Err(error) = self.plugin.warm(&tenant.to_string()) {
            let plugin = self.observer.series.label();
            tracing::warn!(plugin, %tenant, %error, "no instance could be started ahead");
        }
    }
}

/// Counts and logs what happens to one plugin.
struct Observer {
    metrics: PluginMetrics,
    /// Keeps its series.
    series: Arc<PluginSeries>,
}

impl LinkObserver for Observer {
    fn callback(&self, callback: &'static str, elapsed: Duration) {
        self.metrics.called(callback, elapsed);
    }

    fn responded(&self, _: &LocalResponse) {
        self.metrics.responses.inc();
    }

    fn failed(&self, error: &StreamError) {
        // Nothing ran, and each has a counter of its own: a line for every request would only flood the log.
        if matches!(
            error,
            StreamError::Quarantined { .. } | StreamError::Exhausted { .. } | StreamError::Busy { .. }
        ) {
            tracing::debug!(plugin = self.series.label(), %error, "plugin was not run");
            return;
        }
        self.metrics.traps.inc();
        let error = error as &dyn std::error::Error;
        tracing::error!(plugin = self.series.label(), error, "plugin failed");
    }

    fn shadowed(&self, verdict: &ShadowVerdict) {
        self.metrics.shadowed(match verdict {
            ShadowVerdict::Pass => "pass",
            ShadowVerdict::Respond(_) => "respond",
            ShadowVerdict::Hold => "hold",
            ShadowVerdict::Close => "close",
            ShadowVerdict::Fail => "fail",
            ShadowVerdict::Skipped => "skipped",
        });
    }
}
