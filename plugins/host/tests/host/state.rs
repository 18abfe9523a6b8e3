//! Shared data, metrics, the clock and the log, and what is not built.

use coditect_proxy_wasm::{Direction, LogLevel, MetricSample, MetricValue, PluginConfig};

use crate::guest::{Guest, OUT};
use crate::world::{REALTIME, engine, exchange, http, load, load_with, share};

fn report(call: &str) -> String {
    format!("(call $report (call ${call}))")
}

/// A guest that, at each request, reports the status and version of a key and then sets it.
fn counting_guest() -> Vec<u8> {
    let mut guest = Guest::new();
    let (key, value) = (guest.text("key"), guest.text("value"));
    let body = [
        "(i32.store (i32.const 72) (i32.const 0))".to_owned(),
        report(&format!("proxy_get_shared_data {key} {OUT} (i32.const 72)")),
        "(call $report (i32.load (i32.const 72)))".to_owned(),
        report(&format!("proxy_set_shared_data {key} {value} (i32.load (i32.const 72))")),
        report(&format!("proxy_set_shared_data {key} {value} (i32.const 9999)")),
    ];
    guest.on("proxy_on_request_headers", &(body.concat() + "(i32.const 0)")).wasm()
}

#[test]
fn shared_data_is_shared_by_vm_id_within_a_tenant_only() {
    let (engine, world) = engine();
    let load = |name: &str, vm_id: &str| {
        let mut config = PluginConfig::new(name, counting_guest());
        config.vm_id = vm_id.to_owned();
        engine.load(config).unwrap()
    };
    let (one, same, other) = (load("one", "vm"), load("two", "vm"), load("three", "other"));
    let visit = |plugin: &coditect_proxy_wasm::Plugin, tenant: &str| {
        let http = http();
        let mut stream = plugin.open(tenant, share(&http)).unwrap();
        let _ = stream.on_headers(Direction::Request, true).unwrap();
        world.reports()
    };
    // Status of get (1: not found), version, status of the matching set, of the one that does not match (8).
    assert_eq!(visit(&one, "a"), [1, 0, 0, 8]);
    assert_eq!(visit(&one, "a"), [0, 1, 0, 8]);
    assert_eq!(visit(&same, "a"), [0, 2, 0, 8]);
    assert_eq!(visit(&one, "b"), [1, 0, 0, 8], "another tenant");
    assert_eq!(visit(&other, "a"), [1, 0, 0, 8], "another vm_id");
}

#[test]
fn metrics_are_counted_by_tenant_and_summed_for_the_embedder() {
    let mut guest = Guest::new();
    let (name, long) = (guest.text("hits"), guest.text(&"x".repeat(257)));
    let body = [
        report(&format!("proxy_define_metric (i32.const 0) {name} (i32.const 64)")),
        report(&format!("proxy_define_metric (i32.const 3) {name} (i32.const 72)")),
        report(&format!("proxy_define_metric (i32.const 0) {long} (i32.const 72)")),
        report("proxy_increment_metric (i32.load (i32.const 64)) (i64.const 3)"),
        report("proxy_increment_metric (i32.load (i32.const 64)) (i64.const -1)"),
        report("proxy_record_metric (i32.const 400) (i64.const 1)"),
        report("proxy_get_metric (i32.load (i32.const 64)) (i32.const 80)"),
        "(call $report (i32.load (i32.const 80)))".to_owned(),
    ];
    let wasm = guest.on("proxy_on_request_headers", &(body.concat() + "(i32.const 0)")).wasm();
    let (plugin, world) = load(wasm);
    for (tenant, total) in [("a", 3), ("a", 6), ("b", 3)] {
        let http = http();
        let mut stream = plugin.open(tenant, share(&http)).unwrap();
        let _ = stream.on_headers(Direction::Request, true).unwrap();
        assert_eq!(world.reports(), [0, 2, 2, 0, 2, 1, 0, total]);
    }
    let sample = MetricSample { name: "hits".to_owned(), value: MetricValue::Counter(9) };
    assert_eq!(plugin.metrics(), [sample]);
}

#[test]
fn what_the_canary_counts_and_stores_is_gone_with_it() {
    let mut guest = Guest::new();
    let name = guest.text("configured");
    let body = [
        report(&format!("proxy_get_shared_data {name} {OUT} (i32.const 72)")),
        report(&format!("proxy_set_shared_data {name} {name} (i32.const 0)")),
        format!("(drop (call $proxy_define_metric (i32.const 0) {name} (i32.const 64)))"),
        report("proxy_increment_metric (i32.load (i32.const 64)) (i64.const 1)"),
    ];
    let (plugin, world) = load(guest.on("proxy_on_configure", &(body.concat() + "(i32.const 1)")).wasm());
    assert_eq!(plugin.metrics(), []);
    plugin.warm("tenant").unwrap();
    assert_eq!(world.reports(), [1, 0, 0]);
    let sample = MetricSample { name: "configured".to_owned(), value: MetricValue::Counter(1) };
    assert_eq!(plugin.metrics(), [sample]);
}

#[test]
fn metrics_past_the_limit_are_refused() {
    let mut guest = Guest::new();
    let names = [guest.text("a"), guest.text("b")];
    let body: String = names
        .iter()
        .map(|name| report(&format!("proxy_define_metric (i32.const 1) {name} (i32.const 64)")))
        .collect();
    let wasm = guest.on("proxy_on_configure", &(body + "(i32.const 1)")).wasm();
    let (plugin, world) = load_with(wasm, |config| config.limits.metrics = 1);
    plugin.warm("tenant").unwrap();
    assert_eq!(world.reports(), [0, 10]);
    assert_eq!(plugin.metrics().len(), 1);
}

#[test]
fn the_log_has_a_level_and_knows_its_request() {
    let mut guest = Guest::new();
    let (low, high) = (guest.text("low"), guest.text("high"));
    let body = [
        format!("(drop (call $proxy_log (i32.const 2) {low})) (drop (call $proxy_log (i32.const 3) {high}))"),
        format!("(if (i32.ne (call $proxy_log (i32.const 6) {low}) (i32.const 2)) (then unreachable))"),
        "(if (call $proxy_get_log_level (i32.const 64)) (then unreachable))".to_owned(),
        "(if (i32.ne (i32.load (i32.const 64)) (i32.const 3)) (then unreachable))".to_owned(),
    ];
    let wasm = guest.on("proxy_on_request_headers", &(body.concat() + "(i32.const 0)")).wasm();
    let (plugin, world) = load_with(wasm, |config| config.log_level = LogLevel::Warn);
    exchange(&plugin, &http());
    let lines = world.log.lock().unwrap().clone();
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].level, lines[0].message.as_slice()), (LogLevel::Warn, &b"high"[..]));
    assert_eq!((lines[0].tenant.as_str(), lines[0].request_id.as_deref()), ("tenant", Some("req-1")));
}

#[test]
fn logging_more_than_the_budget_is_the_guest_s_end() {
    let mut guest = Guest::new();
    let line = guest.text("0123456789");
    let flood =
        format!("(loop $again (drop (call $proxy_log (i32.const 2) {line})) (br $again)) (i32.const 0)");
    let wasm = guest.on("proxy_on_request_headers", &flood).wasm();
    let (plugin, world) = load_with(wasm, |config| config.limits.log_bytes = 35);
    let http = http();
    let error = plugin.open("t", share(&http)).unwrap().on_headers(Direction::Request, true).unwrap_err();
    assert!(error.to_string().contains("`log_bytes` of 35 bytes"), "{error}");
    assert_eq!(world.texts().len(), 3);
}

#[test]
fn the_clock_and_the_status_of_calls() {
    let body = [
        report("proxy_get_current_time_nanoseconds (i32.const 64)"),
        "(call $report (i32.load (i32.const 64))) (call $report (i32.load (i32.const 68)))".to_owned(),
        report("proxy_get_status (i32.const 72) (i32.const 64) (i32.const 68)"),
        "(call $report (i32.load (i32.const 72))) (call $report (i32.load (i32.const 68)))".to_owned(),
    ];
    let (plugin, world) =
        load(Guest::new().on("proxy_on_request_headers", &(body.concat() + "(i32.const 0)")).wasm());
    exchange(&plugin, &http());
    let (low, high) = (REALTIME & 0xffff_ffff, REALTIME >> 32);
    assert_eq!(world.reports(), [0, u32::try_from(low).unwrap(), u32::try_from(high).unwrap(), 0, 0, 0]);
}
