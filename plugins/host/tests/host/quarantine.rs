//! Quarantine: what leads to it, whom it concerns, and how it ends.

use std::time::Duration;

use coditect_proxy_wasm::{Direction, LoadReason, MAX_QUARANTINE_TRAPS, Plugin, PluginConfig, StreamError};

use crate::clockwork::{SECOND, load, request};
use crate::guest::Guest;
use crate::world::{http, share};

/// Traps in each request.
fn trapping() -> Vec<u8> {
    Guest::new().on("proxy_on_request_headers", "unreachable").wasm()
}

fn three_in_a_minute(config: &mut PluginConfig) {
    config.version = "1.4".to_owned();
    config.quarantine_traps = 3;
    config.quarantine_window = Duration::from_secs(60);
}

fn trapped(plugin: &Plugin, tenant: &str) {
    let error = request(plugin, tenant).expect_err("it traps");
    assert!(matches!(error, StreamError::Trap(_)), "{error}");
}

fn refused(plugin: &Plugin, tenant: &str) {
    let started = plugin.stats().instances_started;
    let error = request(plugin, tenant).expect_err("it is in quarantine");
    let StreamError::Quarantined { plugin: name, tenant: whose } = &error else { panic!("{error}") };
    assert_eq!((&**name, &**whose), ("test", tenant));
    assert!(matches!(plugin.warm(tenant), Err(StreamError::Quarantined { .. })));
    assert_eq!(plugin.stats().instances_started, started, "nothing is started");
}

#[test]
fn traps_in_the_window_quarantine_the_plugin_for_that_tenant_only() {
    let (plugin, clock) = load(trapping(), three_in_a_minute);
    trapped(&plugin, "a");
    trapped(&plugin, "a");
    clock.advance(61 * SECOND);
    trapped(&plugin, "a");
    trapped(&plugin, "a");
    assert!(plugin.quarantined().is_empty(), "two of the four are out of the window");
    trapped(&plugin, "b");
    trapped(&plugin, "a");
    refused(&plugin, "a");
    trapped(&plugin, "b");
    let quarantined = plugin.quarantined();
    let [quarantine] = quarantined.as_slice() else { panic!("{quarantined:?}") };
    assert_eq!((&*quarantine.plugin, &*quarantine.version, &*quarantine.tenant), ("test", "1.4", "a"));
    assert_eq!((quarantine.traps, quarantine.window), (3, Duration::from_secs(60)));
    assert_eq!(quarantine.since, 61 * SECOND);
    assert!(quarantine.cause.contains("proxy_on_request_headers"), "{}", quarantine.cause);
    assert_eq!(clock.quarantines(), quarantined, "the environment was told, once");
    let stats = plugin.stats();
    assert_eq!((stats.quarantined, stats.refused_in_quarantine, stats.traps), (1, 2, 7));
}

#[test]
fn it_lasts_until_it_is_released() {
    let (plugin, clock) = load(trapping(), three_in_a_minute);
    (0..3).for_each(|_| trapped(&plugin, "a"));
    clock.advance(24 * 3600 * SECOND);
    refused(&plugin, "a");
    assert!(!plugin.release("b"));
    assert!(plugin.release("a"));
    assert_eq!((plugin.quarantined().len(), plugin.stats().quarantined), (0, 0));
    (0..3).for_each(|_| trapped(&plugin, "a"));
    refused(&plugin, "a");
    assert_eq!(clock.quarantines().len(), 2);
}

#[test]
fn a_plugin_loaded_anew_starts_clean() {
    let (engine, _) = crate::clockwork::engine(Default::default());
    let config = || {
        let mut config = PluginConfig::new("test", trapping());
        three_in_a_minute(&mut config);
        config
    };
    let old = engine.load(config()).unwrap();
    (0..3).for_each(|_| trapped(&old, "a"));
    refused(&old, "a");
    let new = engine.load(config()).unwrap();
    trapped(&new, "a");
    refused(&old, "a");
}

#[test]
fn streams_that_are_open_go_on() {
    let mut guest = Guest::new();
    let header = guest.text("x-trap");
    let body = format!(
        "(if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {header} (i32.const 64) (i32.const 68)))
           (then unreachable)) (i32.const 0)"
    );
    let (plugin, _) = load(guest.on("proxy_on_request_headers", &body).wasm(), |config| {
        three_in_a_minute(config);
        config.quarantine_traps = 1;
    });
    let mut other = plugin.open("b", share(&http())).unwrap();
    let trapping = http();
    trapping.lock().unwrap().request.push((b"x-trap".to_vec(), b"1".to_vec()));
    for tenant in ["a", "b"] {
        crate::clockwork::request_with(&plugin, tenant, &trapping).unwrap_err();
        refused(&plugin, tenant);
    }
    // Tenant b's trap ended the instance of this stream.
    let error = other.on_headers(Direction::Request, true).unwrap_err();
    assert!(matches!(error, StreamError::InstanceLost { .. }), "{error}");
    crate::clockwork::request(&plugin, "c").expect("nobody else is concerned");
}

/// A guest that comes up for the canary and not for a tenant: it looks at the clock, which the test moves in between.
fn starts_at_time_zero_only(otherwise: &str) -> Vec<u8> {
    let body = format!(
        "(drop (call $proxy_get_current_time_nanoseconds (i32.const 128)))
         (if (i64.ne (i64.load (i32.const 128)) (i64.const 0)) (then {otherwise})) (i32.const 1)"
    );
    Guest::new().on("proxy_on_configure", &body).wasm()
}

#[test]
fn instances_that_do_not_start_count_too() {
    for (otherwise, cause) in [("unreachable", "unreachable"), ("(return (i32.const 0))", "refused")] {
        let (plugin, clock) = load(starts_at_time_zero_only(otherwise), three_in_a_minute);
        clock.advance(1);
        for _ in 0..3 {
            let error = request(&plugin, "a").expect_err("it does not start");
            assert!(matches!(error, StreamError::Trap(_) | StreamError::Start { .. }), "{error}");
        }
        refused(&plugin, "a");
        let quarantines = clock.quarantines();
        assert!(quarantines.len() == 1 && quarantines[0].cause.contains(cause), "{quarantines:?}");
    }
}

#[test]
fn zero_traps_is_never_and_too_many_are_refused() {
    let (plugin, _) = load(trapping(), |config| config.quarantine_traps = 0);
    (0..50).for_each(|_| trapped(&plugin, "a"));
    assert!(plugin.quarantined().is_empty());
    let (engine, _) = crate::clockwork::engine(Default::default());
    let mut config = PluginConfig::new("test", trapping());
    config.quarantine_traps = MAX_QUARANTINE_TRAPS + 1;
    let reason = engine.load(config).err().expect("it is refused").reason;
    assert!(matches!(*reason, LoadReason::Limit { name: "quarantine_traps", .. }), "{reason}");
}

#[test]
fn what_a_plugin_s_last_instances_do_quarantines_nothing() {
    // Traps at its end, but for the canary, before the clock is moved.
    let body = "(drop (call $proxy_get_current_time_nanoseconds (i32.const 128)))
         (if (i64.ne (i64.load (i32.const 128)) (i64.const 0)) (then unreachable)) (i32.const 1)";
    let (plugin, clock) = load(Guest::new().on("proxy_on_done", body).wasm(), |config| {
        config.quarantine_traps = 1;
    });
    plugin.warm("a").unwrap();
    clock.advance(1);
    drop(plugin);
    assert!(clock.quarantines().is_empty());
}

#[test]
fn a_trap_names_the_version() {
    let (plugin, _) = load(trapping(), three_in_a_minute);
    let error = request(&plugin, "a").unwrap_err();
    assert!(error.to_string().starts_with("plugin `test` 1.4 (tenant a) trapped"), "{error}");
    let StreamError::Trap(trap) = error else { panic!("{error}") };
    assert_eq!(&*trap.version, "1.4");
}
