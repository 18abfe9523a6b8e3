//! The life of an instance and of its streams.

use coditect_proxy_wasm::{Action, Direction, PluginConfig, StartError, StreamError};

use crate::guest::{Guest, OUT};
use crate::world::{engine, http, load, share};

/// Reports a mark for the callback, then each of its arguments.
fn tracing_guest() -> Guest {
    let report = |mark: u32, arguments: usize| {
        let arguments: String =
            (0..arguments).map(|index| format!("(call $report (local.get $p{index}))")).collect();
        format!("(call $report (i32.const {mark})) {arguments}")
    };
    Guest::new()
        .with(r#"(func (export "_initialize") (call $report (i32.const 100)))"#)
        .with(r#"(func (export "main") (param i32 i32) (result i32) (call $report (i32.const 101)) (i32.const 0))"#)
        .with(r#"(func (export "_start") unreachable)"#)
        .on("proxy_on_context_create", &report(110, 2))
        .on("proxy_on_vm_start", &(report(120, 2) + "(i32.const 1)"))
        .on("proxy_on_configure", &(report(130, 2) + "(i32.const 1)"))
        .on("proxy_on_request_headers", &(report(140, 3) + "(i32.const 0)"))
        .on("proxy_on_response_headers", &(report(150, 3) + "(i32.const 1)"))
        .on("proxy_on_log", &report(160, 1))
        .on("proxy_on_done", &(report(170, 1) + "(i32.const 1)"))
        .on("proxy_on_delete", &report(180, 1))
}

#[test]
fn callbacks_come_in_envoy_s_order_with_their_arguments() {
    let (engine, world) = engine();
    let mut config = PluginConfig::new("test", tracing_guest().wasm());
    config.vm_configuration = b"vm".to_vec();
    config.configuration = b"plugin".to_vec();
    let plugin = engine.load(config).unwrap();
    let start = [100, 101, 110, 1, 0, 120, 1, 2, 130, 1, 6];
    let end = [170, 1, 180, 1];
    assert_eq!(world.reports(), [&start[..], &end[..]].concat(), "the canary's whole life");

    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    assert_eq!(world.reports(), [&start[..], &[110, 2, 1]].concat());
    let outcome = stream.on_headers(Direction::Request, true).unwrap();
    assert_eq!((outcome.action, outcome.local_response), (Action::Continue, None));
    assert_eq!(world.reports(), [140, 2, 6, 1]);
    let outcome = stream.on_headers(Direction::Response, false).unwrap();
    assert_eq!((outcome.action, outcome.local_response), (Action::Pause, None));
    assert_eq!(world.reports(), [150, 2, 2, 0]);
    stream.close().unwrap();
    assert_eq!(world.reports(), [160, 2, 170, 2, 180, 2]);

    drop((plugin, engine));
    assert_eq!(world.reports(), end, "an instance ends its root context");
}

#[test]
fn an_abandoned_stream_is_deleted_without_a_log() {
    let (plugin, world) = load(tracing_guest().wasm());
    let stream = plugin.open("tenant", share(&http())).unwrap();
    world.clear();
    drop(stream);
    assert_eq!(world.reports(), [170, 2, 180, 2]);
}

#[test]
fn a_command_module_runs_start_and_every_callback_is_optional() {
    let (plugin, world) =
        load(Guest::new().with(r#"(func (export "_start") (call $report (i32.const 7)))"#).wasm());
    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    let outcome = stream.on_headers(Direction::Request, true).unwrap();
    assert_eq!((outcome.action, outcome.local_response), (Action::Continue, None));
    stream.close().unwrap();
    assert_eq!(world.reports(), [7]);
}

#[test]
fn in_abi_0_1_0_header_callbacks_have_two_parameters() {
    let wasm = wat::parse_str(
        r#"(module
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (import "env" "proxy_get_configuration" (func $configuration (param i32 i32) (result i32)))
            (import "env" "proxy_continue_request" (func (result i32)))
            (import "env" "proxy_clear_route_cache" (func (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_1_0"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
            (func $say (drop (call $configuration (i32.const 0) (i32.const 4)))
              (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $say) (i32.const 1))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $say) (i32.const 1))
            (func (export "proxy_on_request_headers") (param i32 i32) (result i32) (i32.eq (local.get 1) (i32.const 6))))"#,
    )
    .unwrap();
    let (engine, world) = engine();
    let mut config = PluginConfig::new("old", wasm);
    config.vm_configuration = b"vm".to_vec();
    config.configuration = b"plugin".to_vec();
    let plugin = engine.load(config).unwrap();
    assert_eq!(world.texts(), ["vm", "plugin"]);
    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    // It returns the number of headers, which is no action: that stops.
    assert_eq!(stream.on_headers(Direction::Request, true).unwrap().action, Action::Pause);
}

#[test]
fn a_false_from_configure_for_one_tenant_is_an_error_and_no_trap() {
    // The canary sees no shared data of the tenant; this guest refuses once it was configured before.
    let mut guest = Guest::new();
    let key = guest.text("configured");
    let body = format!(
        "(call $proxy_get_shared_data {key} {OUT} (i32.const 72))
         (drop (call $proxy_set_shared_data {key} {key} (i32.const 0)))"
    );
    let guest = guest.on("proxy_on_configure", &body).on("proxy_on_request_headers", "unreachable");
    let (plugin, _) = load(guest.wasm());
    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    stream.on_headers(Direction::Request, true).unwrap_err();
    let error = plugin.open("tenant", share(&http)).err().expect("refused");
    let StreamError::Start { reason: StartError::Refused { function }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(function, "proxy_on_configure");
}
