//! Everything a request is decided by, swapped as a whole when a configuration is taken.

use crate::files::{EmbeddedFile, Files, Source};
use crate::gate::Origins;
use crate::local::LocalService;
use crate::metrics::{Metrics, RouteMetrics};
use crate::plugins::PluginSet;
use crate::route::RouteTable;
use crate::upstream::Upstream;
use coditect_config::{Config, LocalService as LocalName, Route, Target};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The services in the process that routes can lead to.
pub struct Services {
    /// `local = "api"`
    pub api: Arc<dyn LocalService>,
    /// `local = "terminal"`
    pub terminal: Arc<dyn LocalService>,
    /// `local = "console"`
    pub console: &'static [EmbeddedFile],
}

/// One configuration at work.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) routes: Arc<RouteTable<Arc<RouteEntry>>>,
    pub(crate) plugins: Arc<PluginSet>,
    pub(crate) origins: Origins,
    trusted_proxies: Vec<IpNet>,
    pub(crate) workspace_host: Option<String>,
}

/// A route at work.
pub(crate) struct RouteEntry {
    pub(crate) config: Route,
    pub(crate) target: TargetEntry,
    pub(crate) metrics: RouteMetrics,
}

/// Where a route leads, ready to be used.
pub(crate) enum TargetEntry {
    Upstream(Arc<Upstream>),
    Local(Arc<dyn LocalService>),
    Files { files: Arc<Files>, console: bool },
}

impl Snapshot {
    /// Builds a snapshot of a configuration with these plugins.
    pub(crate) fn build(config: &Config, services: &Services, metrics: &Metrics, plugins: PluginSet) -> Self {
        let upstreams: HashMap<&str, Arc<Upstream>> = config
            .upstreams
            .iter()
            .map(|upstream| {
                let made = Upstream::new(upstream.clone(), metrics.upstream(&upstream.name));
                (upstream.name.as_str(), Arc::new(made))
            })
            .collect();
        let console = Arc::new(Files::new(Source::Embedded(services.console)));
        let mut entries = Vec::new();
        for route in &config.routes {
            let target = match &route.target {
                // Validation has seen to it that the name is known.
                Target::Upstream(name) => match upstreams.get(name.as_str()) {
                    Some(upstream) => TargetEntry::Upstream(Arc::clone(upstream)),
                    None => continue,
                },
                Target::Local(LocalName::Api) => TargetEntry::Local(Arc::clone(&services.api)),
                Target::Local(LocalName::Terminal) => TargetEntry::Local(Arc::clone(&services.terminal)),
                Target::Local(LocalName::Console) => {
                    TargetEntry::Files { files: Arc::clone(&console), console: true }
                }
                Target::Directory(path) => {
                    let files = Arc::new(Files::new(Source::Directory(path.clone())));
                    TargetEntry::Files { files, console: false }
                }
            };
            let metrics = metrics.route(&route.prefix.text);
            let entry = RouteEntry { config: route.clone(), target, metrics };
            entries.push((route.prefix.clone(), Arc::new(entry)));
        }
        Self {
            routes: Arc::new(RouteTable::new(entries)),
            plugins: Arc::new(plugins),
            origins: Origins {
                listed: config.server.allowed_origins.clone(),
                own: config.server.allow_own_origin,
            },
            trusted_proxies: config.server.trusted_proxies.clone(),
            workspace_host: config.server.workspace_host.clone(),
        }
    }

    /// The same with other plugins.
    pub(crate) fn with_plugins(&self, plugins: PluginSet) -> Self {
        Self { plugins: Arc::new(plugins), ..self.clone() }
    }

    /// Whether a peer's forwarding headers are believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}
