//! Attacks before a guest serves anything: in its start function, its start-up code, its root context. The plugin is
//! refused with the function and the cause, and nothing of it stays.

use std::time::Duration;

use coditect_proxy_wasm::{LoadReason, PluginConfig, StartError, TrapCause};

use crate::guest::Guest;
use crate::world::engine;

const BUDGET: Duration = Duration::from_millis(5);
const MEMORY: usize = 1024 * 1024;

/// Code and whether a cause is its end.
type Attack = (&'static str, fn(&TrapCause) -> bool);

const ATTACKS: [Attack; 4] = [
    ("(loop $again (br $again))", |cause| *cause == TrapCause::Cpu(BUDGET)),
    ("(loop $again (drop (memory.grow (i32.const 1))) (br $again))", |cause| {
        matches!(cause, TrapCause::Memory { limit: MEMORY, .. })
    }),
    ("(call $deep)", |cause| *cause == TrapCause::Stack),
    ("unreachable", |cause| matches!(cause, TrapCause::Wasm(text) if text.contains("unreachable"))),
];

/// The guest function that is attacked from, and the guest.
fn places(code: &str) -> Vec<(&'static str, Guest)> {
    let new = || Guest::new().with("(func $deep (call $deep) (call $deep))");
    let export = |name: &str, rest: &str| new().with(&format!("(func (export \"{name}\") {rest})"));
    let root = |callback: &str, result: &str| {
        new().on(callback, &format!("(if (i32.eq (local.get $p0) (i32.const 1)) (then {code})) {result}"))
    };
    vec![
        ("(start)", new().with(&format!("(func $start {code}) (start $start)"))),
        ("_initialize", export("_initialize", code)),
        (
            "main",
            export("main", &format!("(param i32 i32) (result i32) {code} (i32.const 0)"))
                .with("(func (export \"_initialize\"))"),
        ),
        (
            "__main_void",
            export("__main_void", &format!("(result i32) {code} (i32.const 0)"))
                .with("(func (export \"_initialize\"))"),
        ),
        ("_start", export("_start", code)),
        ("proxy_on_context_create", root("proxy_on_context_create", "")),
        ("proxy_on_vm_start", root("proxy_on_vm_start", "(i32.const 1)")),
        ("proxy_on_configure", root("proxy_on_configure", "(i32.const 1)")),
        ("proxy_on_done", root("proxy_on_done", "(i32.const 1)")),
        ("proxy_on_delete", root("proxy_on_delete", "")),
    ]
}

#[test]
fn each_attack_in_each_function_of_a_start_refuses_the_plugin() {
    for (code, is_end) in ATTACKS {
        for (function, guest) in places(code) {
            let (engine, _) = engine();
            let mut config = PluginConfig::new("test", guest.wasm());
            config.limits.start_cpu = BUDGET;
            config.limits.callback_cpu = BUDGET;
            config.limits.memory_bytes = MEMORY;
            let error = engine.load(config).err().unwrap_or_else(|| panic!("{code} in {function}: loaded"));
            let LoadReason::Canary(StartError::Trap(trap)) = *error.reason else { panic!("{error}") };
            assert_eq!((trap.function, &*trap.tenant), (function, "(canary)"), "{code}");
            assert!(is_end(&trap.cause), "{code} in {function}: {}", trap.cause);
            assert_eq!((engine.live_instances(), engine.live_modules()), (0, 0), "{code} in {function}");
        }
    }
}

#[test]
fn an_allocator_that_loops_while_the_configuration_is_handed_over() {
    let body = "(global.set $allocator (i32.const 1))
        (drop (call $proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 64) (i32.const 68)))
        (i32.const 1)";
    let (engine, _) = engine();
    let mut config = PluginConfig::new("test", Guest::new().on("proxy_on_configure", body).wasm());
    config.configuration = b"configuration".to_vec();
    config.limits.start_cpu = BUDGET;
    let error = engine.load(config).err().expect("refused");
    let LoadReason::Canary(StartError::Trap(trap)) = *error.reason else { panic!("{error}") };
    assert_eq!((trap.function, trap.cause), ("proxy_on_configure", TrapCause::Cpu(BUDGET)));
}
