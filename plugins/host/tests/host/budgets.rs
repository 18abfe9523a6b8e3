//! Budgets that are counted by name, and the one of log lines.

use std::time::Duration;

use coditect_proxy_wasm::{
    Budget, Direction, EngineSettings, LoadError, LoadReason, Meter, PluginConfig, StartError, StreamError,
    TrapCause,
};

use crate::clockwork::{SECOND, engine, load, request};
use crate::guest::Guest;
use crate::world::{http, share};

/// Logs `lines` lines in each request.
fn logging(lines: u32) -> Vec<u8> {
    let mut guest = Guest::new();
    let text = guest.text("line");
    let body = format!(
        "(local $n i32)
         (loop (call $say {text})
           (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {lines}))))
         (i32.const 0)"
    );
    guest.on("proxy_on_request_headers", &body).wasm()
}

#[test]
fn lines_beyond_the_budget_are_dropped_counted_and_told() {
    let (plugin, clock) = load(logging(15), |config| config.limits.log_lines_per_second = 10);
    request(&plugin, "a").unwrap();
    assert_eq!(clock.lines(), ["a: line"; 10]);
    request(&plugin, "b").unwrap();
    assert_eq!(clock.lines(), ["b: line"; 10], "each tenant has its own");
    clock.advance(SECOND / 2);
    request(&plugin, "a").unwrap();
    assert_eq!(clock.lines(), ["a: line"; 5], "half a second's worth, and no report yet");
    clock.advance(SECOND);
    request(&plugin, "a").unwrap();
    let mut expected = vec!["a: line"; 10];
    expected.insert(0, "a: 15 log lines were dropped: the plugin may log 10 a second");
    assert_eq!(clock.lines(), expected);
    let stats = plugin.stats();
    assert_eq!(stats.log_lines_dropped, 5 + 5 + 10 + 5);
    assert_eq!(stats.budgets_crossed.get(Budget::LogLines), 3, "twice tenant a's, once tenant b's");
    drop(plugin);
    let mut last = clock.lines();
    last.sort();
    let unreported = |tenant| format!("{tenant}: 5 log lines were dropped: the plugin may log 10 a second");
    assert_eq!(last, [unreported("a"), unreported("b")], "what was not told is told at the end");
}

#[test]
fn instances_of_a_tenant_share_its_lines() {
    let (plugin, clock) = load(logging(100), |config| config.limits.log_lines_per_second = 100);
    let held = plugin.open("a", share(&http())).unwrap();
    request(&plugin, "a").unwrap();
    request(&plugin, "a").unwrap();
    assert_eq!((clock.lines().len(), plugin.stats().log_lines_dropped), (100, 100));
    drop(held);
}

#[test]
fn what_ends_a_guest_is_counted_by_name() {
    let recursion = "(func $deep (param i32) (call $deep (local.get 0)) (call $deep (local.get 0)))";
    let table = "(table $t 10 funcref)";
    let cases = [
        (Budget::Cpu, "(loop (br 0))"),
        (Budget::Memory, "(loop (drop (memory.grow (i32.const 16))) (br 0))"),
        (Budget::Table, "(drop (table.grow $t (ref.null func) (i32.const 90)))"),
        (Budget::Stack, "(call $deep (i32.const 0))"),
        (Budget::LogBytes, "(call $say (i32.const 0) (i32.const 65537))"),
        (
            Budget::HeaderBytes,
            "(drop (call $proxy_add_header_map_value (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0)
               (i32.const 65537)))",
        ),
        (
            Budget::LocalResponseBytes,
            "(drop (call $proxy_send_local_response (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 101) (i32.const 0) (i32.const 0) (i32.const -1)))",
        ),
        (
            Budget::PropertyBytes,
            "(drop (call $proxy_set_property (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 65537)))",
        ),
    ];
    for (budget, body) in cases {
        let mut guest = Guest::new().with(recursion).with(table);
        guest.text("x");
        let wasm = guest.on("proxy_on_request_headers", &format!("{body} (i32.const 0)")).wasm();
        let (plugin, _) = load(wasm, |config| {
            config.limits.callback_cpu = Duration::from_millis(20);
            config.limits.table_elements = 99;
            config.limits.local_response_bytes = 100;
        });
        request(&plugin, "a").expect_err(budget.name());
        for (other, count) in plugin.stats().budgets_crossed.iter() {
            assert_eq!(count, u64::from(other == budget), "{} after {}", other.name(), budget.name());
        }
    }
}

#[test]
fn what_a_guest_is_refused_is_counted_by_name() {
    let define = |kind: u32| {
        format!(
            "(drop (call $proxy_define_metric (i32.const {kind}) (i32.const 1024) (i32.const 1) (i32.const 64)))"
        )
    };
    let zero = "(i32.const 0) (i32.const 0)";
    let two_eleven = "(i32.const 0) (i32.const 11)";
    let name = "(i32.const 1024) (i32.const 1)";
    let enqueue = format!("(drop (call $proxy_enqueue_shared_queue (i32.const 1) {name}))");
    let cases = [
        (Budget::Metrics, define(0) + &define(1)),
        (
            Budget::SharedData,
            format!("(drop (call $proxy_set_shared_data {two_eleven} {two_eleven} (i32.const 0)))"),
        ),
        (
            Budget::Queue,
            format!("(drop (call $proxy_register_shared_queue {name} (i32.const 64))) {enqueue} {enqueue}"),
        ),
        (
            Budget::CallBodyBytes,
            format!(
                "(drop (call $proxy_http_call {name} {zero} {two_eleven} {zero} (i32.const 1000) (i32.const 64)))"
            ),
        ),
    ];
    for (budget, body) in cases {
        let mut guest = Guest::new();
        guest.text("x");
        let wasm = guest.on("proxy_on_request_headers", &format!("{body} (i32.const 0)")).wasm();
        let (engine, _) =
            engine(EngineSettings { shared_data_bytes: 80, max_instances: 2, ..EngineSettings::default() });
        let mut config = PluginConfig::new("test", wasm);
        config.upstreams = vec!["x".to_owned()];
        config.limits.metrics = 1;
        config.limits.queue_messages = 1;
        config.limits.call_body_bytes = 10;
        let plugin = engine.load(config).unwrap();
        request(&plugin, "a").expect("it lives on");
        assert_eq!(plugin.budgets_crossed(), [(budget.name(), 1)]);
    }
}

#[test]
fn a_held_body_is_counted() {
    let (plugin, _) = load(Guest::new().on("proxy_on_request_body", "(i32.const 1)").wasm(), |config| {
        config.limits.body_bytes = 10;
    });
    let mut stream = plugin.open("a", share(&http())).unwrap();
    let _ = stream.on_headers(Direction::Request, false).unwrap();
    let body = |bytes: &'static [u8]| bytes::Bytes::from_static(bytes);
    let _ = stream.on_body(Direction::Request, body(b"0123456789"), false).unwrap();
    let error = stream.on_body(Direction::Request, body(b"0"), true).unwrap_err();
    assert!(matches!(error, StreamError::BodyTooLarge { limit: 10, .. }), "{error}");
    assert_eq!(plugin.budgets_crossed(), [("body_bytes", 1)]);
}

/// An engine whose meter is fuel, and a plugin in it.
fn fuelled(wasm: Vec<u8>, callback: u64, start: u64) -> Result<coditect_proxy_wasm::Plugin, LoadError> {
    let settings = EngineSettings { meter: Meter::Fuel, max_instances: 4, ..EngineSettings::default() };
    let (engine, _) = engine(settings);
    let mut config = PluginConfig::new("test", wasm);
    config.limits.callback_fuel = callback;
    config.limits.start_fuel = start;
    // Were the clock looked at, this would be crossed.
    config.limits.callback_cpu = Duration::ZERO;
    config.limits.start_cpu = Duration::ZERO;
    engine.load(config)
}

/// Counts to `rounds` in each request.
fn counting(callback: &str, rounds: u32) -> Vec<u8> {
    let body = format!(
        "(local $n i32)
         (loop (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {rounds}))))
         (i32.const 1)"
    );
    Guest::new().on(callback, &body).wasm()
}

#[test]
fn fuel_ends_a_callback_at_the_same_instruction_each_time() {
    let ends = |fuel: u64| {
        let plugin = fuelled(counting("proxy_on_request_headers", 1000), fuel, 1_000_000).expect("it loads");
        match request(&plugin, "a") {
            Ok(()) => false,
            Err(StreamError::Trap(trap)) => {
                assert_eq!((trap.function, trap.cause), ("proxy_on_request_headers", TrapCause::Fuel(fuel)));
                assert_eq!(plugin.stats().budgets_crossed.get(Budget::Fuel), 1);
                true
            }
            Err(error) => panic!("{error}"),
        }
    };
    // The least fuel that is enough, found by halving: it is the same whenever it is looked for.
    let least = || {
        let (mut short, mut enough) = (0, 1_000_000);
        while enough - short > 1 {
            let middle = (short + enough) / 2;
            if ends(middle) { short = middle } else { enough = middle }
        }
        enough
    };
    let first = least();
    assert!((1000..100_000).contains(&first), "{first} units for a thousand rounds");
    assert_eq!(least(), first);
}

#[test]
fn fuel_ends_a_start_by_its_own_budget() {
    let loops = counting("proxy_on_configure", 10_000);
    fuelled(loops.clone(), 1, 1_000_000).map(drop).expect("a start does not burn a callback's fuel");
    let reason = fuelled(loops, 1_000_000, 5000).err().expect("it runs out").reason;
    let LoadReason::Canary(StartError::Trap(trap)) = *reason else { panic!("{reason}") };
    assert_eq!((trap.function, trap.cause), ("proxy_on_configure", TrapCause::Fuel(5000)));
}

#[test]
fn each_callback_gets_its_fuel_anew() {
    let plugin = fuelled(counting("proxy_on_request_headers", 1000), 20_000, 1_000_000).expect("it loads");
    (0..100).for_each(|_| request(&plugin, "a").expect("it lives on"));
}
