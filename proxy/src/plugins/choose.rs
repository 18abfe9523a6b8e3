//! Which plugins a request meets: those of every route, of its route, and of its tenant, in this order.
//!
//! ```text
//! global   [[plugin_chain]], then the operators' activations that name neither route nor tenant
//! route    the route's `plugins`, then the operators' activations for that route
//! tenant   the operators' activations for that tenant, then the tenant's own
//! ```
//!
//! Activations of one owner and level are in the order of their settings, those for all routes before those for one.

use super::loaded::Loaded;
use coditect_auth::Claims;
use coditect_config::{FailureMode, PluginUse};
use coditect_proxy_wasm::Link;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// The plugins at work, by what a request is chosen by. Swapped whole, with all else a request is decided by.
#[derive(Default)]
pub(crate) struct PluginSet {
    /// By the route's prefix, without a slash at its end: global, then the route's own.
    routes: HashMap<String, Vec<Arc<Use>>>,
    /// The tenant's level.
    tenants: HashMap<Uuid, Vec<Arc<Use>>>,
}

/// A route's prefix as routes are told apart: with or without a slash at its end it is the same.
pub(crate) fn without_slash(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

/// One use of a plugin.
pub(crate) struct Use {
    /// Its name, which also decides who falls into its share.
    pub(crate) plugin: Arc<str>,
    /// The route it is for, where its level is not the route's.
    pub(crate) route: Option<String>,
    /// The tenants it is for; `None` for all, requests without one included.
    pub(crate) tenants: Option<HashSet<Uuid>>,
    /// The share of callers it is for, in percent.
    pub(crate) share_percent: u8,
    pub(crate) what: What,
}

/// What there is to run.
pub(crate) enum What {
    /// A plugin.
    Runs {
        plugin: Loaded,
        /// Whether it changes nothing.
        shadow: bool,
    },
    /// Nothing: it was put to work and could not be loaded. Requests that would have met it are refused, unless it
    /// fails open.
    Missing(FailureMode),
}

/// A request would have met a plugin that could not be loaded, and that fails closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unavailable {
    /// The plugin.
    pub(crate) plugin: Arc<str>,
}

/// Whose request it is, as shares are cut by: a caller stays on the side on which it is.
struct Caller<'a> {
    claims: Option<&'a Claims>,
    client: Option<IpAddr>,
}

impl PluginSet {
    /// A set of uses by route and by tenant.
    pub(crate) fn new(routes: HashMap<String, Vec<Arc<Use>>>, tenants: HashMap<Uuid, Vec<Arc<Use>>>) -> Self {
        Self { routes, tenants }
    }

    /// The plugins of a request to `route` (its prefix as configured), in the order in which they see it. Whose it is,
    /// `claims` say; `client` is the address of who is not signed in.
    ///
    /// # Errors
    /// One of them could not be loaded, and fails closed.
    pub(crate) fn chain_for(
        &self,
        route: &str,
        claims: Option<&Claims>,
        client: Option<IpAddr>,
    ) -> Result<Vec<Link>, Unavailable> {
        let tenant = claims.map(|claims| claims.tenant_id);
        let route = without_slash(route);
        let of_route = self.routes.get(route).map_or(&[][..], Vec::as_slice);
        let of_tenant = tenant.and_then(|tenant| self.tenants.get(&tenant)).map_or(&[][..], Vec::as_slice);
        let caller = Caller { claims, client };
        let mut links = Vec::with_capacity(of_route.len() + of_tenant.len());
        for used in of_route.iter().chain(of_tenant) {
            if !used.is_for(route, tenant, &caller) {
                continue;
            }
            match &used.what {
                What::Runs { plugin, shadow } => links.push(plugin.link(*shadow)),
                What::Missing(FailureMode::Open) => {}
                What::Missing(FailureMode::Closed) => {
                    return Err(Unavailable { plugin: Arc::clone(&used.plugin) });
                }
            }
        }
        Ok(links)
    }
}

impl Use {
    /// A use of the configuration file.
    pub(crate) fn configured(used: &PluginUse, plugin: Loaded) -> Self {
        Self {
            plugin: used.plugin.as_str().into(),
            route: None,
            tenants: used.tenants.as_ref().map(|tenants| tenants.iter().copied().collect()),
            share_percent: used.share_percent,
            what: What::Runs { plugin, shadow: used.shadow },
        }
    }

    fn is_for(&self, route: &str, tenant: Option<Uuid>, caller: &Caller<'_>) -> bool {
        let of_tenant = match (&self.tenants, tenant) {
            (None, _) => true,
            (Some(tenants), Some(tenant)) => tenants.contains(&tenant),
            (Some(_), None) => false,
        };
        of_tenant
            && self.route.as_deref().is_none_or(|only| without_slash(only) == route)
            && (self.share_percent >= 100 || caller.place(&self.plugin) < self.share_percent)
    }
}

impl Caller<'_> {
    /// Its place among a plugin's callers, from 0 to 99: of the user, or of the address of who is not signed in. It is
    /// the same for ever and on every replica, and has nothing to do with its place among another plugin's.
    fn place(&self, plugin: &str) -> u8 {
        let mut hash = Sha256::new_with_prefix(plugin);
        // Ends the name.
        hash.update([0]);
        match (self.claims, self.client.map(|client| client.to_canonical())) {
            (Some(claims), _) => hash.update(claims.sub.as_bytes()),
            (None, Some(IpAddr::V4(address))) => hash.update(address.octets()),
            // The 64 bits of a network; the rest is the client's to change at will.
            (None, Some(IpAddr::V6(address))) => hash.update(&address.octets()[..8]),
            (None, None) => {}
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (number, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        // Less than 100.
        u8::try_from(u64::from_be_bytes(*number) % 100).unwrap_or_default()
    }
}
