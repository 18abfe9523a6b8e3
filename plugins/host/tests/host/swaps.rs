//! Hot swaps under load: requests go on while versions come and go, none fails, and what is replaced is freed.
//!
//! The same code as a longer run: `cargo run --release -p coditect-proxy-wasm --example hot_swaps -- 10000`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use coditect_proxy_wasm::{Chain, Direction, Engine, EngineSettings, Item, Link, Plugin, PluginConfig};
use futures::executor::block_on;

use crate::guest::Guest;
use crate::world::{engine_with, http, share};

const WORKERS: usize = 2;
const TENANTS: [&str; 3] = ["one", "two", "three"];

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Swapped {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Instances and modules alive before the last plugin went, and after.
    pub(crate) alive: [(u32, usize); 2],
}

/// A version's module: header, body and tick callbacks, and its number, which makes it another module than those before.
fn module(number: usize) -> Vec<u8> {
    let mut guest = Guest::new();
    let (name, value) = (guest.text("x-version"), guest.text(&number.to_string()));
    let tag = format!("(drop (call $proxy_add_header_map_value (i32.const 0) {name} {value})) (i32.const 0)");
    guest
        .on(
            "proxy_on_configure",
            "(drop (call $proxy_set_tick_period_milliseconds (i32.const 1000))) (i32.const 1)",
        )
        .on("proxy_on_tick", "")
        .on("proxy_on_request_headers", &tag)
        .on("proxy_on_response_body", "(i32.eqz (local.get $p2))")
        .wasm()
}

/// Every other swap changes the configuration only.
fn load(engine: &Engine, number: usize) -> Plugin {
    let mut config = PluginConfig::new("swapped", module(number / 2));
    config.configuration = number.to_string().into_bytes();
    // The machine's other work must not decide this test.
    config.limits.callback_cpu = std::time::Duration::from_secs(1);
    config.limits.start_cpu = config.limits.callback_cpu;
    config.limits.instances_per_tenant = 1;
    engine.load(config).expect("a good version loads")
}

/// One exchange, with a body that is held to its end.
fn request(plugin: Plugin, tenant: &str) -> bool {
    let http = http();
    let mut chain = Chain::new(share(&http), tenant, vec![Link { plugin, shadow: false, observer: None }]);
    let mut push = |direction, item| block_on(chain.push(direction, item)).ok();
    let data = |end| Item::Data { bytes: Bytes::from_static(b"piece"), end };
    let asked = push(Direction::Request, Item::Headers { end: true }).is_some();
    let answered = push(Direction::Response, Item::Headers { end: false }).is_some()
        && push(Direction::Response, data(false)) == Some(Vec::new())
        && push(Direction::Response, data(true))
            == Some(vec![Item::Data { bytes: Bytes::from_static(b"piecepiece"), end: true }]);
    chain.finish();
    asked && answered && http.lock().unwrap().request_values("x-version").len() == 1
}

/// Swaps so many times under load; `each` is called after each swap.
pub(crate) fn run(swaps: usize, mut each: impl FnMut(usize)) -> Swapped {
    let settings = EngineSettings { max_instances: 64, ..EngineSettings::default() };
    let (engine, _world) = engine_with(settings);
    let current = Mutex::new(load(&engine, 0));
    let now = || current.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (stop, requests, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (now, stop, requests, failed) = (&now, &stop, &requests, &failed);
            scope.spawn(move || {
                let mut turn = worker;
                while !stop.load(Ordering::Acquire) {
                    turn += 1;
                    let good = request(now(), TENANTS[turn % TENANTS.len()]);
                    requests.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(!good), Ordering::Relaxed);
                }
            });
        }
        for swap in 1..=swaps {
            let new = load(&engine, swap);
            let old = std::mem::replace(&mut *current.lock().unwrap_or_else(PoisonError::into_inner), new);
            drop(old);
            each(swap);
        }
        stop.store(true, Ordering::Release);
    });
    // One instance for each tenant, and no other.
    let plugin = current.into_inner().unwrap_or_else(PoisonError::into_inner);
    for tenant in TENANTS {
        let good = request(plugin.clone(), tenant);
        failed.fetch_add(u64::from(!good), Ordering::Relaxed);
    }
    let before = (engine.live_instances(), engine.live_modules());
    drop(plugin);
    assert_eq!(engine.run_due(), None, "no tick of a freed instance is planned");
    let after = (engine.live_instances(), engine.live_modules());
    Swapped { requests: requests.into_inner(), failed: failed.into_inner(), alive: [before, after] }
}

#[test]
fn no_request_fails_while_versions_are_swapped_and_what_is_replaced_is_freed() {
    let swapped = run(60, |_| {});
    assert!(swapped.requests > 60, "{swapped:?}");
    assert_eq!((swapped.failed, swapped.alive), (0, [(3, 1), (0, 0)]), "{swapped:?}");
}
