//! The embedder's side of Proxy-Wasm: which plugins a request meets, and what they see and may change.
//!
//! A plugin never sees the client's credentials or the edge's own cookies (they are taken out before), and it cannot
//! write what decides about framing or identity. One that traps fails its request as its configuration says: closed
//! (503) unless it says open. [`crate::pipeline`] carries requests and responses through the chain.

mod attributes;
mod drive;
mod load;
mod properties;
mod view;

pub(crate) use attributes::{Facts, grpc_status};
pub use drive::drive_plugins;
pub use load::{PluginError, PluginLoader};
pub(crate) use properties::Properties;
pub(crate) use view::{View, may_write};

use crate::metrics::PluginMetrics;
use coditect_proxy_wasm::{self as host, Chain, LinkObserver, LocalResponse, Plugin, StreamError};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The tenant of requests without one.
const NO_TENANT: &str = "public";

/// A loaded plugin and its series.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) plugin: Plugin,
    pub(crate) metrics: PluginMetrics,
}

/// One use of a plugin on a route.
pub(crate) struct Link {
    plugin: Plugin,
    observer: Arc<Observer>,
    /// The tenants it is for; `None` for all.
    tenants: Option<HashSet<Uuid>>,
}

impl Link {
    /// A use of `loaded` for these tenants, or for all.
    pub(crate) fn new(loaded: Loaded, tenants: Option<HashSet<Uuid>>) -> Self {
        let Loaded { plugin, metrics } = loaded;
        let observer = Observer { plugin: plugin.name().to_owned(), metrics };
        Self { plugin, observer: Arc::new(observer), tenants }
    }

    /// It, for one request.
    fn used(&self) -> host::Link {
        let observer: Arc<dyn LinkObserver> = Arc::clone(&self.observer) as _;
        host::Link { plugin: self.plugin.clone(), shadow: false, observer: Some(observer) }
    }
}

/// The links that a request of this tenant meets, in the order in which it meets them.
pub(crate) fn links(links: &[Arc<Link>], tenant: Option<Uuid>) -> Vec<host::Link> {
    let applies = |link: &&Arc<Link>| match (&link.tenants, tenant) {
        (None, _) => true,
        (Some(tenants), Some(tenant)) => tenants.contains(&tenant),
        (Some(_), None) => false,
    };
    links.iter().filter(applies).map(|link| link.used()).collect()
}

/// The plugins at work on a request.
pub(crate) struct PluginRun {
    pub(crate) chain: Chain,
    view: Arc<Mutex<View>>,
}

impl PluginRun {
    /// The chain of these links over a request.
    pub(crate) fn new(links: Vec<host::Link>, tenant: Option<Uuid>, view: View) -> Self {
        let view = Arc::new(Mutex::new(view));
        let exchange: host::SharedExchange = Arc::clone(&view) as _;
        let chain = match tenant {
            Some(tenant) => Chain::new(exchange, &tenant.to_string(), links),
            None => Chain::new(exchange, NO_TENANT, links),
        };
        Self { chain, view }
    }

    /// Ends the streams, and gives the properties that were set.
    pub(crate) fn finish(self) -> Properties {
        self.chain.finish();
        std::mem::take(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner).properties)
    }

    /// What the plugins see. Not to be held over a call of the chain, which locks it too.
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts and logs what happens to one plugin.
struct Observer {
    plugin: String,
    metrics: PluginMetrics,
}

impl LinkObserver for Observer {
    fn callback(&self, callback: &'static str, elapsed: Duration) {
        self.metrics.called(callback, elapsed);
    }

    fn responded(&self, _: &LocalResponse) {
        self.metrics.responses.inc();
    }

    fn failed(&self, error: &StreamError) {
        self.metrics.traps.inc();
        let error = error as &dyn std::error::Error;
        tracing::error!(plugin = self.plugin, error, "plugin failed");
    }
}
