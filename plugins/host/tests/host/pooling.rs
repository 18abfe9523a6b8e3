//! Instances: whose they are, how many, and when they go.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use coditect_proxy_wasm::{Direction, EngineSettings, PluginConfig, StreamError};

use crate::guest::Guest;
use crate::world::{engine, engine_with, http, load, load_with, share};

/// Reports a number that counts requests within one instance.
fn counting_guest() -> Vec<u8> {
    let body = "(global.set $requests (i32.add (global.get $requests) (i32.const 1)))
                (call $report (global.get $requests)) (i32.const 0)";
    Guest::new()
        .with("(global $requests (mut i32) (i32.const 0))")
        .on("proxy_on_request_headers", body)
        .wasm()
}

fn request(plugin: &coditect_proxy_wasm::Plugin, tenant: &str) -> Result<(), StreamError> {
    let http = http();
    let mut stream = plugin.open(tenant, share(&http))?;
    let _ = stream.on_headers(Direction::Request, true)?;
    stream.close()
}

#[test]
fn tenants_never_share_an_instance() {
    let (plugin, world) = load(counting_guest());
    for tenant in ["a", "b", "a", "a", "b"] {
        request(&plugin, tenant).unwrap();
    }
    assert_eq!(world.reports(), [1, 1, 2, 3, 2]);
    assert_eq!(plugin.stats().instances_started, 3, "the canary and one for each tenant");
}

#[test]
fn streams_of_one_instance_interleave() {
    let body = "(call $report (local.get $p0)) (i32.const 0)";
    let guest = Guest::new().on("proxy_on_request_headers", body).on("proxy_on_response_headers", body);
    let (plugin, world) = load(guest.wasm());
    let http = http();
    let mut one = plugin.open("t", share(&http)).unwrap();
    let mut two = plugin.open("t", share(&http)).unwrap();
    let _ = two.on_headers(Direction::Request, true).unwrap();
    let _ = one.on_headers(Direction::Request, true).unwrap();
    let _ = two.on_headers(Direction::Response, true).unwrap();
    one.close().unwrap();
    let mut three = plugin.open("t", share(&http)).unwrap();
    let _ = three.on_headers(Direction::Request, true).unwrap();
    assert_eq!(world.reports(), [3, 2, 3, 4], "context ids are not used again");
    assert_eq!(plugin.stats().instances_started, 2, "the canary and one");
}

#[test]
fn the_least_recently_used_idle_instance_makes_room() {
    let (engine, world) = engine_with(EngineSettings { max_instances: 2, ..EngineSettings::default() });
    let one = engine.load(PluginConfig::new("one", counting_guest())).unwrap();
    let two = engine.load(PluginConfig::new("two", counting_guest())).unwrap();
    request(&one, "a").unwrap();
    request(&two, "b").unwrap();
    request(&one, "a").unwrap();
    request(&two, "c").unwrap();
    assert_eq!(engine.live_instances(), 2);
    assert_eq!(
        (one.stats().instances_evicted, two.stats().instances_evicted),
        (0, 1),
        "`b` was longest unused"
    );
    request(&one, "a").unwrap();
    assert_eq!(world.reports(), [1, 1, 2, 1, 3]);
}

#[test]
fn an_instance_in_use_is_not_taken_away() {
    let (engine, _) = engine_with(EngineSettings { max_instances: 1, ..EngineSettings::default() });
    let plugin = engine.load(PluginConfig::new("one", counting_guest())).unwrap();
    let http = http();
    let mut stream = plugin.open("a", share(&http)).unwrap();
    let error = plugin.open("b", share(&http)).err().expect("no room");
    assert!(matches!(error, StreamError::Exhausted { limit: 1, .. }), "{error}");
    assert_eq!(plugin.stats().exhausted, 1);
    let _ = stream.on_headers(Direction::Request, true).unwrap();
    stream.close().unwrap();
    request(&plugin, "b").unwrap();
}

#[test]
fn a_plugin_s_instances_go_with_it_and_not_before_its_streams() {
    let (engine, _) = engine();
    let plugin = engine.load(PluginConfig::new("one", counting_guest())).unwrap();
    plugin.warm("a").unwrap();
    let http = http();
    let mut stream = plugin.open("b", share(&http)).unwrap();
    assert_eq!(engine.live_instances(), 2);
    drop(plugin);
    let _ = stream.on_headers(Direction::Request, true).expect("an old stream ends on the old plugin");
    stream.close().unwrap();
    assert_eq!((engine.live_instances(), engine.live_modules()), (0, 0));
}

#[test]
fn metrics_of_an_evicted_tenant_stay_counted() {
    let mut guest = Guest::new();
    let name = guest.text("n");
    let body = format!(
        "(drop (call $proxy_define_metric (i32.const 0) {name} (i32.const 64)))
         (drop (call $proxy_increment_metric (i32.load (i32.const 64)) (i64.const 1))) (i32.const 0)"
    );
    let (engine, _) = engine_with(EngineSettings { max_instances: 1, ..EngineSettings::default() });
    let plugin =
        engine.load(PluginConfig::new("p", guest.on("proxy_on_request_headers", &body).wasm())).unwrap();
    for tenant in ["a", "b", "c"] {
        request(&plugin, tenant).unwrap();
    }
    let value = coditect_proxy_wasm::MetricValue::Counter(3);
    assert_eq!(plugin.metrics(), [coditect_proxy_wasm::MetricSample { name: "n".to_owned(), value }]);
}

#[test]
fn tenants_whose_instances_all_trapped_are_forgotten() {
    // Says whether the tenant's data was there, sets it, and traps.
    let mut guest = Guest::new();
    let key = guest.text("key");
    let body = format!(
        "(call $report (call $proxy_get_shared_data {key} (i32.const 64) (i32.const 68) (i32.const 72)))
         (drop (call $proxy_set_shared_data {key} {key} (i32.const 0))) unreachable"
    );
    let (plugin, world) = load(guest.on("proxy_on_request_headers", &body).wasm());
    let trap = |tenant: &str| {
        request(&plugin, tenant).unwrap_err();
        world.reports()
    };
    assert_eq!(trap("first"), [1]);
    assert_eq!(trap("first"), [0], "a trap alone does not lose the tenant's data");
    for number in 0..100 {
        assert_eq!(trap(&format!("tenant {number}")), [1]);
    }
    assert_eq!(trap("first"), [0], "one that failed lately is remembered");
    world.pass(Duration::from_secs(60));
    for number in 100..300 {
        assert_eq!(trap(&format!("tenant {number}")), [1]);
    }
    assert_eq!(trap("first"), [1], "it went with the sweep of tenants without an instance");
}

#[test]
fn the_counters_tell_how_full_the_pool_is() {
    let (engine, _) = engine_with(EngineSettings { max_instances: 2, ..EngineSettings::default() });
    let one = engine.load(PluginConfig::new("one", counting_guest())).unwrap();
    let two = engine.load(PluginConfig::new("two", counting_guest())).unwrap();
    let gauges = |plugin: &coditect_proxy_wasm::Plugin| (plugin.stats().instances, plugin.stats().tenants);
    assert_eq!((gauges(&one), engine.stats().instances, engine.stats().max_instances), ((0, 0), 0, 2));
    one.warm("a").unwrap();
    let (held, other) = (share(&http()), share(&http()));
    let held = two.open("b", held).unwrap();
    assert_eq!((gauges(&one), gauges(&two), engine.stats().instances), ((1, 1), (1, 1), 2));
    let other = two.open("c", other).unwrap();
    assert_eq!((gauges(&one), gauges(&two)), ((0, 0), (2, 2)), "the idle instance made room");
    assert!(one.warm("a").is_err());
    let stats = engine.stats();
    assert_eq!((stats.instances_evicted, stats.exhausted, stats.modules), (1, 1, 1));
    drop((held, other, two));
    assert_eq!(engine.stats().instances, 0);
}

/// Many threads, few instances, and a guest that traps now and then: every request is served or told why not, and
/// the counts come out even.
#[test]
fn threads_share_a_tenant_s_instances() {
    const THREADS: usize = 4;
    const REQUESTS: usize = 200;
    let mut guest = Guest::new();
    let header = guest.text("x-trap");
    let body = format!(
        "(if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {header} (i32.const 64) (i32.const 68)))
           (then unreachable)) (i32.const 0)"
    );
    let wasm = guest.on("proxy_on_request_headers", &body).wasm();
    let (plugin, _) = load_with(wasm, |config| {
        config.limits.instances_per_tenant = 2;
        config.quarantine_traps = 0;
    });
    let barrier = Arc::new(Barrier::new(THREADS));
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            let (plugin, barrier) = (plugin.clone(), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                let mut trapped = 0;
                for number in 0..REQUESTS {
                    let http = http();
                    let traps = worker == 0 && number % 10 == 0;
                    if traps {
                        http.lock().unwrap().request.push((b"x-trap".to_vec(), Vec::new()));
                    }
                    let result = plugin.open("t", share(&http)).and_then(|mut stream| {
                        let _ = stream.on_headers(Direction::Request, true)?;
                        stream.close()
                    });
                    match result {
                        Ok(()) => assert!(!traps, "a trap went unnoticed"),
                        Err(StreamError::Trap(_)) => trapped += 1,
                        // Another thread's trap took the instance from under this stream.
                        Err(StreamError::InstanceLost { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                trapped
            })
        })
        .collect();
    let trapped: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert!(trapped > 0);
    assert_eq!(plugin.stats().traps, trapped);
}
