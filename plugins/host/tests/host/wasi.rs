//! The WASI functions.

use coditect_proxy_wasm::{Direction, LogLevel, StreamError, TrapCause};

use crate::world::{MONOTONIC, exchange, http, load, share};

/// A guest with these WASI imports and this body in the request-headers callback. It has no other imports, since
/// imports come first.
fn guest(module: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "{module}" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "{module}" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
            (import "{module}" "random_get" (func $random_get (param i32 i32) (result i32)))
            (import "{module}" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
            (import "{module}" "environ_get" (func $environ_get (param i32 i32) (result i32)))
            (import "{module}" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
            (import "{module}" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
            (import "{module}" "path_open"
              (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "{module}" "proc_exit" (func $proc_exit (param i32)))
            (import "env" "proxy_log" (func $proxy_log (param i32 i32 i32) (result i32)))
            (import "env" "emscripten_notify_memory_growth" (func (param i32)))
            (memory (export "memory") 2)
            (func (export "malloc") (param i32) (result i32) (i32.const 65536))
            (func (export "proxy_abi_version_0_2_1"))
            (func $report (param i32)
              (i32.store (i32.const 0) (local.get 0))
              (drop (call $proxy_log (i32.const 2) (i32.const 0) (i32.const 4))))
            (data (i32.const 1024) "hello \nworld\n")
            (data (i32.const 2048) "\00\04\00\00\06\00\00\00\07\04\00\00\06\00\00\00")
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body} (i32.const 0)))"#
    );
    wat::parse_str(text).unwrap()
}

fn reports(module: &str, body: &str) -> Vec<u32> {
    let (plugin, world) = load(guest(module, body));
    exchange(&plugin, &http());
    world.reports()
}

#[test]
fn stdout_and_stderr_go_to_the_log() {
    let write = |fd: u32| {
        format!("(drop (call $fd_write (i32.const {fd}) (i32.const 2048) (i32.const 2) (i32.const 64)))")
    };
    let (plugin, world) = load(guest("wasi_unstable", &(write(1) + &write(2) + &write(3))));
    exchange(&plugin, &http());
    let lines = world.log.lock().unwrap();
    let lines: Vec<_> = lines.iter().map(|line| (line.level, line.message.as_slice())).collect();
    assert_eq!(lines, [(LogLevel::Info, &b"hello world"[..]), (LogLevel::Error, &b"hello world"[..])]);
}

#[test]
fn writes_from_bad_places_fault() {
    let write = |iovecs: i32, count: i32, written: i32| {
        format!(
            "(call $report (call $fd_write (i32.const 1) (i32.const {iovecs}) (i32.const {count}) (i32.const {written})))"
        )
    };
    let body = write(131_070, 1, 64) + &write(-4, 1, 64) + &write(2048, 2000, 64) + &write(2048, 1, -1);
    assert_eq!(reports("wasi_snapshot_preview1", &body), [21, 21, 28, 21]);
}

#[test]
fn clocks_randomness_and_an_empty_environment() {
    let report = |call: &str| format!("(call $report (call ${call}))");
    let load = |at: u32| format!("(call $report (i32.load (i32.const {at})))");
    let body = [
        report("clock_time_get (i32.const 1) (i64.const 0) (i32.const 64)") + &load(64),
        report("clock_time_get (i32.const 2) (i64.const 0) (i32.const 64)"),
        report("random_get (i32.const 64) (i32.const 4)") + &load(64),
        report("random_get (i32.const 0) (i32.const 65537)"),
        report("random_get (i32.const 131071) (i32.const 2)"),
        report("environ_sizes_get (i32.const 64) (i32.const 68)") + &load(64) + &load(68),
        report("environ_get (i32.const 64) (i32.const 68)"),
        report("args_sizes_get (i32.const 64) (i32.const 68)"),
        report("fd_prestat_get (i32.const 3) (i32.const 64)"),
        report(
            "path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 5) (i32.const 0) (i64.const 0)
             (i64.const 0) (i32.const 0) (i32.const 64)",
        ),
    ];
    let monotonic = u32::try_from(MONOTONIC).unwrap();
    let expected = [0, monotonic, 58, 0, 0x0403_0201, 28, 21, 0, 0, 0, 0, 0, 8, 44];
    assert_eq!(reports("wasi_snapshot_preview1", &body.concat()), expected);
}

#[test]
fn proc_exit_is_the_guest_s_end() {
    let (plugin, _) = load(guest("wasi_snapshot_preview1", "(call $proc_exit (i32.const 3))"));
    let http = http();
    let error = plugin.open("t", share(&http)).unwrap().on_headers(Direction::Request, true).unwrap_err();
    let StreamError::Trap(trap) = error else { panic!("{error}") };
    assert_eq!(trap.cause, TrapCause::Exit(3));
}
