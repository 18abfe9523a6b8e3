//! Header maps.

use coditect_proxy_wasm::{Direction, StreamError};

use crate::guest::{Guest, OUT, wire};
use crate::world::{Http, http, load, load_with, pairs, share};

/// Runs `body` in the request-headers callback; its result is reported.
fn in_request(guest: Guest, body: &str) -> (Http, Vec<u32>) {
    let (plugin, world) = load(guest.on("proxy_on_request_headers", &format!("{body} (i32.const 0)")).wasm());
    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    let _ = stream.on_headers(Direction::Request, true).unwrap();
    stream.close().unwrap();
    let http = http.lock().unwrap().clone();
    (http, world.reports())
}

fn report(call: &str) -> String {
    format!("(call $report (call ${call}))")
}

#[test]
fn values_are_read_by_any_case_and_the_first_of_several_is_given() {
    let mut guest = Guest::new();
    let (upper, missing) = (guest.text("X-A"), guest.text("x-none"));
    let body = [
        report(&format!("proxy_get_header_map_value (i32.const 0) {upper} {OUT}")),
        "(call $report (i32.load8_u (i32.load (i32.const 64)))) (call $report (i32.load (i32.const 68)))"
            .to_owned(),
        report(&format!("proxy_get_header_map_value (i32.const 0) {missing} {OUT}")),
    ];
    let (_, reports) = in_request(guest, &body.concat());
    assert_eq!(reports, [0, u32::from(b'1'), 1, 1]);
}

#[test]
fn values_are_added_replaced_and_removed() {
    let mut guest = Guest::new();
    let (name, value, path) = (guest.text("X-A"), guest.text("3"), guest.text(":path"));
    let (new, new_path, method) = (guest.text("x-new"), guest.text("/y"), guest.text(":method"));
    let body = [
        report(&format!("proxy_add_header_map_value (i32.const 0) {name} {value}")),
        report(&format!("proxy_replace_header_map_value (i32.const 0) {new} {value}")),
        report(&format!("proxy_replace_header_map_value (i32.const 0) {path} {new_path}")),
        report(&format!("proxy_remove_header_map_value (i32.const 0) {method}")),
        report(&format!("proxy_remove_header_map_value (i32.const 0) {method}")),
    ];
    let (http, reports) = in_request(guest, &body.concat());
    assert_eq!(reports, [0; 5]);
    assert_eq!(http.request_values("x-a"), ["1", "2", "3"]);
    assert_eq!(http.request_values("x-new"), ["3"]);
    assert_eq!(http.request_values(":path"), ["/y"]);
    assert!(http.request_values(":method").is_empty());
}

#[test]
fn what_is_no_header_or_not_the_plugin_s_to_write_is_a_bad_argument() {
    let mut guest = Guest::new();
    let value = guest.text("v");
    let bad_names = ["", "a b", "a:b", "a\r\nb", ":status", ":nonsense", "x-coditect-user"];
    let bad_values = ["a\r\nset-cookie: b", "a\0", "\u{7f}"];
    let mut body = String::new();
    for name in bad_names {
        let name = guest.text(name);
        body += &report(&format!("proxy_add_header_map_value (i32.const 0) {name} {value}"));
        body += &report(&format!("proxy_replace_header_map_value (i32.const 0) {name} {value}"));
    }
    let name = guest.text("x-ok");
    for value in bad_values {
        let value = guest.text(value);
        body += &report(&format!("proxy_add_header_map_value (i32.const 0) {name} {value}"));
        body += &report(&format!("proxy_replace_header_map_value (i32.const 0) {name} {value}"));
    }
    let protected = guest.text("X-Coditect-User");
    body += &report(&format!("proxy_remove_header_map_value (i32.const 0) {protected}"));
    let (http, reports) = in_request(guest, &body);
    assert_eq!(reports, vec![2; 2 * (bad_names.len() + bad_values.len()) + 1]);
    assert_eq!(http.request, Http::default().request, "nothing was changed");
}

#[test]
fn all_pairs_come_in_the_specification_s_form() {
    let body =
        format!("{} (call $say_out)", report(&format!("proxy_get_header_map_pairs (i32.const 2) {OUT}")));
    let (plugin, world) =
        load(Guest::new().on("proxy_on_response_headers", &(body + "(i32.const 0)")).wasm());
    let http = http();
    let mut stream = plugin.open("tenant", share(&http)).unwrap();
    let _ = stream.on_headers(Direction::Response, true).unwrap();
    let lines = world.log.lock().unwrap().clone();
    assert_eq!(lines[0].message, 0_u32.to_le_bytes());
    assert_eq!(lines[1].message, wire(&[(":status", "200"), ("content-type", "text/plain")]));
    assert_eq!(lines[1].request_id.as_deref(), Some("req-1"));
}

#[test]
fn all_pairs_are_replaced_or_none() {
    let mut guest = Guest::new();
    let new = [(":authority", "b"), (":path", "/"), (":method", "PUT"), (":scheme", "https"), ("X-B", "")];
    let (good, cut) = (guest.bytes(&wire(&new)), guest.bytes(&wire(&new)[..40]));
    let smuggled = guest.bytes(&wire(&[(":path", "/"), ("x", "a\r\nb")]));
    let body = [&cut, &smuggled, &good]
        .map(|map| report(&format!("proxy_set_header_map_pairs (i32.const 0) {map}")))
        .concat();
    let size = format!(
        "{} (call $report (i32.load (i32.const 64)))",
        report("proxy_get_header_map_size (i32.const 0) (i32.const 64)")
    );
    let (http, reports) = in_request(guest, &(body + &size));
    let bytes = new.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    assert_eq!(reports, [2, 2, 0, 0, u32::try_from(bytes).unwrap()]);
    let lower = new.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let lower: Vec<(&str, &str)> = lower.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(http.request, pairs(&lower));
}

#[test]
fn the_effective_context_decides_whose_maps_are_meant() {
    let mut guest = Guest::new();
    let name = guest.text("x-a");
    let get = report(&format!("proxy_get_header_map_value (i32.const 0) {name} {OUT}"));
    let effective = |id: &str| report(&format!("proxy_set_effective_context {id}"));
    let body = [
        effective("(i32.const 1)"),
        get.clone(),
        effective("(i32.const 77)"),
        effective("(local.get $p0)"),
        get.clone(),
    ];
    let (_, reports) = in_request(guest, &body.concat());
    assert_eq!(reports, [0, 2, 2, 0, 0]);
}

#[test]
fn writing_more_than_the_budget_is_the_guest_s_end() {
    let mut guest = Guest::new();
    let name = guest.text("x-flood");
    let flood = format!(
        "(loop $again
           (drop (call $proxy_replace_header_map_value (i32.const 0) {name} (i32.const 1024) (i32.const 7)))
           (br $again)) (i32.const 0)"
    );
    let wasm = guest.on("proxy_on_request_headers", &flood).wasm();
    let (plugin, _) = load_with(wasm, |config| config.limits.header_bytes = 200);
    let http = http();
    let error = plugin.open("t", share(&http)).unwrap().on_headers(Direction::Request, true).unwrap_err();
    let StreamError::Trap(trap) = error else { panic!("{error}") };
    assert_eq!(trap.cause.to_string(), "`header_bytes` of 200 bytes used up in one callback");
}
