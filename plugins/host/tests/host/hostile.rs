//! Guests that attack the host, each with the exact outcome; and after each, its tenant's next request and another
//! tenant's are served as if nothing had been.

use std::time::Duration;

use coditect_proxy_wasm::{Direction, Plugin, StreamError, Trap, TrapCause};

use crate::guest::Guest;
use crate::world::{http, load, load_with, share};

/// Runs a guest whose request callback attacks when the request has `x-attack`.
fn attack(guest: Guest, body: &str) -> Trap {
    let mut guest = guest;
    let header = guest.text("x-attack");
    let guarded = format!(
        "(if (i32.eqz (call $proxy_get_header_map_value (i32.const 0) {header} (i32.const 64) (i32.const 68)))
           (then {body})) (i32.const 0)"
    );
    let wasm = guest.on("proxy_on_request_headers", &guarded).wasm();
    let (plugin, _) = load_with(wasm, |config| config.limits.callback_cpu = Duration::from_millis(20));
    let other = http();
    let mut bystander = plugin.open("bystander", share(&other)).unwrap();
    let trap = attacked(&plugin);
    let _ = bystander.on_headers(Direction::Request, true).expect("another tenant's open stream goes on");
    bystander.close().unwrap();
    served(&plugin, "attacker");
    served(&plugin, "newcomer");
    assert_eq!(plugin.stats().traps, 1);
    trap
}

fn attacked(plugin: &Plugin) -> Trap {
    let http = http();
    let mut same_instance = plugin.open("attacker", share(&http)).unwrap();
    let mut stream = plugin.open("attacker", share(&http)).unwrap();
    http.lock().unwrap().request.push((b"x-attack".to_vec(), b"1".to_vec()));
    let error = stream.on_headers(Direction::Request, true).unwrap_err();
    let StreamError::Trap(trap) = error else { panic!("{error}") };
    assert_eq!(trap.function, "proxy_on_request_headers");
    assert_eq!(
        (&*trap.plugin, &*trap.tenant, trap.request_id.as_deref()),
        ("test", "attacker", Some("req-1"))
    );
    for stream in [&mut stream, &mut same_instance] {
        let error = stream.on_headers(Direction::Response, true).unwrap_err();
        assert!(matches!(error, StreamError::InstanceLost { .. }), "{error}");
    }
    *trap
}

fn served(plugin: &Plugin, tenant: &str) {
    let http = http();
    let mut stream = plugin.open(tenant, share(&http)).expect("a new instance");
    let _ = stream.on_headers(Direction::Request, true).expect("served");
    stream.close().expect("closed");
}

#[test]
fn a_panic() {
    let trap = attack(Guest::new().with("(func $innermost unreachable)"), "(call $innermost)");
    assert!(matches!(&trap.cause, TrapCause::Wasm(text) if text.contains("unreachable")), "{}", trap.cause);
    assert!(trap.backtrace.contains("innermost"), "{}", trap.backtrace);
}

#[test]
fn an_endless_loop() {
    assert_eq!(attack(Guest::new(), "(loop (br 0))").cause, TrapCause::Cpu(Duration::from_millis(20)));
}

#[test]
fn a_deep_recursion() {
    let guest =
        Guest::new().with("(func $deep (param i32) (call $deep (local.get 0)) (call $deep (local.get 0)))");
    assert_eq!(attack(guest, "(call $deep (i32.const 0))").cause, TrapCause::Stack);
}

#[test]
fn a_memory_bomb() {
    let trap = attack(Guest::new(), "(loop (drop (memory.grow (i32.const 16))) (br 0))");
    let limit = 16 * 1024 * 1024;
    assert!(
        matches!(trap.cause, TrapCause::Memory { limit: l, asked } if l == limit && asked > limit),
        "{trap}"
    );
    let trap = attack(Guest::new(), "(drop (memory.grow (i32.const 65536)))");
    assert!(matches!(trap.cause, TrapCause::Memory { .. } | TrapCause::Wasm(_)), "{trap}");
}

#[test]
fn a_host_call_from_the_allocator() {
    let wasm = wat::parse_str(
        r#"(module
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32)
              (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1)))
              (drop (call $pairs (i32.const 0) (i32.const 64) (i32.const 68)))
              (i32.const 1024))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
              (call $pairs (i32.const 0) (i32.const 64) (i32.const 68))))"#,
    );
    let (plugin, world) = load(wasm.unwrap());
    let http = http();
    let error = plugin.open("t", share(&http)).unwrap().on_headers(Direction::Request, true).unwrap_err();
    let StreamError::Trap(trap) = error else { panic!("{error}") };
    let place = "inside the guest's allocator";
    assert_eq!(trap.cause, TrapCause::Restricted { call: "proxy_get_header_map_pairs", place });
    assert_eq!(world.texts().len(), 1, "the log is allowed there");
}

/// A guest with this allocator, asked for all pairs; the status it got.
fn with_allocator(allocator: &str) -> Result<u32, StreamError> {
    let text = format!(
        r#"(module
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) {allocator})
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
              (i32.store (i32.const 0) (call $pairs (i32.const 0) (i32.const 64) (i32.const 68)))
              (drop (call $log (i32.const 2) (i32.const 0) (i32.const 4)))
              (i32.const 0)))"#
    );
    let (plugin, world) = load(wat::parse_str(text).unwrap());
    let http = http();
    let _ = plugin.open("t", share(&http)).unwrap().on_headers(Direction::Request, true)?;
    Ok(world.reports()[0])
}

#[test]
fn allocators_that_fail_lie_trap_or_loop() {
    assert_eq!(with_allocator("(i32.const 0)").unwrap(), 6);
    assert_eq!(with_allocator("(i32.const 65535)").unwrap(), 6);
    assert_eq!(with_allocator("(i32.const -1)").unwrap(), 6);
    let trap = with_allocator("unreachable").unwrap_err().to_string();
    assert!(trap.contains("unreachable") && trap.contains("proxy_on_request_headers"), "{trap}");
    let trap = with_allocator("(loop (br 0)) (i32.const 1)").unwrap_err().to_string();
    assert!(trap.contains("CPU budget"), "{trap}");
}

/// Numbers that make bad pointers and lengths: the ends of a memory of 4 pages and of 32 bits, and small ones.
const NUMBERS: [i64; 12] =
    [0, 1, 4, 64, 262_143, 262_144, 262_145, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_ffff];

/// Every host call with arguments from `NUMBERS`, some thousand combinations: statuses, never a panic, and the guest
/// lives on. (What does end it, crossing a budget, is made impossible by large budgets.)
#[test]
fn no_arguments_of_a_host_call_can_hurt_the_host() {
    let calls = [
        ("proxy_log", 3),
        ("proxy_get_log_level", 1),
        ("proxy_get_current_time_nanoseconds", 1),
        ("proxy_set_effective_context", 1),
        ("proxy_get_status", 3),
        ("proxy_get_header_map_size", 2),
        ("proxy_get_header_map_pairs", 3),
        ("proxy_set_header_map_pairs", 3),
        ("proxy_get_header_map_value", 5),
        ("proxy_add_header_map_value", 5),
        ("proxy_replace_header_map_value", 5),
        ("proxy_remove_header_map_value", 3),
        ("proxy_get_buffer_bytes", 5),
        ("proxy_get_buffer_status", 3),
        ("proxy_set_buffer_bytes", 5),
        ("proxy_get_property", 4),
        ("proxy_set_property", 4),
        ("proxy_send_local_response", 8),
        ("proxy_get_shared_data", 5),
        ("proxy_set_shared_data", 5),
        ("proxy_call_foreign_function", 6),
        ("proxy_define_metric", 4),
        ("proxy_get_metric", 2),
    ];
    let seed = 0x5EED_0F50_3E4C_A115_u64;
    eprintln!("seed {seed:#x}");
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % NUMBERS.len() as u64).unwrap()
    };
    let mut body = String::new();
    let mut made = 0;
    for (name, arguments) in calls {
        for _ in 0..60 {
            let arguments: String = (0..arguments)
                .map(|_| format!("(i32.const {}) ", NUMBERS[next()].cast_signed_32()))
                .collect();
            body += &format!("(call $count (call ${name} {arguments}))\n");
            made += 1;
        }
    }
    // Statuses past 12 do not exist.
    let guest = Guest::new().with(
        "(global $calls (mut i32) (i32.const 0))
         (func $count (param i32)
           (if (i32.gt_u (local.get 0) (i32.const 12)) (then unreachable))
           (drop (call $proxy_set_effective_context (i32.const 2)))
           (global.set $calls (i32.add (global.get $calls) (i32.const 1))))",
    );
    let body = format!("{body} (call $report (global.get $calls)) (i32.const 0)");
    let wasm = guest.on("proxy_on_request_headers", &body).wasm();
    let (plugin, world) = load_with(wasm, |config| {
        let large = usize::MAX / 2;
        config.limits.callback_cpu = Duration::from_secs(60);
        config.limits.log_bytes = large;
        config.limits.header_bytes = large;
        config.limits.property_bytes = large;
        config.limits.local_response_bytes = large;
    });
    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    let _ = stream.on_headers(Direction::Request, true).expect("the guest lives");
    let last = world.log.lock().unwrap().last().expect("the report").message.clone();
    assert_eq!(last, u32::to_le_bytes(made));
}

trait Signed32 {
    fn cast_signed_32(self) -> i32;
}

impl Signed32 for i64 {
    /// The same 32 bits, as the text format wants a constant.
    fn cast_signed_32(self) -> i32 {
        u32::try_from(self).unwrap().cast_signed()
    }
}

#[test]
fn a_loop_in_each_callback_is_cut_off() {
    let quick = |config: &mut coditect_proxy_wasm::PluginConfig| {
        config.limits.callback_cpu = Duration::from_millis(2);
    };
    let cut = |error: StreamError, function: &str| {
        let StreamError::Trap(trap) = error else { panic!("{error}") };
        assert_eq!((trap.function, trap.cause), (function, TrapCause::Cpu(Duration::from_millis(2))));
    };
    let looping = |callback: &str, condition: &str| {
        let result = match callback {
            "proxy_on_log" | "proxy_on_delete" | "proxy_on_context_create" => "",
            _ => "(i32.const 1)",
        };
        load_with(
            Guest::new().on(callback, &format!("(if {condition} (then (loop (br 0)))) {result}")).wasm(),
            quick,
        )
        .0
    };
    let http = http();
    let plugin = looping("proxy_on_context_create", "(local.get $p1)");
    cut(plugin.open("t", share(&http)).err().unwrap(), "proxy_on_context_create");
    let plugin = looping("proxy_on_response_headers", "(i32.const 1)");
    cut(
        plugin.open("t", share(&http)).unwrap().on_headers(Direction::Response, true).unwrap_err(),
        "proxy_on_response_headers",
    );
    let of_a_stream = "(i32.gt_u (local.get $p0) (i32.const 1))";
    for callback in ["proxy_on_log", "proxy_on_done", "proxy_on_delete"] {
        let plugin = looping(callback, of_a_stream);
        cut(plugin.open("t", share(&http)).unwrap().close().unwrap_err(), callback);
    }
}
