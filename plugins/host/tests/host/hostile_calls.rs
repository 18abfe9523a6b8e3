//! Calls out as a weapon: floods, strangers' upstreams, answers to the dead.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use coditect_proxy_wasm::{
    CallFailure, Direction, Engine, HttpCallResponse, Plugin, PluginConfig, StreamContext, StreamError,
};

use crate::guest::{Guest, wire};
use crate::world::{World, engine, exchange_of, http, share};

/// An operand list for calls to `keys`, and one to start a gRPC stream there.
fn operands(guest: &mut Guest) -> (String, String) {
    let (keys, service, nothing) = (guest.text("keys"), guest.text("a.B"), guest.text(""));
    let headers = guest.bytes(&wire(&[(":method", "GET"), (":path", "/"), (":authority", "keys")]));
    (
        format!(
            "(call $proxy_http_call {keys} {headers} {nothing} {nothing} (i32.const 1000) (i32.const 64))"
        ),
        format!("(call $proxy_grpc_stream {keys} {service} {service} {nothing} (i32.const 64))"),
    )
}

fn plugin(guest: Guest, configure: impl FnOnce(&mut PluginConfig)) -> (Engine, Plugin, Arc<World>) {
    let (engine, world) = engine();
    let mut config = PluginConfig::new("test", guest.wasm());
    config.upstreams = vec!["keys".to_owned()];
    config.limits.callback_cpu = Duration::from_secs(60);
    config.limits.header_bytes = usize::MAX;
    configure(&mut config);
    let plugin = engine.load(config).unwrap();
    world.clear();
    (engine, plugin, world)
}

fn repeat(times: u32, call: &str) -> String {
    format!(
        "(local $i i32)
         (loop $again (drop {call}) (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))
         (call $report {call})"
    )
}

#[test]
fn a_flood_of_calls_meets_the_tenant_s_limit_and_not_another_tenant_s() {
    let mut guest = Guest::new();
    let (call, _) = operands(&mut guest);
    let guest = guest.on("proxy_on_tick", &repeat(10_000, &call)).on(
        "proxy_on_request_headers",
        "(drop (call $proxy_set_tick_period_milliseconds (i32.const 10))) (i32.const 0)",
    );
    let (engine, plugin, world) = plugin(guest, |_| {});
    for (tenant, asked) in [("one", 64), ("two", 128)] {
        exchange_of(&plugin, tenant, &http());
        world.pass(Duration::from_millis(10));
        engine.run_due();
        assert_eq!(world.http_calls.lock().unwrap().len(), asked, "{tenant}");
        assert!(world.reports().iter().all(|status| *status == 10));
    }
}

/// Neither the root context's nor the module's number makes a stream's call somebody else's.
#[test]
fn a_stream_s_limit_holds_whatever_its_effective_context() {
    for context in ["0", "1", "2"] {
        let mut guest = Guest::new();
        let (call, grpc) = operands(&mut guest);
        let flood = format!("(func $flood {} (call $report {grpc}))", repeat(100, &call));
        let body = format!(
            "(drop (call $proxy_set_effective_context (i32.const {context}))) (call $flood) (i32.const 0)"
        );
        let guest = guest.with(&flood);
        let (_, plugin, world) = plugin(guest.on("proxy_on_request_headers", &body), |_| {});
        exchange_of(&plugin, "tenant", &http());
        assert_eq!(world.http_calls.lock().unwrap().len(), 8, "context {context}");
        assert_eq!(world.reports(), [10, 10]);
    }
}

#[test]
fn an_upstream_that_is_not_named_is_never_asked_for() {
    let mut guest = Guest::new();
    let (call, grpc) = operands(&mut guest);
    let body = format!("(call $report {call}) (call $report {grpc}) (i32.const 0)");
    let (_, plugin, world) = plugin(guest.on("proxy_on_request_headers", &body), |config| {
        config.upstreams = ["key", "keys ", "KEYS", "keyss", ""].map(str::to_owned).to_vec();
    });
    exchange_of(&plugin, "tenant", &http());
    assert_eq!(world.reports(), [2, 4]);
    assert_eq!(world.asked.load(Ordering::SeqCst), 0);
}

/// A stream whose guest began an HTTP call and a gRPC stream and reports what it is told of them.
fn calling(configure: impl FnOnce(&mut PluginConfig)) -> (Engine, Plugin, Arc<World>, StreamContext) {
    let mut guest = Guest::new();
    let (call, grpc) = operands(&mut guest);
    let guest = guest
        .on("proxy_on_request_headers", &format!("(drop {call}) (drop {grpc}) (i32.const 0)"))
        .on("proxy_on_response_headers", "unreachable")
        .on("proxy_on_http_call_response", "(call $report (i32.const 1))")
        .on("proxy_on_grpc_receive_initial_metadata", "(call $report (i32.const 2))")
        .on(
            "proxy_on_grpc_receive",
            "(call $report (i32.const 3)) (drop (call $proxy_grpc_cancel (local.get $p1)))",
        )
        .on("proxy_on_grpc_receive_trailing_metadata", "(call $report (i32.const 4))")
        .on("proxy_on_grpc_close", "(call $report (i32.const 5))");
    let (engine, plugin, world) = plugin(guest, configure);
    let mut stream = plugin.open("tenant", share(&http())).unwrap();
    let _ = stream.on_headers(Direction::Request, true).unwrap();
    (engine, plugin, world, stream)
}

/// Every answer there is.
fn answer_all(world: &World) {
    let http_calls = std::mem::take(&mut *world.http_calls.lock().unwrap());
    for (_, _, reply) in http_calls {
        assert!(!reply.is_wanted());
        reply.send(Ok(HttpCallResponse::default()));
    }
    let grpc_calls = std::mem::take(&mut *world.grpc_calls.lock().unwrap());
    for (_, _, events) in grpc_calls {
        assert!(!events.is_wanted());
        events.initial_metadata(Vec::new());
        events.message(Bytes::from_static(b"message"));
        events.trailing_metadata(Vec::new());
        events.close(0, "late".to_owned());
    }
}

#[test]
fn answers_to_an_instance_that_is_gone_are_nothing() {
    // After a trap.
    let (engine, plugin, world, mut stream) = calling(|_| {});
    let error = stream.on_headers(Direction::Response, true).unwrap_err();
    assert!(matches!(error, StreamError::Trap(_)), "{error}");
    answer_all(&world);
    assert_eq!(world.reports(), [] as [u32; 0]);
    drop((stream, plugin));
    assert_eq!((engine.run_due(), engine.live_instances()), (None, 0));
    // After the plugin was dropped with its streams.
    let (engine, plugin, world, stream) = calling(|_| {});
    drop((stream, plugin));
    answer_all(&world);
    assert_eq!(world.reports(), [] as [u32; 0]);
    assert_eq!((engine.run_due(), engine.live_instances()), (None, 0));
    // After the stream alone the root context lives on, and is told.
    let (_engine, _plugin, world, stream) = calling(|_| {});
    stream.close().unwrap();
    world.answer(Err(CallFailure::Timeout));
    assert_eq!(world.reports(), [1]);
}

#[test]
fn after_the_guest_cancelled_a_call_nothing_is_told_of_it() {
    let (_engine, _plugin, world, _stream) = calling(|_| {});
    let (_, _, events) = world.grpc_calls.lock().unwrap().remove(0);
    events.initial_metadata(Vec::new());
    events.message(Bytes::from_static(b"one"));
    events.message(Bytes::from_static(b"two"));
    events.trailing_metadata(Vec::new());
    events.close(0, String::new());
    assert_eq!(world.reports(), [2, 3], "the message in whose callback it was cancelled is the last");
    assert_eq!(*world.grpc_log.lock().unwrap(), ["cancel"]);
}

/// An embedder that drops what a call would be answered with, at once or later: the guest is told that it failed,
/// once, by the driver, and has room for other calls.
#[test]
fn an_answer_that_was_dropped_is_a_failure() {
    for at_once in [true, false] {
        let mut guest = Guest::new();
        let (call, grpc) = operands(&mut guest);
        let guest = guest
            .on("proxy_on_request_headers", &format!("(drop {call}) (drop {grpc}) (i32.const 0)"))
            .on("proxy_on_http_call_response", "(call $report (local.get $p2))")
            .on("proxy_on_grpc_close", "(call $report (local.get $p2))");
        let (engine, plugin, world) = plugin(guest, |config| config.limits.calls_in_flight = 2);
        world.forgets.store(at_once, Ordering::SeqCst);
        for _ in 0..3 {
            exchange_of(&plugin, "tenant", &http());
            world.http_calls.lock().unwrap().clear();
            world.grpc_calls.lock().unwrap().clear();
            assert_eq!(world.reports(), [] as [u32; 0], "not while the guest runs");
            engine.run_due();
            assert_eq!(world.reports(), [3, 14], "the headers made up for a failed call, and UNAVAILABLE");
            assert_eq!(engine.run_due(), None);
        }
    }
}

#[test]
fn tokens_of_nobody_and_of_the_other_kind_are_refused() {
    let mut guest = Guest::new();
    let (call, _) = operands(&mut guest);
    let answers: String = ["(i32.const 0)", "(i32.const -1)", "(i32.load (i32.const 64))"]
        .map(|token| {
            format!(
                "(call $report (call $proxy_grpc_send {token} (i32.const 0) (i32.const 1) (i32.const 1)))
                 (call $report (call $proxy_grpc_cancel {token}))
                 (call $report (call $proxy_grpc_close {token}))"
            )
        })
        .concat();
    let body = format!("(drop {call}) {answers} (i32.const 0)");
    let (_, plugin, world) = plugin(guest.on("proxy_on_request_headers", &body), |_| {});
    exchange_of(&plugin, "tenant", &http());
    assert_eq!(world.reports(), [2, 2, 2, 2, 2, 2, 1, 1, 1], "never given, never given, no gRPC call");
    assert_eq!(world.http_calls.lock().unwrap().len(), 1, "the HTTP call is under way");
}
