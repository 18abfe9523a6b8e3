//! Calls out, queues and foreign functions.

use std::sync::Arc;

use bytes::Bytes;
use coditect_proxy_wasm::{CallFailure, HttpCallResponse, Plugin};

use crate::guest::{Guest, OUT, wire};
use crate::world::{World, exchange, http, load, load_with, pairs, share};

fn report(call: &str) -> String {
    format!("(call $report (call ${call}))")
}

/// Reports the status of an HTTP call and the token's word.
fn call(guest: &mut Guest, upstream: &str, headers: &[(&str, &str)]) -> String {
    let upstream = guest.text(upstream);
    let headers = guest.bytes(&wire(headers));
    let body = guest.text("ask");
    let nothing = guest.text("");
    report(&format!("proxy_http_call {upstream} {headers} {body} {nothing} (i32.const 1500) (i32.const 64)"))
}

const ASK: &[(&str, &str)] = &[(":method", "POST"), (":path", "/ask"), (":authority", "keys"), ("x-a", "1")];

fn calling(guest: Guest) -> (Plugin, Arc<World>) {
    load_with(guest.wasm(), |config| config.upstreams = vec!["keys".to_owned()])
}

#[test]
fn a_call_is_answered_to_the_root_context_which_reads_the_answer() {
    let mut guest = Guest::new();
    let ask = call(&mut guest, "keys", ASK);
    let name = guest.text("X-B");
    let read = [
        "(call $report (local.get $p0)) (call $report (local.get $p2)) (call $report (local.get $p3))"
            .to_owned(),
        report(
            "proxy_get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const -1) (i32.const 64) (i32.const 68)",
        ),
        "(call $say_out)".to_owned(),
        report(&format!("proxy_get_header_map_value (i32.const 6) {name} {OUT}")),
        "(call $say_out)".to_owned(),
        report(&format!("proxy_get_header_map_pairs (i32.const 7) {OUT}")),
        report(&format!("proxy_get_status (i32.const 72) {OUT}")),
    ];
    let guest = guest
        .on("proxy_on_request_headers", &format!("{ask} (i32.const 1)"))
        .on("proxy_on_http_call_response", &read.concat());
    let (plugin, world) = calling(guest);
    let mut stream = plugin.open("tenant", share(&http())).unwrap();
    let _ = stream.on_headers(coditect_proxy_wasm::Direction::Request, true).unwrap();
    assert_eq!(world.reports(), [0]);
    let source = world.http_calls.lock().unwrap()[0].0.clone();
    assert_eq!(
        (&*source.plugin, &*source.tenant, source.request_id.as_deref()),
        ("test", "tenant", Some("req-1"))
    );
    let asked = world.answer(Ok(HttpCallResponse {
        headers: pairs(&[(":status", "200"), ("x-b", "2")]),
        body: Bytes::from_static(b"answer"),
        trailers: Vec::new(),
    }));
    assert_eq!((asked.upstream.as_str(), &asked.body[..], asked.headers), ("keys", &b"ask"[..], pairs(ASK)));
    let lines = world.log.lock().unwrap();
    let lines: Vec<&[u8]> = lines.iter().map(|line| &line.message[..]).collect();
    let number = |number: u32| number.to_le_bytes().to_vec();
    let expected = [
        number(1),
        number(2),
        number(6),
        number(0),
        b"answer".to_vec(),
        number(0),
        b"2".to_vec(),
        number(0),
        number(0),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_failed_call_is_told_as_envoy_s_own_response_with_a_reason() {
    let mut guest = Guest::new();
    let name = guest.text(":status");
    let ask = call(&mut guest, "keys", ASK);
    let read = [
        "(call $report (local.get $p2)) (call $report (local.get $p3))".to_owned(),
        report(&format!("proxy_get_header_map_value (i32.const 6) {name} {OUT}")),
        "(call $say_out)".to_owned(),
        report(&format!("proxy_get_status (i32.const 72) {OUT}")),
        "(call $say_out)".to_owned(),
    ];
    let guest = guest
        .on("proxy_on_request_headers", &format!("{ask} (i32.const 1)"))
        .on("proxy_on_http_call_response", &read.concat());
    let (plugin, world) = calling(guest);
    let mut stream = plugin.open("tenant", share(&http())).unwrap();
    let _ = stream.on_headers(coditect_proxy_wasm::Direction::Request, true).unwrap();
    world.clear();
    world.answer(Err(CallFailure::Timeout));
    let lines = world.log.lock().unwrap();
    let lines: Vec<&[u8]> = lines.iter().map(|line| &line.message[..]).collect();
    let number = |number: u32| number.to_le_bytes().to_vec();
    let text = b"the call timed out".to_vec();
    let length = u32::try_from(text.len()).unwrap();
    assert_eq!(lines, [number(3), number(length), number(0), b"504".to_vec(), number(0), text]);
}

#[test]
fn calls_are_refused_without_their_headers_to_others_and_past_the_limits() {
    let mut guest = Guest::new();
    let mut body = String::new();
    for missing in 0..3 {
        let mut headers = ASK.to_vec();
        headers.remove(missing);
        body += &call(&mut guest, "keys", &headers);
    }
    body += &call(&mut guest, "others", ASK);
    let good = call(&mut guest, "keys", ASK);
    body += &good.repeat(3);
    let guest = guest.on("proxy_on_request_headers", &format!("{body} (i32.const 0)"));
    let (plugin, world) = load_with(guest.wasm(), |config| {
        config.upstreams = vec!["keys".to_owned()];
        config.limits.calls_per_stream = 2;
        config.limits.calls_in_flight = 3;
    });
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [2, 2, 2, 2, 0, 0, 10]);
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [2, 2, 2, 2, 0, 10, 10], "three at once");
    assert_eq!(plugin.budgets_crossed(), [("calls_in_flight", 1), ("calls_per_stream", 2)]);
    world.answer(Err(CallFailure::Reset));
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [2, 2, 2, 2, 0, 10, 10], "an answer makes room");
    let calls = std::mem::take(&mut *world.http_calls.lock().unwrap());
    drop(plugin);
    assert!(calls.iter().all(|(_, _, reply)| !reply.is_wanted()), "nobody waits any longer");
}

#[test]
fn a_grpc_stream_goes_both_ways() {
    let mut guest = Guest::new();
    let (upstream, service, method) = (guest.text("keys"), guest.text("a.B"), guest.text("C"));
    let metadata = guest.bytes(&wire(&[("x-m", "1")]));
    let message = guest.text("ping");
    let name = guest.text("x-i");
    let open = report(&format!("proxy_grpc_stream {upstream} {service} {method} {metadata} (i32.const 64)"));
    let begin = [
        open,
        report(&format!("proxy_grpc_send (i32.load (i32.const 64)) {message} (i32.const 0)")),
        report(&format!("proxy_grpc_send (i32.const 99) {message} (i32.const 0)")),
        report("proxy_grpc_close (i32.load (i32.const 64))"),
    ];
    let guest = guest
        .on("proxy_on_request_headers", &(begin.concat() + "(i32.const 0)"))
        .on(
            "proxy_on_grpc_receive_initial_metadata",
            &(report(&format!("proxy_get_header_map_value (i32.const 4) {name} {OUT}")) + "(call $say_out)"),
        )
        .on(
            "proxy_on_grpc_receive",
            &(report(&format!("proxy_get_buffer_bytes (i32.const 5) (i32.const 0) (i32.const -1) {OUT}"))
                + "(call $say_out)"),
        )
        .on("proxy_on_grpc_close", "(call $report (local.get $p2))");
    let (plugin, world) = calling(guest);
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [0, 0, 2, 0]);
    assert_eq!(*world.grpc_log.lock().unwrap(), ["send ping false", "close"]);
    let (_, call, events) = world.grpc_calls.lock().unwrap().remove(0);
    assert_eq!((call.service.as_str(), call.method.as_str(), call.message), ("a.B", "C", None));
    events.initial_metadata(pairs(&[("x-i", "in")]));
    events.message(Bytes::from_static(b"pong"));
    events.close(5, "gone".to_owned());
    let lines: Vec<_> = world.log.lock().unwrap().iter().map(|line| line.message.clone()).collect();
    let number = |number: u32| number.to_le_bytes().to_vec();
    assert_eq!(lines, [number(0), b"in".to_vec(), number(0), b"pong".to_vec(), number(5)]);
}

#[test]
fn queues_are_found_by_name_and_their_reader_is_told() {
    let mut guest = Guest::new();
    let (name, vm, none, message) =
        (guest.text("q"), guest.text("vm"), guest.text("none"), guest.text("hello"));
    let body = [
        report(&format!("proxy_resolve_shared_queue {vm} {name} (i32.const 64)")),
        report(&format!("proxy_resolve_shared_queue {vm} {none} (i32.const 64)")),
        report("proxy_dequeue_shared_queue (i32.const 1) (i32.const 64) (i32.const 68)"),
        report(&format!("proxy_enqueue_shared_queue (i32.const 1) {message}")),
        report(&format!("proxy_enqueue_shared_queue (i32.const 9) {message}")),
        report("proxy_dequeue_shared_queue (i32.const 9) (i32.const 64) (i32.const 68)"),
    ];
    let ready = [
        "(call $report (local.get $p1))".to_owned(),
        report("proxy_dequeue_shared_queue (i32.const 1) (i32.const 64) (i32.const 68)"),
        "(call $say_out)".to_owned(),
    ];
    let guest = guest
        .on(
            "proxy_on_vm_start",
            &(report(&format!("proxy_register_shared_queue {name} (i32.const 64)")) + "(i32.const 1)"),
        )
        .on("proxy_on_request_headers", &(body.concat() + "(i32.const 0)"))
        .on("proxy_on_queue_ready", &ready.concat());
    let (engine, world) = crate::world::engine();
    let mut config = coditect_proxy_wasm::PluginConfig::new("test", guest.wasm());
    config.vm_id = "vm".to_owned();
    let plugin = engine.load(config).unwrap();
    world.clear();
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [0, 0, 1, 7, 0, 1, 1]);
    engine.run_due();
    let lines: Vec<_> = world.log.lock().unwrap().iter().map(|line| line.message.clone()).collect();
    assert_eq!(lines, [1_u32.to_le_bytes().to_vec(), 0_u32.to_le_bytes().to_vec(), b"hello".to_vec()]);
}

#[test]
fn foreign_functions_are_the_embedder_s() {
    let mut guest = Guest::new();
    let (reverse, refuse, unknown, argument) =
        (guest.text("reverse"), guest.text("refuse"), guest.text("no"), guest.text("abc"));
    let call = |name: &str| report(&format!("proxy_call_foreign_function {name} {argument} {OUT}"));
    let body = [call(&refuse), call(&unknown), call(&reverse), "(call $say_out)".to_owned()];
    let (plugin, world) =
        load(guest.on("proxy_on_request_headers", &(body.concat() + "(i32.const 0)")).wasm());
    exchange(&plugin, &http());
    let lines: Vec<_> = world.log.lock().unwrap().iter().map(|line| line.message.clone()).collect();
    let number = |number: u32| number.to_le_bytes().to_vec();
    assert_eq!(lines, [number(2), number(1), number(0), b"cba".to_vec()]);
}
