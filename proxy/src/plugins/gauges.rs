//! What the plugin host holds, read when metrics are scraped: what was swapped out is freed when these go down.

use coditect_proxy_wasm::Engine;
use prometheus::core::{Collector, Desc};
use prometheus::{IntGauge, Opts, proto};

/// Gauges of one engine.
pub(crate) struct HostGauges {
    engine: Engine,
    instances: IntGauge,
    modules: IntGauge,
}

impl HostGauges {
    /// Gauges that are set from `engine` at each scrape.
    ///
    /// # Errors
    /// A name is none Prometheus takes.
    pub(crate) fn new(engine: Engine) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::with_opts(Opts::new(name, help));
        Ok(Self {
            engine,
            instances: gauge("coditect_plugin_instances", "Plugin instances alive, over all tenants.")?,
            modules: gauge("coditect_plugin_modules", "Compiled plugin modules alive.")?,
        })
    }
}

impl Collector for HostGauges {
    fn desc(&self) -> Vec<&Desc> {
        [&self.instances, &self.modules].into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        self.instances.set(self.engine.live_instances().into());
        self.modules.set(i64::try_from(self.engine.live_modules()).unwrap_or(i64::MAX));
        [&self.instances, &self.modules].into_iter().flat_map(Collector::collect).collect()
    }
}
