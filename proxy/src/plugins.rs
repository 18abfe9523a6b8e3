//! The embedder's side of Proxy-Wasm: which plugins a request meets, and what they see and may change.
//!
//! A plugin never sees the client's credentials or the edge's own cookies (they are taken out before), and it cannot
//! write what decides about framing or identity. One that traps fails its request as its configuration says: closed
//! (503) unless it says open. [`crate::pipeline`] carries requests and responses through the chain.

mod attributes;
mod choose;
mod drive;
mod gauges;
mod guests;
mod live;
mod load;
mod loaded;
mod properties;
mod slot;
mod slots;
mod stored;
#[cfg(test)]
mod tests;
mod view;
mod world;

pub(crate) use attributes::{Facts, grpc_status};
pub(crate) use choose::{Asked, Chosen, PluginSet};
pub use drive::drive_plugins;
pub(crate) use guests::{GuestCollector, Guests};
pub use live::Live;
pub use load::{PluginError, PluginLoader};
pub(crate) use properties::Properties;
pub use slots::MAX_OWNER_PLUGINS;
pub use stored::{ModuleSource, PluginOwner, StoredPlugin};
pub(crate) use view::View;

use coditect_proxy_wasm::{Chain, Link, SharedExchange};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// The tenant of requests without one.
const NO_TENANT: &str = "public";

/// The plugins at work on a request.
pub(crate) struct PluginRun {
    pub(crate) chain: Chain,
    view: Arc<Mutex<View>>,
}

impl PluginRun {
    /// The chain of these links over a request.
    pub(crate) fn new(links: Vec<Link>, tenant: Option<Uuid>, view: View) -> Self {
        let view = Arc::new(Mutex::new(view));
        let exchange: SharedExchange = Arc::clone(&view) as _;
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
