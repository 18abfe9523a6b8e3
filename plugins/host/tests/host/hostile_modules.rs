//! Modules of hostile shapes: each is refused with its reason, or runs within its limits.

use std::time::Duration;

use coditect_proxy_wasm::{CheckDepth, Direction, LoadReason, PluginConfig, StartError, TrapCause};

use crate::world::{engine, http, share};

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const MALLOC: &str = r#"(func (export "malloc") (param i32) (result i32) (i32.const 64))"#;
const MARKER: &str = r#"(func (export "proxy_abi_version_0_2_1"))"#;

/// Loads it, and serves a request if it loads; the reason if not. Nothing stays in either case.
fn load(fields: &str) -> Result<(), LoadReason> {
    let wasm = wat::parse_str(format!("(module {fields} {MARKER})")).expect(fields);
    let (engine, _) = engine();
    let config = PluginConfig::new("test", wasm);
    let depth = CheckDepth::Configured;
    let checked = engine.check(config.clone(), depth).map(drop).map_err(|error| *error.reason);
    assert_eq!((engine.live_instances(), engine.live_modules()), (0, 0), "a check keeps nothing");
    match engine.load(config) {
        Ok(plugin) => {
            let mut stream = plugin.open("tenant", share(&http())).expect("an instance");
            let _ = stream.on_headers(Direction::Request, true).expect("served");
            stream.close().expect("ended");
        }
        Err(_) => assert!(checked.is_err(), "load and check agree"),
    }
    assert_eq!((engine.live_instances(), engine.live_modules()), (0, 0));
    checked
}

fn compiles_not(fields: &str) -> String {
    match load(fields) {
        Err(LoadReason::Compile(reason)) => reason,
        other => panic!("{fields}: {other:?}"),
    }
}

#[test]
fn memories_that_are_none_many_wide_shared_or_imported() {
    assert!(matches!(load(MALLOC), Err(LoadReason::NoMemory)));
    compiles_not(&format!("(memory 1) {MEMORY} {MALLOC}"));
    compiles_not(&format!(r#"(memory (export "memory") i64 1) {MALLOC}"#));
    compiles_not(&format!(r#"(memory (export "memory") 1 2 shared) {MALLOC}"#));
    let imported = format!(r#"(import "env" "memory" (memory 1)) (export "memory" (memory 0)) {MALLOC}"#);
    let reason = load(&imported).unwrap_err().to_string();
    assert_eq!(reason, "unknown import `env.memory` (memory); ABI 0.2.1 has no such host function");
    let global = format!(r#"{MEMORY} (global (export "malloc") i32 (i32.const 0))"#);
    assert!(matches!(load(&global), Err(LoadReason::ExportType { .. })));
}

#[test]
fn memories_larger_than_allowed() {
    // Past the engine's pool (128 MiB) it is the compiler that says so, past the plugin's own 16 MiB the canary.
    compiles_not(&format!(r#"(memory (export "memory") 65536) {MALLOC}"#));
    let reason = load(&format!(r#"(memory (export "memory") 257) {MALLOC}"#)).unwrap_err();
    let LoadReason::Canary(StartError::Trap(trap)) = reason else { panic!("{reason}") };
    assert_eq!(trap.cause, TrapCause::Memory { limit: 256 << 16, asked: 257 << 16 });
    load(&format!(r#"(memory (export "memory") 256) {MALLOC}"#)).unwrap();
}

#[test]
fn callbacks_of_wrong_types_whatever_the_callback() {
    let callbacks = [
        "proxy_on_context_create",
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_on_tick",
        "proxy_on_request_headers",
        "proxy_on_request_body",
        "proxy_on_request_trailers",
        "proxy_on_response_headers",
        "proxy_on_response_body",
        "proxy_on_response_trailers",
        "proxy_on_http_call_response",
        "proxy_on_grpc_receive_initial_metadata",
        "proxy_on_grpc_receive",
        "proxy_on_grpc_receive_trailing_metadata",
        "proxy_on_grpc_close",
        "proxy_on_queue_ready",
        "proxy_on_done",
        "proxy_on_log",
        "proxy_on_delete",
        "malloc",
        "_start",
    ];
    for name in callbacks {
        let malloc = if name == "malloc" { "" } else { MALLOC };
        for ty in [
            "(param i64)",
            "(param f32) (result i32) (i32.const 0)",
            "(result i64) (i64.const 0)",
            "(param i32 i32 i32 i32 i32 i32 i32)",
            "(result i32 i32) (i32.const 0) (i32.const 0)",
        ] {
            let reason = load(&format!(r#"{MEMORY} {malloc} (func (export "{name}") {ty})"#)).unwrap_err();
            assert!(
                matches!(&reason, LoadReason::ExportType { name: refused, .. } if refused == name),
                "{name} {ty}: {reason}"
            );
        }
        let memory = format!(r#"(memory (export "{name}") 1) {malloc}"#);
        assert!(matches!(load(&memory).unwrap_err(), LoadReason::ExportType { .. }), "{name} is a memory");
    }
}

#[test]
fn tables_larger_or_more_than_allowed() {
    compiles_not(&format!("{MEMORY} {MALLOC} (table 100001 funcref)"));
    load(&format!("{MEMORY} {MALLOC} (table 100000 funcref)")).unwrap();
    compiles_not(&format!("{MEMORY} {MALLOC} (table 1 funcref) (table 1 funcref) (table 1 funcref)"));
    let grow = r#"(table $t 1 funcref)
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
          (drop (table.grow $t (ref.null func) (i32.const 1000000))) (i32.const 1))"#;
    let reason = load(&format!("{MEMORY} {MALLOC} {grow}")).unwrap_err();
    let LoadReason::Canary(StartError::Trap(trap)) = reason else { panic!("{reason}") };
    assert_eq!(trap.cause, TrapCause::Table(100_000));
    // An element segment past its table's end.
    let reason = load(&format!("{MEMORY} {MALLOC} (table 1 funcref) (func $f) (elem (i32.const 1) $f)"));
    let reason = reason.unwrap_err();
    assert!(matches!(reason, LoadReason::Canary(StartError::Trap(_))), "{reason}");
}

#[test]
fn data_segments_that_are_huge_or_out_of_bounds() {
    let large = "x".repeat(8 * 1024 * 1024);
    load(&format!(r#"(memory (export "memory") 256) {MALLOC} (data (i32.const 65536) "{large}")"#)).unwrap();
    for (at, bytes) in [("65535", "ab"), ("65536", "a"), ("-1", "a"), ("0x7fffffff", "a")] {
        let reason = load(&format!(r#"{MEMORY} {MALLOC} (data (i32.const {at}) "{bytes}")"#)).unwrap_err();
        let LoadReason::Canary(StartError::Trap(trap)) = reason else { panic!("{at}: {reason}") };
        assert_eq!(trap.function, "(start)");
        assert!(matches!(&trap.cause, TrapCause::Wasm(text) if text.contains("out of bounds")), "{trap}");
    }
    // Two bytes at the far ends of a memory.
    load(&format!(
        r#"(memory (export "memory") 256) {MALLOC} (data (i32.const 0) "a") (data (i32.const 16777215) "b")"#
    ))
    .unwrap();
}

#[test]
fn thousands_of_functions_exports_imports_and_globals() {
    let many = |count: usize, make: &dyn Fn(usize) -> String| (0..count).map(make).collect::<String>();
    load(&format!("{MEMORY} {MALLOC} {}", many(10_000, &|_| "(func)".to_owned()))).unwrap();
    load(&format!("{MEMORY} {MALLOC} {}", many(5000, &|index| format!("(func (export \"{index}\"))"))))
        .unwrap();
    let imports =
        many(2000, &|_| r#"(import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))"#.to_owned());
    load(&format!("{imports} {MEMORY} {MALLOC}")).unwrap();
    let last = r#"(import "env" "proxy_nonsense" (func))"#;
    assert!(matches!(
        load(&format!("{imports} {last} {MEMORY} {MALLOC}")),
        Err(LoadReason::UnknownImport { .. })
    ));
    // An instance has room for a mebibyte of its own besides its memory.
    let globals = many(100_000, &|_| "(global (mut i64) (i64.const 0))".to_owned());
    compiles_not(&format!("{MEMORY} {MALLOC} {globals}"));
}

#[test]
fn functions_that_are_deep_long_or_wide() {
    let depth = 5_000;
    let nested = format!("(func {} {})", "(block ".repeat(depth), ")".repeat(depth));
    load(&format!("{MEMORY} {MALLOC} {nested}")).unwrap();
    let long = "(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(50_000);
    load(&format!("{MEMORY} {MALLOC} (func {long})")).unwrap();
    compiles_not(&format!("{MEMORY} {MALLOC} (func (local {}))", "i64 ".repeat(60_000)));
    let locals = format!("(func $deep (local {}) (call $deep))", "i64 ".repeat(10_000));
    let start =
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $deep) (i32.const 1))"#;
    let reason = load(&format!("{MEMORY} {MALLOC} {locals} {start}")).unwrap_err();
    let LoadReason::Canary(StartError::Trap(trap)) = reason else { panic!("{reason}") };
    assert_eq!(trap.cause, TrapCause::Stack);
}

#[test]
fn a_start_function_that_is_imported_or_calls_out() {
    let exits = format!(
        r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) {MEMORY} {MALLOC}
           (func $start (call $exit (i32.const 3))) (start $start)"#
    );
    let reason = load(&exits).unwrap_err();
    let LoadReason::Canary(StartError::Trap(trap)) = reason else { panic!("{reason}") };
    assert_eq!(trap.cause, TrapCause::Exit(3));
}

/// A module of the largest size that is allowed, and one byte more.
#[test]
fn a_module_is_as_large_as_allowed() {
    let settings = coditect_proxy_wasm::EngineSettings {
        max_instances: 2,
        max_module_bytes: 1000,
        epoch_interval: Duration::from_millis(1),
        ..Default::default()
    };
    let (engine, _) = crate::world::engine_with(settings);
    let module = |bytes: usize| {
        let text = format!(r#"(module {MEMORY} {MALLOC} {MARKER} (@custom "pad" "{}"))"#, "x".repeat(bytes));
        wat::parse_str(text).unwrap()
    };
    let spare = 1000 - module(200).len();
    engine.load(PluginConfig::new("test", module(200 + spare))).unwrap();
    let error = engine.load(PluginConfig::new("test", module(201 + spare))).err().expect("refused");
    assert!(matches!(*error.reason, LoadReason::TooLarge { actual: 1001, limit: 1000 }), "{error}");
}
