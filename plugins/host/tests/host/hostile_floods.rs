//! Floods: more log lines, shared data, queues, notifications, properties and headers than anybody needs. Each is met
//! with a status or a trap, at a known number, and other tenants have all of theirs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use coditect_proxy_wasm::{Direction, PluginConfig, SHARED_DATA_ENTRY_BYTES, StreamError, TrapCause};

use crate::guest::{Guest, OUT, wire};
use crate::world::{engine, exchange, exchange_of, http, load_with, share};

const PATIENT: Duration = Duration::from_secs(60);

/// A guest that runs `call` so many times in the request callback, `$i` counting up, and reports how many answered 0
/// and what the last one answered.
fn flood(guest: Guest, times: u32, call: &str) -> Guest {
    let text = format!(
        "(func $flood (local $i i32) (local $good i32) (local $last i32)
           (loop $again
             (local.set $last {call})
             (local.set $good (i32.add (local.get $good) (i32.eqz (local.get $last))))
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))
           (call $report (local.get $good)) (call $report (local.get $last)))"
    );
    guest.with(&text).on("proxy_on_request_headers", "(call $flood) (i32.const 0)")
}

fn patient(config: &mut PluginConfig) {
    config.limits.callback_cpu = PATIENT;
}

fn trap(guest: Guest, configure: impl FnOnce(&mut PluginConfig)) -> (TrapCause, usize) {
    let (plugin, world) = load_with(guest.wasm(), configure);
    let error = plugin.open("t", share(&http())).unwrap().on_headers(Direction::Request, true).unwrap_err();
    let StreamError::Trap(trap) = error else { panic!("{error}") };
    let lines = world.log.lock().unwrap().len();
    (trap.cause, lines)
}

#[test]
fn a_million_log_lines_end_the_guest_at_its_budget() {
    let log = "(call $proxy_log (i32.const 2) (i32.const 0) (i32.const 1))";
    let (cause, lines) = trap(flood(Guest::new(), 1_000_000, log), patient);
    assert_eq!(cause, TrapCause::Bytes { name: "log_bytes", limit: 64 * 1024 });
    assert!(lines <= 64 * 1024, "{lines}");
}

#[test]
fn a_million_log_lines_below_the_level_are_nothing() {
    let log = "(call $proxy_log (i32.const 1) (i32.const 0) (i32.const 1))";
    let (plugin, world) = load_with(flood(Guest::new(), 1_000_000, log).wasm(), patient);
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [1_000_000, 0], "answered, and the two reports are all that was logged");
}

#[test]
fn shared_data_takes_what_fits_and_no_more() {
    // Keys are the counter's four bytes.
    let set = "(block (result i32) (i32.store (i32.const 16) (local.get $i))
        (call $proxy_set_shared_data (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0)))";
    let (plugin, world) = load_with(flood(Guest::new(), 100_000, set).wasm(), patient);
    let fit = u32::try_from(1024 * 1024 / (4 + SHARED_DATA_ENTRY_BYTES)).unwrap();
    for tenant in ["one", "two"] {
        exchange_of(&plugin, tenant, &http());
        assert_eq!(world.reports(), [fit, 10], "{tenant}");
    }
}

#[test]
fn queues_take_what_fits_and_no_more() {
    let register = "(block (result i32) (i32.store (i32.const 16) (local.get $i))
        (call $proxy_register_shared_queue (i32.const 16) (i32.const 4) (i32.const 64)))";
    let (plugin, world) = load_with(flood(Guest::new(), 1000, register).wasm(), patient);
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [256, 10], "names");

    let enqueue = "(block (result i32)
        (drop (call $proxy_register_shared_queue (i32.const 0) (i32.const 1) (i32.const 64)))
        (call $proxy_enqueue_shared_queue (i32.load (i32.const 64)) (i32.const 0) (i32.const 10)))";
    let (plugin, world) = load_with(flood(Guest::new(), 100_000, enqueue).wasm(), patient);
    for tenant in ["one", "two"] {
        exchange_of(&plugin, tenant, &http());
        assert_eq!(world.reports(), [1024, 10], "messages of {tenant}");
    }

    let large = enqueue.replace("(i32.const 10))", "(i32.const 65536))");
    let (plugin, world) = load_with(flood(Guest::new(), 1000, &large).wasm(), patient);
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [15, 10], "a mebibyte of messages of 64 KiB and what each costs besides");
}

/// A guest that answers each notification with another message: it runs for ever, but a turn at a time.
#[test]
fn a_queue_that_feeds_itself_does_not_keep_others_from_their_ticks() {
    let again = "(drop (call $proxy_enqueue_shared_queue (i32.const 1) (i32.const 0) (i32.const 1)))";
    let register = "(drop (call $proxy_register_shared_queue (i32.const 0) (i32.const 1) (i32.const 64)))";
    let feeding = Guest::new()
        .on("proxy_on_request_headers", &format!("{register} {} (i32.const 0)", again.repeat(500)))
        .on(
            "proxy_on_queue_ready",
            &format!("(drop (call $proxy_dequeue_shared_queue (local.get $p1) {OUT})) {again}"),
        );
    let ticking = Guest::new()
        .on(
            "proxy_on_request_headers",
            "(drop (call $proxy_set_tick_period_milliseconds (i32.const 1))) (i32.const 0)",
        )
        .on("proxy_on_tick", "(call $report (i32.const 7))");
    let (engine, world) = engine();
    let load = |name: &str, guest: Guest| {
        let mut config = PluginConfig::new(name, guest.wasm());
        config.limits.callback_cpu = PATIENT;
        engine.load(config).unwrap()
    };
    let (feeding, ticking) = (load("feeding", feeding), load("ticking", ticking));
    exchange(&feeding, &http());
    exchange(&ticking, &http());
    world.clear();
    for _ in 0..20 {
        world.pass(Duration::from_millis(10));
        let before = feeding.stats().callbacks;
        assert_eq!(engine.run_due(), Some(Duration::ZERO), "there is more to do");
        let ran = feeding.stats().callbacks - before;
        assert!(ran <= 64, "{ran} callbacks in one turn");
    }
    assert_eq!(world.reports(), [7; 20], "a tick each turn");
}

/// Calls that the embedder refuses leave nothing behind, however many.
#[test]
fn refused_calls_leave_nothing_to_do() {
    let mut guest = Guest::new();
    let (keys, nothing, service) = (guest.text("keys"), guest.text(""), guest.text("a.B"));
    let call = guest.bytes(&wire(&[(":method", "GET"), (":path", "/"), (":authority", "keys")]));
    let http_call =
        format!("(call $proxy_http_call {keys} {call} {nothing} {nothing} (i32.const 1) (i32.const 64))");
    let grpc_call = format!(
        "(call $proxy_grpc_call {keys} {service} {service} {nothing} {nothing} (i32.const 1) (i32.const 64))"
    );
    for call in [http_call, grpc_call] {
        let (engine, world) = engine();
        world.refuses.store(true, Ordering::SeqCst);
        let mut config = PluginConfig::new("test", flood(guest.clone(), 20_000, &call).wasm());
        config.upstreams = vec!["keys".to_owned()];
        config.limits.callback_cpu = PATIENT;
        config.limits.header_bytes = usize::MAX;
        config.limits.calls_per_stream = u32::MAX;
        let plugin = engine.load(config).unwrap();
        exchange(&plugin, &http());
        assert_eq!(world.reports(), [0, 10]);
        assert_eq!(world.asked.load(Ordering::SeqCst), 20_000);
        assert_eq!(engine.run_due(), None, "nothing waits");
    }
}

#[test]
fn a_tick_set_a_million_times_is_one_tick() {
    let set = "(call $proxy_set_tick_period_milliseconds (i32.add (local.get $i) (i32.const 1)))";
    let guest = flood(Guest::new(), 1_000_000, set).on("proxy_on_tick", "(call $report (i32.const 7))");
    let (engine, world) = engine();
    let mut config = PluginConfig::new("test", guest.wasm());
    patient(&mut config);
    let plugin = engine.load(config).unwrap();
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [1_000_000, 0]);
    assert_eq!(engine.run_due(), Some(Duration::from_secs(1000)), "the last one counts");
    world.pass(Duration::from_secs(1000));
    engine.run_due();
    assert_eq!(world.reports(), [7]);
    drop(plugin);
    assert_eq!(engine.run_due(), None, "it goes with its instance");
}

#[test]
fn properties_and_headers_past_the_budget_end_the_guest() {
    let mut guest = Guest::new();
    let (path, large) = (guest.text("my\0thing"), guest.bytes(&[b'v'; 1000]));
    let set = flood(guest, 1_000_000, &format!("(call $proxy_set_property {path} {large})"));
    let (cause, _) = trap(set, patient);
    assert_eq!(cause, TrapCause::Bytes { name: "property_bytes", limit: 64 * 1024 });

    let mut guest = Guest::new();
    let map = guest.bytes(&wire(&[(":path", "/"), ("x", &"v".repeat(1000))]));
    let set = flood(guest, 1_000_000, &format!("(call $proxy_set_header_map_pairs (i32.const 0) {map})"));
    let (cause, _) = trap(set, patient);
    assert_eq!(cause, TrapCause::Bytes { name: "header_bytes", limit: 64 * 1024 });
}

/// Header-map bytes whose counts and lengths reach past their end, past 2^32 or past the limits.
#[test]
fn header_maps_that_overflow_are_refused_and_change_nothing() {
    let map = |words: &[u32], rest: &[u8]| {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend_from_slice(rest);
        bytes
    };
    let cases = [
        map(&[u32::MAX], b""),
        map(&[0x2000_0000], b""),
        map(&[0x8000_0000, 1, 1], b"a\0b\0"),
        map(&[1, u32::MAX, 1], b"a\0b\0"),
        map(&[1, 1, u32::MAX], b"a\0b\0"),
        map(&[1, u32::MAX, u32::MAX], b"a\0b\0"),
        map(&[1, 0x7fff_ffff, 0x8000_0001], b"a\0b\0"),
        map(&[2, 1, 1, u32::MAX - 3, 4], b"a\0b\0c\0d\0"),
        map(&[1, 1, 2], b"a\0b\0"),
        map(&[1, 2, 1], b"a\0b\0"),
        map(&[1, 1, 1], b"a\0b\0more"),
        map(&[1, 1, 1], b"abbb"),
        map(&[1, 0, 1], b"\0b\0"),
        map(&[1025], &[0; 1025 * 8 + 1025 * 2]),
        vec![0, 0, 0],
    ];
    let mut guest = Guest::new();
    let calls: String = cases
        .iter()
        .map(|case| {
            let bytes = guest.bytes(case);
            format!("(call $report (call $proxy_set_header_map_pairs (i32.const 0) {bytes}))")
        })
        .collect();
    let (plugin, world) =
        load_with(guest.on("proxy_on_request_headers", &format!("{calls} (i32.const 0)")).wasm(), patient);
    let http = http();
    exchange(&plugin, &http);
    assert_eq!(world.reports(), vec![2; cases.len()]);
    assert_eq!(http.lock().unwrap().request, crate::world::Http::default().request);
}

/// A thousand buffers of one write, all the same 64 KiB.
#[test]
fn a_write_of_the_same_memory_a_thousand_times_is_cut() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (local $i i32)
          (loop $again
            (i32.store offset=4 (i32.add (i32.const 65536) (local.get $i)) (i32.const 60000))
            (local.set $i (i32.add (local.get $i) (i32.const 8)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 8192))))
          (call $fd_write (i32.const 1) (i32.const 65536) (i32.const 1024) (i32.const 0))))"#;
    let (plugin, world) = load_with(wat::parse_str(text).unwrap(), patient);
    let error = plugin.open("t", share(&http())).unwrap().on_headers(Direction::Request, true).unwrap_err();
    let StreamError::Trap(trap) = error else { panic!("{error}") };
    assert_eq!(trap.cause, TrapCause::Bytes { name: "log_bytes", limit: 64 * 1024 });
    assert!(world.log.lock().unwrap().is_empty());
}
