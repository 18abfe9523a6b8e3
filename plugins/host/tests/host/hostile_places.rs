//! Host calls from where they may not be made: every one from inside the guest's allocator, in the middle of another
//! host call, and from start-up code.

use coditect_proxy_wasm::{Direction, LoadReason, PluginConfig, StartError, StreamError, TrapCause};

use crate::signatures::{From, HOST_CALLS, HostCall};
use crate::world::{engine, http, share};

/// The calls a module of ABI 0.2.1 and one of 0.1.0 have between them, each with a version that has it.
fn calls() -> impl Iterator<Item = (&'static HostCall, String)> {
    HOST_CALLS.iter().map(|call| (call, call.versions.last().unwrap().replace('.', "_")))
}

fn module(call: &HostCall, version: &str, rest: &str) -> Vec<u8> {
    let pairs = HOST_CALLS.iter().find(|call| call.name == "proxy_get_header_map_pairs").unwrap();
    let pairs = if call.name == pairs.name { String::new() } else { pairs.import() };
    let text = format!(
        "(module {} {pairs} (memory (export \"memory\") 1)
           (func (export \"proxy_abi_version_{version}\")) {rest})",
        call.import()
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn from_the_allocator_only_what_an_allocator_needs() {
    for (call, version) in calls() {
        let ask = "(call $proxy_get_header_map_pairs (i32.const 0) (i32.const 64) (i32.const 68))";
        let end = if version == "0_1_0" { "" } else { "i32" };
        let rest = format!(
            "(func (export \"malloc\") (param i32) (result i32) (drop {}) (i32.const 1024))
             (func (export \"proxy_on_request_headers\") (param i32 i32 {end}) (result i32) {ask})",
            call.with_zeros()
        );
        let (engine, _) = engine();
        let plugin = engine.load(PluginConfig::new("test", module(call, &version, &rest))).unwrap();
        let mut stream = plugin.open("tenant", share(&http())).unwrap();
        let result = stream.on_headers(Direction::Request, true);
        if call.from == From::Anywhere {
            assert!(result.is_ok(), "{} is allowed there", call.name);
            continue;
        }
        let Err(StreamError::Trap(trap)) = result else { panic!("{} was answered", call.name) };
        let place = "inside the guest's allocator";
        assert_eq!(trap.cause, TrapCause::Restricted { call: call.name, place });
    }
}

#[test]
fn from_start_up_code_only_what_start_up_code_needs() {
    for (call, version) in calls() {
        for start in ["(func (export \"_initialize\")", "(start $start) (func $start"] {
            let rest = format!(
                "(func (export \"malloc\") (param i32) (result i32) (i32.const 1024)) {start} (drop {}))",
                call.with_zeros()
            );
            let (engine, _) = engine();
            let loaded = engine.load(PluginConfig::new("test", module(call, &version, &rest)));
            if call.from != From::Callbacks {
                assert!(loaded.is_ok(), "{} is allowed there", call.name);
                continue;
            }
            let reason = *loaded.err().unwrap_or_else(|| panic!("{} was answered", call.name)).reason;
            let LoadReason::Canary(StartError::Trap(trap)) = reason else { panic!("{reason}") };
            assert_eq!(trap.cause, TrapCause::Restricted { call: call.name, place: "during start-up" });
        }
    }
}

/// A host call of the start function finds no memory yet; what it points at is refused and not read.
#[test]
fn a_start_function_has_no_memory_to_give() {
    let call = HOST_CALLS.iter().find(|call| call.name == "proxy_log").unwrap();
    let rest = "(func (export \"malloc\") (param i32) (result i32) (i32.const 1024))
        (func $start
          (if (i32.ne (call $proxy_log (i32.const 2) (i32.const 0) (i32.const 4)) (i32.const 6))
            (then unreachable)))
        (start $start)";
    let (engine, world) = engine();
    engine.load(PluginConfig::new("test", module(call, "0_2_1", rest))).unwrap();
    assert!(world.log.lock().unwrap().is_empty());
}
