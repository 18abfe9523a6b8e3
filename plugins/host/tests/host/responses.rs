//! Local responses.

use coditect_proxy_wasm::{Action, Direction, LocalResponse};

use crate::guest::{Guest, wire};
use crate::world::{exchange, http, load, load_with, share};

/// A call of `proxy_send_local_response` whose status is reported.
fn send(guest: &mut Guest, status: i32, headers: &[u8]) -> String {
    let (details, body, headers) = (guest.text("because"), guest.text("no"), guest.bytes(headers));
    format!(
        "(call $report (call $proxy_send_local_response (i32.const {status}) {details} {body} {headers} (i32.const -1)))"
    )
}

#[test]
fn the_first_one_is_captured_whole_and_stops_the_stream() {
    let mut guest = Guest::new();
    let first = send(&mut guest, 403, &wire(&[("Content-Type", "text/plain"), ("x-b", "1")]));
    let second = send(&mut guest, 500, &[]);
    let response = second.clone();
    let guest = guest
        .on("proxy_on_request_headers", &format!("{first} {second} (i32.const 0)"))
        .on("proxy_on_response_headers", &format!("{response} (i32.const 0)"));
    let (plugin, world) = load(guest.wasm());
    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    let outcome = stream.on_headers(Direction::Request, true).unwrap();
    assert_eq!(outcome.action, Action::Pause, "whatever the guest returned");
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let expected = LocalResponse {
        status: 403,
        details: b"because".to_vec(),
        headers: vec![pair("content-type", "text/plain"), pair("x-b", "1")],
        body: b"no".to_vec(),
        grpc_status: None,
    };
    assert_eq!(outcome.local_response, Some(expected));
    // It passes through the plugin's own response callback, where another one is ignored.
    let outcome = stream.on_headers(Direction::Response, false).unwrap();
    assert_eq!((outcome.action, outcome.local_response), (Action::Continue, None));
    assert_eq!(world.reports(), [0, 0, 0]);
}

#[test]
fn a_response_can_be_replaced_too() {
    let mut guest = Guest::new();
    let send = send(&mut guest, 599, &[]);
    let (plugin, _) = load(guest.on("proxy_on_response_headers", &(send + "(i32.const 0)")).wasm());
    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    let outcome = stream.on_headers(Direction::Response, false).unwrap();
    assert_eq!(outcome.local_response.map(|response| response.status), Some(599));
}

#[test]
fn it_needs_a_final_status_good_headers_and_a_header_callback() {
    let mut guest = Guest::new();
    let mut body: String = [0, 100, 199, 600, 1000, -1].map(|status| send(&mut guest, status, &[])).concat();
    body += &send(&mut guest, 200, &wire(&[("a", "b\r\nc")]));
    body += &send(&mut guest, 200, &wire(&[(":status", "201")]));
    body += &send(&mut guest, 200, &[1, 2, 3]);
    let elsewhere = send(&mut guest, 200, &[]);
    let guest = guest
        .on("proxy_on_configure", &(elsewhere.clone() + "(i32.const 1)"))
        .on("proxy_on_context_create", &elsewhere)
        .on("proxy_on_request_headers", &(body + "(i32.const 0)"))
        .on("proxy_on_log", &elsewhere)
        .on("proxy_on_done", &(elsewhere.clone() + "(i32.const 1)"));
    let (plugin, world) = load(guest.wasm());
    exchange(&plugin, &http());
    assert_eq!(world.reports(), [2; 3 + 9 + 2]);
}

#[test]
fn a_body_past_the_limit_is_the_guest_s_end() {
    let mut guest = Guest::new();
    let send = send(&mut guest, 200, &[]);
    let wasm = guest.on("proxy_on_request_headers", &(send + "(i32.const 0)")).wasm();
    let (plugin, _) = load_with(wasm, |config| config.limits.local_response_bytes = 1);
    let http = http();
    let error = plugin.open("t", share(&http)).unwrap().on_headers(Direction::Request, true).unwrap_err();
    assert!(error.to_string().contains("`local_response_bytes` of 1 bytes"), "{error}");
}
