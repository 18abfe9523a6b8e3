//! Counters that Prometheus sees.

use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

/// A counter of this plugin. Its name is the plugin's own: the edge adds the plugin's as a label.
#[derive(Clone, Copy, Debug)]
pub struct Counter(u32);

impl Counter {
    /// Defines the counter, or finds the one of that name. To be called in `on_configure`: where the edge refuses it
    /// the SDK panics, and the plugin does not start.
    pub fn define(name: &str) -> Option<Self> {
        hostcalls::define_metric(MetricType::Counter, name).ok().map(Self)
    }

    /// Adds one.
    pub fn increment(self) {
        // It exists, so nothing can be wrong; and no request should fail over a count.
        let _ = hostcalls::increment_metric(self.0, 1);
    }
}
