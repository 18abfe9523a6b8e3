//! Which plugins a request meets: those of every route, of its route, and of its tenant, in this order.
//!
//! ```text
//! global   [[plugin_chain]], then the operators' activations that name neither route nor tenant
//! route    the route's `plugins`, then the operators' activations for that route
//! tenant   the operators' activations for that tenant, then the tenant's own
//! ```
//!
//! Activations of one owner and level are in the order of their settings, those for all routes before those for one.
//! A tenant's own plugins do not see the requests by which they are managed: one that refuses everything could not be
//! taken out of work otherwise.

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
    /// The operators' part of the tenant's level.
    tenants: HashMap<Uuid, Vec<Arc<Use>>>,
    /// The tenants' own.
    own: HashMap<Uuid, Arc<[Arc<Use>]>>,
}

/// The plugins of a request.
pub(crate) struct Chosen {
    /// In the order in which they see it.
    pub(crate) links: Vec<Link>,
    /// Whether one of them is the tenant's own, and no shadow.
    pub(crate) own: bool,
}

/// A route's prefix as routes are told apart: with or without a slash at its end it is the same.
pub(crate) fn without_slash(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

/// What a request's plugins are chosen by.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Its route's prefix, as configured.
    pub(crate) route: &'a str,
    /// Whose it is.
    pub(crate) claims: Option<&'a Claims>,
    /// The address of who is not signed in.
    pub(crate) client: Option<IpAddr>,
    /// Whether plugins are managed by it.
    pub(crate) manages_plugins: bool,
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
    /// Whether it is a tenant's own.
    pub(crate) own: bool,
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
    /// Nothing: it was put to work and is not loaded, yet or at all. Requests that would have met it are refused, unless
    /// it fails open.
    Missing(FailureMode),
}

/// A request would have met a plugin that is not loaded, and that fails closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unavailable {
    /// The plugin.
    pub(crate) plugin: Arc<str>,
}

impl PluginSet {
    /// A set of uses by route and by tenant, and of tenants' own.
    pub(crate) fn new(
        routes: HashMap<String, Vec<Arc<Use>>>,
        tenants: HashMap<Uuid, Vec<Arc<Use>>>,
        own: HashMap<Uuid, Arc<[Arc<Use>]>>,
    ) -> Self {
        Self { routes, tenants, own }
    }

    /// The plugins of a request.
    ///
    /// # Errors
    /// One of them is not loaded, and fails closed.
    pub(crate) fn chain_for(&self, asked: Asked<'_>) -> Result<Chosen, Unavailable> {
        let asked = Asked { route: without_slash(asked.route), ..asked };
        let tenant = asked.claims.map(|claims| claims.tenant_id);
        let of_route = self.routes.get(asked.route).map_or(&[][..], Vec::as_slice);
        let of_tenant = tenant.and_then(|tenant| self.tenants.get(&tenant)).map_or(&[][..], Vec::as_slice);
        let own = tenant.and_then(|tenant| self.own.get(&tenant)).map_or(&[][..], |own| own);
        let links = Vec::with_capacity(of_route.len() + of_tenant.len() + own.len());
        let mut chosen = Chosen { links, own: false };
        for used in of_route.iter().chain(of_tenant).chain(own) {
            if !used.is_for(&asked) {
                continue;
            }
            match &used.what {
                What::Runs { plugin, shadow } => {
                    chosen.own |= used.own && !shadow;
                    chosen.links.push(plugin.link(*shadow));
                }
                What::Missing(FailureMode::Open) => {}
                What::Missing(FailureMode::Closed) => {
                    return Err(Unavailable { plugin: Arc::clone(&used.plugin) });
                }
            }
        }
        Ok(chosen)
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
            own: false,
            what: What::Runs { plugin, shadow: used.shadow },
        }
    }

    fn is_for(&self, asked: &Asked<'_>) -> bool {
        let of_tenant = match (&self.tenants, asked.claims) {
            (None, _) => true,
            (Some(tenants), Some(claims)) => tenants.contains(&claims.tenant_id),
            (Some(_), None) => false,
        };
        of_tenant
            && !(self.own && asked.manages_plugins)
            && self.route.as_deref().is_none_or(|only| without_slash(only) == asked.route)
            && (self.share_percent >= 100 || asked.place(&self.plugin) < self.share_percent)
    }
}

impl Asked<'_> {
    /// The caller's place among a plugin's callers, from 0 to 99: of the user, or of the address of who is not signed in. It is
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
