//! What is refused when it is loaded, and why.

use std::time::Duration;

use coditect_proxy_wasm::{AbiVersion, CheckDepth, LoadReason, PluginConfig, StartError, TrapCause};

use crate::guest::Guest;
use crate::world::engine;

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const MALLOC: &str = r#"(func (export "malloc") (param i32) (result i32) (i32.const 64))"#;
const MARKER: &str = r#"(func (export "proxy_abi_version_0_2_1"))"#;

/// Loads a module of these fields.
fn load(fields: &[&str]) -> Result<AbiVersion, LoadReason> {
    load_with(fields, |_| {})
}

fn load_with(fields: &[&str], configure: impl FnOnce(&mut PluginConfig)) -> Result<AbiVersion, LoadReason> {
    let (engine, _) = engine();
    let wasm = wat::parse_str(format!("(module {})", fields.concat())).unwrap();
    let mut config = PluginConfig::new("test", wasm);
    configure(&mut config);
    let loaded = engine.load(config);
    if loaded.is_err() {
        assert_eq!(
            (engine.live_instances(), engine.live_modules()),
            (0, 0),
            "a refused plugin leaves nothing"
        );
    }
    loaded.map(|plugin| plugin.abi()).map_err(|error| *error.reason)
}

fn refusal(fields: &[&str]) -> String {
    load(fields).expect_err("it is refused").to_string()
}

#[test]
fn the_marker_decides_the_version() {
    for version in AbiVersion::ALL {
        let marker = format!(r#"(func (export "{}"))"#, version.marker());
        assert_eq!(load(&[MEMORY, MALLOC, &marker]).unwrap(), version);
    }
    assert!(matches!(load(&[MEMORY, MALLOC]), Err(LoadReason::NoAbiMarker)));
    let unknown = r#"(func (export "proxy_abi_version_0_3_0"))"#;
    assert!(matches!(load(&[MEMORY, MALLOC, unknown]), Err(LoadReason::NoAbiMarker)));
    let global = r#"(global (export "proxy_abi_version_0_2_1") i32 (i32.const 0))"#;
    assert!(matches!(load(&[MEMORY, MALLOC, global]), Err(LoadReason::NoAbiMarker)));
}

#[test]
fn an_unknown_import_is_named() {
    let import = |what: &str| format!(r#"(import {what})"#);
    let cases = [
        (import(r#""env" "proxy_nonsense" (func)"#), "unknown import `env.proxy_nonsense` (function)"),
        (import(r#""wasi_snapshot_preview2" "fd_write" (func)"#), "`wasi_snapshot_preview2.fd_write`"),
        (import(r#""env" "table" (table 1 funcref)"#), "unknown import `env.table` (table)"),
        (import(r#""env" "proxy_log" (global i32)"#), "unknown import `env.proxy_log` (global)"),
        // A function of another version of the ABI.
        (
            import(r#""env" "proxy_get_configuration" (func (param i32 i32) (result i32))"#),
            "ABI 0.2.1 has no such",
        ),
    ];
    for (import, expected) in cases {
        let refusal = refusal(&[&import, MEMORY, MALLOC, MARKER]);
        assert!(refusal.contains(expected), "{refusal}");
    }
    let wrong = import(r#""env" "proxy_log" (func (param i32))"#);
    assert_eq!(
        refusal(&[&wrong, MEMORY, MALLOC, MARKER]),
        "import `env.proxy_log` has type (i32); the host function's is (i32, i32, i32) -> i32"
    );
}

#[test]
fn a_wrong_export_is_named() {
    let cases = [
        (r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32) (i32.const 0))"#, MALLOC),
        (r#"(func (export "proxy_on_tick"))"#, MALLOC),
        (r#"(func (export "_start") (param i32))"#, MALLOC),
        (r#"(func (export "_initialize")) (func (export "main"))"#, MALLOC),
        ("", r#"(func (export "malloc") (result i32) (i32.const 0))"#),
        (r#"(global (export "proxy_on_done") i32 (i32.const 0))"#, MALLOC),
    ];
    for (export, malloc) in cases {
        let reason = load(&[MEMORY, malloc, MARKER, export]).expect_err(export);
        assert!(matches!(reason, LoadReason::ExportType { .. }), "{export}: {reason}");
    }
    // Not looked at: `main` without `_initialize`, the allocator that `malloc` is preferred to.
    let unused = r#"(func (export "main")) (func (export "proxy_on_memory_allocate"))"#;
    load(&[MEMORY, MALLOC, MARKER, unused]).unwrap();
}

#[test]
fn memory_and_an_allocator_are_needed() {
    assert!(matches!(load(&[MALLOC, MARKER]), Err(LoadReason::NoMemory)));
    assert!(matches!(load(&["(memory 1)", MALLOC, MARKER]), Err(LoadReason::NoMemory)));
    assert!(matches!(load(&[MEMORY, MARKER]), Err(LoadReason::NoAllocator)));
    assert!(
        matches!(load(&["(memory 1)", MEMORY, MALLOC, MARKER]), Err(LoadReason::Compile(_))),
        "two memories"
    );
    let wide = r#"(memory (export "memory") i64 1)"#;
    assert!(matches!(load(&[wide, MALLOC, MARKER]), Err(LoadReason::Compile(_))), "a 64-bit memory");
    let alternative = r#"(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 64))"#;
    load(&[MEMORY, alternative, MARKER]).unwrap();
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    let (engine, _) = engine();
    for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0\xff", b"(module)"] {
        let error = engine.load(PluginConfig::new("test", bytes)).err().expect("refused");
        assert!(matches!(*error.reason, LoadReason::Compile(_)), "{error}");
        assert!(error.to_string().starts_with("plugin `test`: "), "{error}");
    }
}

#[test]
fn limits_are_those_the_engine_can_give() {
    let module = [MEMORY, MALLOC, MARKER];
    let reason = load_with(&module, |config| config.limits.memory_bytes = usize::MAX).unwrap_err();
    assert!(reason.to_string().starts_with("`memory_bytes` is"), "{reason}");
    let reason = load_with(&module, |config| config.limits.instances_per_tenant = 0).unwrap_err();
    assert_eq!(reason.to_string(), "`instances_per_tenant` is 0; the engine allows at least 1");
    let reason = load_with(&module, |config| config.limits.table_elements = 100_001).unwrap_err();
    assert_eq!(reason.to_string(), "`table_elements` is 100001; the engine allows at most 100000");
    // 17 pages do not fit a mebibyte.
    let large = r#"(memory (export "memory") 17)"#;
    let reason =
        load_with(&[large, MALLOC, MARKER], |config| config.limits.memory_bytes = 1 << 20).unwrap_err();
    assert!(reason.to_string().contains("memory limit of 1048576 bytes"), "{reason}");
}

#[test]
fn a_canary_that_refuses_traps_or_loops_refuses_the_plugin() {
    let canary = |guest: Guest| {
        let (engine, _) = engine();
        let mut config = PluginConfig::new("test", guest.wasm());
        config.limits.start_cpu = Duration::from_millis(5);
        let reason = *engine.load(config).err().expect("refused").reason;
        let LoadReason::Canary(error) = reason else { panic!("{reason}") };
        error
    };
    let refused = canary(Guest::new().on("proxy_on_vm_start", "(i32.const 0)"));
    assert!(matches!(refused, StartError::Refused { function: "proxy_on_vm_start" }), "{refused}");
    let refused = canary(Guest::new().on("proxy_on_configure", "(i32.const 0)"));
    assert!(matches!(refused, StartError::Refused { function: "proxy_on_configure" }), "{refused}");

    let start = |body: &str| Guest::new().with(&format!("(func $start {body}) (start $start)"));
    let cases = [
        (start("unreachable"), "(start)", "unreachable"),
        (start("(loop (br 0))"), "(start)", "CPU budget of 5ms"),
        (Guest::new().with(r#"(func (export "_start") unreachable)"#), "_start", "unreachable"),
        (Guest::new().with(r#"(func (export "_initialize") (loop (br 0)))"#), "_initialize", "CPU budget"),
        (Guest::new().on("proxy_on_configure", "unreachable"), "proxy_on_configure", "unreachable"),
        (
            Guest::new().on("proxy_on_vm_start", "(loop (br 0)) (i32.const 1)"),
            "proxy_on_vm_start",
            "CPU budget",
        ),
    ];
    for (guest, function, cause) in cases {
        let StartError::Trap(trap) = canary(guest) else { panic!("{function}: no trap") };
        assert_eq!(trap.function, function);
        assert!(trap.cause.to_string().contains(cause), "{function}: {}", trap.cause);
    }
}

#[test]
fn start_up_code_may_not_use_the_abi() {
    let body = r#"(func (export "_initialize") (drop (call $proxy_done)))"#;
    let (engine, _) = engine();
    let error =
        engine.load(PluginConfig::new("test", Guest::new().with(body).wasm())).err().expect("refused");
    let LoadReason::Canary(StartError::Trap(trap)) = *error.reason else { panic!("{error}") };
    assert_eq!(trap.cause, TrapCause::Restricted { call: "proxy_done", place: "during start-up" });
}

#[test]
fn a_module_is_compiled_once_and_goes_with_its_last_plugin() {
    let (engine, _) = engine();
    let wasm = Guest::new().wasm();
    let one = engine.load(PluginConfig::new("one", wasm.clone())).unwrap();
    let two = engine.load(PluginConfig::new("two", wasm)).unwrap();
    assert_eq!(engine.live_modules(), 1);
    drop(one);
    assert_eq!(engine.live_modules(), 1);
    drop(two);
    assert_eq!(engine.live_modules(), 0);
}

#[test]
fn a_check_keeps_nothing_and_says_what_the_module_may_touch() {
    const LOG: &str = r#"(import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))"#;
    const TICK: &str = r#"(import "env" "proxy_done" (func (result i32)))"#;
    const REFUSES: &str =
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#;
    let (engine, _) = engine();
    let wasm = wat::parse_str(format!("(module {LOG}{LOG}{TICK}{MEMORY}{MALLOC}{MARKER}{REFUSES})")).unwrap();
    let check = |depth| engine.check(PluginConfig::new("test", wasm.clone()), depth);
    let facts = check(CheckDepth::Started).expect("its configuration is not looked at");
    assert_eq!(facts.abi, AbiVersion::V0_2_1);
    assert_eq!(
        (facts.imports, facts.callbacks),
        (
            vec!["env.proxy_done".to_owned(), "env.proxy_log".to_owned()],
            vec!["proxy_on_configure".to_owned()],
        )
    );
    let refused = check(CheckDepth::Configured).expect_err("it refuses its configuration");
    assert!(matches!(
        *refused.reason,
        LoadReason::Canary(StartError::Refused { function: "proxy_on_configure" })
    ));
    assert_eq!((engine.live_instances(), engine.live_modules()), (0, 0));
}
