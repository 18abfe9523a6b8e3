//! Tests of the set of plugins: who meets which, and how it changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod loading;
mod table;

use super::choose::{Asked, Chosen};
use super::live::Live;
use super::load::PluginLoader;
use super::stored::{ModuleSource, PluginOwner, StoredPlugin};
use crate::local::{LocalService, RequestBody};
use crate::metrics::Metrics;
use crate::reply::{BoxError, Reply, full};
use crate::snapshot::Services;
use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::{Claims, ManualClock, SeededEntropy};
use coditect_config::{Config, Environment, FailureMode};
use coditect_proxy_wasm::Link;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Request;
use prometheus::Registry;
use serde_json::json;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

const ADA: Uuid = Uuid::from_u128(0xada);
const EVE: Uuid = Uuid::from_u128(0xeee);
const OPERATORS: PluginOwner = PluginOwner::Operators;

/// A guest that starts and does nothing; `name` makes it another module.
fn guest(name: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 1) (global (export "{name}") i32 (i32.const 0))
            (func (export "malloc") (param i32) (result i32) (i32.const 64))
            (func (export "proxy_abi_version_0_2_1")))"#
    );
    wat::parse_str(text).unwrap()
}

/// A guest that refuses every configuration.
fn stubborn() -> Vec<u8> {
    let text = r#"(module (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 64))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_abi_version_0_2_1")))"#;
    wat::parse_str(text).unwrap()
}

fn stored(name: &str, version: u64) -> StoredPlugin {
    StoredPlugin {
        name: name.into(),
        version,
        sha256: [u8::try_from(version).unwrap(); 32],
        route: None,
        tenant: None,
        root_id: String::new(),
        configuration: Arc::from([]),
        failure: FailureMode::Closed,
        order: 100,
        share_percent: 100,
        shadow: false,
        lost: false,
    }
}

/// Modules by plugin and version; what is not there cannot be read now.
#[derive(Default)]
struct Modules {
    by_version: Mutex<HashMap<(String, u64), Vec<u8>>>,
    reads: Mutex<usize>,
}

impl Modules {
    fn add(&self, name: &str, version: u64, module: Vec<u8>) {
        self.by_version.lock().unwrap().insert((name.into(), version), module);
    }

    fn reads(&self) -> usize {
        std::mem::take(&mut *self.reads.lock().unwrap())
    }
}

#[async_trait]
impl ModuleSource for Modules {
    async fn module(&self, _: PluginOwner, plugin: &StoredPlugin) -> Result<Bytes, BoxError> {
        *self.reads.lock().unwrap() += 1;
        let module = self.by_version.lock().unwrap().get(&(plugin.name.clone(), plugin.version)).cloned();
        Ok(module.ok_or("the store is away")?.into())
    }
}

struct Nothing;

impl LocalService for Nothing {
    fn call(&self, _: Request<RequestBody>) -> BoxFuture<'static, Reply> {
        async { Reply::new(full("")) }.boxed()
    }
}

struct Rig {
    live: Live,
    loader: PluginLoader,
    modules: Modules,
    registry: Registry,
    /// For the modules of the configuration.
    directory: tempfile::TempDir,
}

impl Rig {
    async fn start(lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("p.wasm"), guest("p")).unwrap();
        std::fs::write(directory.path().join("q.wasm"), guest("q")).unwrap();
        let config = config(&directory, lines);
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let (clock, entropy) = (Arc::new(ManualClock::new(1)), Arc::new(SeededEntropy::new(1)));
        let loader = PluginLoader::new(&config.plugin_host, clock, entropy, None).unwrap();
        loader.register(&registry).unwrap();
        let services = Services { api: Arc::new(Nothing), terminal: Arc::new(Nothing), console: &[] };
        let live = Live::start(&config, services, loader.clone(), metrics).await.unwrap();
        Self { live, loader, modules: Modules::default(), registry, directory }
    }

    async fn take(&self, lines: &str) -> Result<(), String> {
        let taken = self.live.take(&config(&self.directory, lines)).await;
        taken.map_err(|error| error.to_string())
    }

    /// What an owner wants, loaded as far as it can be.
    async fn want(&self, owner: PluginOwner, wanted: &[StoredPlugin]) {
        self.live.want(owner, wanted.to_vec());
        self.load().await;
    }

    /// Loads what is wanted, each once, for half a minute at most.
    async fn load(&self) -> bool {
        tokio::select! {
            () = self.live.work(&self.modules) => false,
            settled = self.live.settled() => settled,
        }
    }

    /// Waits until so many modules are loaded, and so many instances, if told. What goes out of work is freed soon.
    async fn until_held(&self, modules: usize, instances: Option<u32>) {
        let engine = self.loader.engine();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while engine.live_modules() != modules || instances.is_some_and(|all| engine.live_instances() != all)
        {
            let held = (engine.live_modules(), engine.live_instances());
            assert!(
                tokio::time::Instant::now() < deadline,
                "{held:?} are held, not {modules}, {instances:?}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The names of the plugins that a tenant's request to a route meets, or the one that keeps it from going on.
    fn met(&self, route: &str, tenant: Option<Uuid>) -> Result<Vec<String>, String> {
        let claims = tenant.map(|tenant| claims(tenant, tenant));
        let snapshot = self.live.snapshot().load_full();
        let chain = snapshot.plugins.chain_for(asked(route, claims.as_ref(), None));
        let names = |chosen: Chosen| chosen.links.iter().map(described).collect();
        chain.map(names).map_err(|unavailable| unavailable.plugin.to_string())
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        family.map_or(0.0, |family| {
            let values = family
                .get_metric()
                .iter()
                .map(|one| one.get_counter().get_value() + one.get_gauge().get_value());
            values.sum()
        })
    }

    /// How many activations are not at work for a reason.
    fn unfulfilled(&self, reason: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "coditect_plugins_unfulfilled").unwrap();
        let of_reason = family.get_metric().iter().find(|one| one.get_label()[0].value() == reason);
        of_reason.unwrap().get_gauge().get_value()
    }
}

fn config(directory: &tempfile::TempDir, lines: &str) -> Config {
    let at = |name: &str| directory.path().join(name).display().to_string();
    let text = format!(
        "[plugin_host]\nmax_instances = 20\n[plugins.p]\nfile = '{}'\n[plugins.q]\nfile = '{}'\n\
         [upstreams.keys]\naddress = 'http://localhost:1'\n\
         [[routes]]\nprefix = '/'\nlocal = 'console'\nauth = 'public'\n{lines}",
        at("p.wasm"),
        at("q.wasm"),
    );
    let mut config = coditect_config::parse(&text, "edge.toml", &Environment::default()).unwrap();
    config.plugin_host.cache_dir = None;
    config
}

fn claims(tenant: Uuid, user: Uuid) -> Claims {
    let claims = json!({
        "sub": user, "tenant_id": tenant, "email": "a@example.com", "session_id": user, "token_family": user,
        "exp": 10, "iat": 1, "iss": "i", "aud": "a", "jti": user,
    });
    serde_json::from_value(claims).unwrap()
}

fn asked<'a>(route: &'a str, claims: Option<&'a Claims>, client: Option<IpAddr>) -> Asked<'a> {
    Asked { route, claims, client, manages_plugins: false }
}

fn described(link: &Link) -> String {
    let shadow = if link.shadow { " (shadow)" } else { "" };
    format!("{}{shadow}", link.plugin.name())
}

#[tokio::test]
async fn a_request_meets_the_global_plugins_then_its_routes_then_its_tenants() {
    let rig = Rig::start(
        "plugins = [{ plugin = 'p' }]\n[[plugin_chain]]\nplugin = 'q'\n\
         [[routes]]\nprefix = '/other/'\nlocal = 'console'\nauth = 'public'",
    )
    .await;
    for name in ["all", "first", "of-root", "of-ada", "adas", "adas-first", "adas-other"] {
        rig.modules.add(name, 1, guest(name));
    }
    let to = |name: &str, route: Option<&str>, tenant, order| StoredPlugin {
        route: route.map(Into::into),
        tenant,
        order,
        ..stored(name, 1)
    };
    rig.want(
        OPERATORS,
        &[
            to("all", None, None, 2),
            to("first", None, None, 1),
            to("of-root", Some("/"), None, 0),
            to("of-ada", None, Some(ADA), 9),
        ],
    )
    .await;
    let adas = [
        to("adas", None, None, 5),
        to("adas-first", None, None, 4),
        to("adas-other", Some("/other"), None, 0),
    ];
    rig.want(PluginOwner::Tenant(ADA), &adas).await;
    let root = ["q", "first", "all", "p", "of-root"];
    assert_eq!(rig.met("/", None).unwrap(), root);
    assert_eq!(rig.met("/", Some(EVE)).unwrap(), root);
    let adas = ["q", "first", "all", "p", "of-root", "of-ada", "adas-first", "adas"];
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), adas);
    let other = ["q", "first", "all", "of-ada", "adas-first", "adas", "adas-other"];
    assert_eq!(rig.met("/other/", Some(ADA)).unwrap(), other, "with or without a slash it is one route");
}

#[tokio::test]
async fn a_tenant_can_always_reach_what_takes_its_plugins_out_of_work() {
    let rig = Rig::start("plugins = [{ plugin = 'p' }]").await;
    rig.modules.add("operators", 1, guest("operators"));
    rig.modules.add("own", 1, guest("own"));
    rig.modules.add("broken", 2, stubborn());
    rig.want(OPERATORS, &[StoredPlugin { tenant: Some(ADA), ..stored("operators", 1) }]).await;
    rig.want(PluginOwner::Tenant(ADA), &[stored("own", 1), stored("broken", 2)]).await;
    assert_eq!(rig.met("/", Some(ADA)).unwrap_err(), "broken");
    let claims = claims(ADA, ADA);
    let snapshot = rig.live.snapshot().load_full();
    let managing = Asked { manages_plugins: true, ..asked("/", Some(&claims), None) };
    let met = snapshot.plugins.chain_for(managing).unwrap().links;
    assert_eq!(met.iter().map(described).collect::<Vec<_>>(), ["p", "operators"], "all but its own");
}

#[tokio::test]
async fn a_use_is_for_its_tenants_alone() {
    let rig = Rig::start(&format!("plugins = [{{ plugin = 'p', tenants = ['{ADA}'] }}]")).await;
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["p"]);
    assert_eq!(rig.met("/", Some(EVE)).unwrap(), [""; 0]);
    assert_eq!(rig.met("/", None).unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_share_is_of_callers_each_of_whom_stays_on_a_side() {
    let rig = Rig::start("").await;
    rig.modules.add("canary", 1, guest("canary"));
    let share = async |share_percent: u8| {
        rig.want(OPERATORS, &[StoredPlugin { share_percent, ..stored("canary", 1) }]).await;
        let snapshot = rig.live.snapshot().load_full();
        let users = (0..1000).map(|user| claims(ADA, Uuid::from_u128(user)));
        let met = users.map(|claims| {
            snapshot.plugins.chain_for(asked("/", Some(&claims), None)).unwrap().links.len() == 1
        });
        met.collect::<Vec<bool>>()
    };
    let thirty = share(30).await;
    let count = thirty.iter().filter(|met| **met).count();
    assert!((240..=360).contains(&count), "{count} of 1000");
    assert_eq!(share(30).await, thirty, "always the same");
    let sixty = share(60).await;
    assert!(thirty.iter().zip(&sixty).all(|(before, after)| !before || *after), "who was in stays in");
    assert!(share(100).await.iter().all(|met| *met));

    rig.want(OPERATORS, &[StoredPlugin { share_percent: 30, ..stored("canary", 1) }]).await;
    let snapshot = rig.live.snapshot().load_full();
    let met = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        snapshot.plugins.chain_for(asked("/", None, Some(address))).unwrap().links.len()
    };
    let addresses: Vec<String> = (0..=255).map(|last| format!("192.0.2.{last}")).collect();
    let count: usize = addresses.iter().map(|address| met(address)).sum();
    assert!((40..=120).contains(&count), "{count} of 256 addresses");
    for address in &addresses {
        assert_eq!(met(address), met(&format!("::ffff:{address}")), "{address} in either notation");
    }
    let network = |host: u16| format!("2001:db8:0:7::{host:x}");
    assert!((0..100).all(|host| met(&network(host)) == met(&network(0))), "a network is one caller");
}

#[tokio::test]
async fn what_cannot_be_loaded_never_takes_the_place_of_what_works() {
    let rig = Rig::start("").await;
    let ada = PluginOwner::Tenant(ADA);
    rig.modules.add("policy", 1, guest("policy"));
    rig.modules.add("policy", 2, stubborn());
    rig.modules.add("policy", 3, b"no module".to_vec());
    rig.want(ada, &[stored("policy", 1)]).await;
    let failures = "coditect_plugin_load_failures_total";
    for (bad, failed) in [(2, 1.0), (3, 2.0)] {
        rig.want(ada, &[StoredPlugin { share_percent: 1, ..stored("policy", bad) }]).await;
        assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["policy"], "the old one goes on, as it was");
        assert_eq!(rig.metric(failures), failed);
        assert_eq!(rig.metric("coditect_plugins_unfulfilled"), 1.0);
        rig.want(ada, &[StoredPlugin { share_percent: 1, ..stored("policy", bad) }]).await;
        assert_eq!(rig.metric(failures), failed, "and the same is not tried again");
    }
    rig.want(ada, &[stored("policy", 1)]).await;
    assert_eq!(rig.metric("coditect_plugins_unfulfilled"), 0.0, "back to what works needs no loading");
    rig.want(ada, &[]).await;
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_was_never_loaded_refuses_its_requests_unless_it_fails_open() {
    let rig = Rig::start("").await;
    let ada = PluginOwner::Tenant(ADA);
    rig.modules.add("policy", 2, stubborn());
    rig.want(ada, &[stored("policy", 2)]).await;
    assert_eq!(rig.met("/", Some(ADA)).unwrap_err(), "policy");
    assert_eq!(rig.met("/", Some(EVE)).unwrap(), [""; 0], "nobody else's");
    assert_eq!(rig.met("/", None).unwrap(), [""; 0]);
    for harmless in [
        StoredPlugin { failure: FailureMode::Open, ..stored("policy", 2) },
        StoredPlugin { shadow: true, ..stored("policy", 2) },
        StoredPlugin { route: Some("/elsewhere".into()), ..stored("policy", 2) },
    ] {
        rig.want(ada, std::slice::from_ref(&harmless)).await;
        assert_eq!(rig.met("/", Some(ADA)).unwrap(), [""; 0], "{harmless:?}");
    }
}

#[tokio::test]
async fn a_shadow_does_not_stand_in_for_the_policy_that_is_wanted_next() {
    let rig = Rig::start("").await;
    let shadow = || StoredPlugin { shadow: true, ..stored("policy", 1) };
    rig.modules.add("policy", 1, guest("policy"));
    rig.want(OPERATORS, &[shadow()]).await;
    assert!(rig.met("/", None).is_ok());
    rig.want(OPERATORS, &[stored("policy", 1)]).await;
    assert_eq!(rig.met("/", None).unwrap(), ["policy"], "the same version need not be loaded");
    rig.want(OPERATORS, &[shadow()]).await;
    rig.modules.add("policy", 2, stubborn());
    rig.want(OPERATORS, &[stored("policy", 2)]).await;
    assert_eq!(rig.met("/", None).unwrap_err(), "policy");
}

#[tokio::test(start_paused = true)]
async fn a_module_that_cannot_be_read_is_asked_for_again() {
    let rig = Rig::start("").await;
    rig.want(OPERATORS, &[stored("policy", 1)]).await;
    assert_eq!(rig.met("/", None).unwrap_err(), "policy");
    rig.want(PluginOwner::Tenant(ADA), &[stored("policy", 2)]).await;
    let working = async {
        // Both fail once more each: other owners' plugins do not keep one from its turn.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        rig.modules.add("policy", 1, guest("policy"));
        while rig.met("/", None).is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = rig.live.work(&rig.modules) => {}
        () = working => {}
        () = tokio::time::sleep(Duration::from_secs(120)) => panic!("it is not asked for again"),
    }
    assert_eq!(rig.met("/", None).unwrap(), ["policy"]);
    assert_eq!(rig.met("/", Some(ADA)).unwrap_err(), "policy", "the tenant's own is still missing");
}

#[tokio::test]
async fn what_did_not_change_is_not_loaded_again_and_what_was_replaced_is_freed() {
    let rig = Rig::start("plugins = [{ plugin = 'p' }]").await;
    let ada = PluginOwner::Tenant(ADA);
    for version in 1..=3 {
        rig.modules.add("policy", version, guest(&format!("v{version}")));
    }
    let engine = rig.loader.engine();
    let configured = engine.live_modules();
    rig.want(ada, &[stored("policy", 1)]).await;
    assert_eq!((rig.modules.reads(), engine.live_modules()), (1, configured + 1));
    assert_eq!(engine.live_instances(), 1, "one is started ahead, for the tenant");
    let other = StoredPlugin { share_percent: 50, order: 1, shadow: true, ..stored("policy", 1) };
    rig.want(ada, &[other]).await;
    assert_eq!((rig.modules.reads(), engine.live_modules()), (0, configured + 1));
    let routed = StoredPlugin { route: Some("/".into()), ..stored("policy", 1) };
    rig.want(ada, &[stored("policy", 1), routed]).await;
    assert_eq!(rig.modules.reads(), 0, "another target of the same version shares it");
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["p", "policy", "policy"]);
    rig.take("plugins = [{ plugin = 'p' }, { plugin = 'q' }]").await.unwrap();
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["p", "q", "policy", "policy"], "reloads keep the store's");
    assert_eq!(rig.modules.reads(), 0);

    let held =
        rig.live.snapshot().load_full().plugins.chain_for(asked("/", Some(&claims(ADA, ADA)), None)).unwrap();
    for version in 1..=3 {
        rig.want(ada, &[stored("policy", version)]).await;
    }
    // The newest, and the one that a request still runs on.
    rig.until_held(configured + 2, None).await;
    drop(held);
    rig.until_held(configured + 1, None).await;
    assert_eq!(rig.metric("coditect_plugin_modules"), (configured + 1) as f64);
    rig.want(ada, &[]).await;
    rig.until_held(configured, Some(0)).await;
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_a_good_one_keeps_what_is_the_same() {
    let rig = Rig::start("plugins = [{ plugin = 'p' }]").await;
    let first = rig.live.snapshot().load_full().plugins.chain_for(asked("/", None, None)).unwrap().links;
    std::fs::write(rig.directory.path().join("q.wasm"), stubborn()).unwrap();
    let refused = rig.take("plugins = [{ plugin = 'q' }]").await.unwrap_err();
    assert!(refused.contains("plugin `q`") && refused.contains("proxy_on_configure"), "{refused}");
    assert_eq!(rig.met("/", None).unwrap(), ["p"]);
    std::fs::write(rig.directory.path().join("q.wasm"), guest("q2")).unwrap();
    rig.take("plugins = [{ plugin = 'q', shadow = true }, { plugin = 'p' }]").await.unwrap();
    assert_eq!(rig.met("/", None).unwrap(), ["q (shadow)", "p"]);
    let second = rig.live.snapshot().load_full().plugins.chain_for(asked("/", None, None)).unwrap().links;
    let started = |link: &Link| link.plugin.stats().instances_started;
    assert_eq!(started(&first[0]), started(&second[1]));
    first[0].plugin.warm(&ADA.to_string()).unwrap();
    assert_eq!(started(&first[0]), started(&second[1]), "it is the same plugin, with its instances");
    assert!(started(&first[0]) > 0);
}

#[tokio::test]
async fn what_may_call_other_upstreams_is_loaded_again() {
    let rig = Rig::start("").await;
    rig.modules.add("policy", 1, guest("policy"));
    rig.want(OPERATORS, &[stored("policy", 1)]).await;
    rig.want(PluginOwner::Tenant(ADA), &[stored("policy", 1)]).await;
    assert_eq!(rig.modules.reads(), 2, "owners share nothing");
    let mut config = config(&rig.directory, "");
    config.plugin_host.tenant_upstreams = vec!["keys".into()];
    rig.live.take(&config).await.unwrap();
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["policy", "policy"], "the old ones go on meanwhile");
    rig.load().await;
    assert_eq!(rig.modules.reads(), 1, "the tenant's alone");
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["policy", "policy"]);
}
