//! Property values and writes.

use std::sync::{Arc, Mutex};

use crate::guest::{Guest, OUT};
use crate::world::{Http, load, load_with};

/// The values of these properties in the request (or response) callback, as bytes; `None` where there is none.
fn read(callback: &str, paths: &[&str], http: &mut Http) -> Vec<Option<Vec<u8>>> {
    let mut guest = Guest::new();
    let mut body = String::new();
    for path in paths {
        let path = guest.text(path);
        body += &format!(
            "(if (i32.eqz (call $proxy_get_property {path} {OUT}))
               (then (call $say_out)) (else (call $say (i32.const 0) (i32.const 0))))"
        );
    }
    let (plugin, world) = load_with(guest.on(callback, &(body + "(i32.const 0)")).wasm(), |config| {
        config.name = "the-name".to_owned();
        config.root_id = "the-root".to_owned();
    });
    let shared = Arc::new(Mutex::new(std::mem::take(http)));
    crate::world::exchange(&plugin, &shared);
    *http = shared.lock().unwrap().clone();
    let lines = world.log.lock().unwrap();
    lines.iter().map(|line| (!line.message.is_empty()).then(|| line.message.clone())).collect()
}

fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[test]
fn the_host_reads_what_it_can_from_the_request() {
    let paths = [
        "plugin_name",
        "plugin_root_id",
        "request\0path",
        "request\0url_path\0",
        "request\0query",
        "request\0host",
        "request\0method",
        "request\0id",
        "request\0headers\0X-A",
        "request\0headers\0none",
        "request\0headers",
        "coditect\0tenant",
        "coditect\0other",
    ];
    let values = read("proxy_on_request_headers", &paths, &mut Http::default());
    let expected = [
        some("the-name"),
        some("the-root"),
        some("/x?q=1"),
        some("/x"),
        some("q=1"),
        some("a.example"),
        some("GET"),
        some("req-1"),
        some("1"),
        None,
        Some(crate::guest::wire(&[
            (":authority", "a.example"),
            (":path", "/x?q=1"),
            (":method", "GET"),
            (":scheme", "http"),
            ("x-a", "1"),
            ("x-a", "2"),
        ])),
        some("supplied"),
        None,
    ];
    assert_eq!(values, expected);
}

#[test]
fn numbers_are_eight_bytes_little_endian() {
    let values = read("proxy_on_response_headers", &["response\0code"], &mut Http::default());
    assert_eq!(values, [Some(200_i64.to_le_bytes().to_vec())]);
    let mut http = Http { response: Vec::new(), ..Http::default() };
    assert_eq!(read("proxy_on_response_headers", &["response\0code"], &mut http), [None]);
}

#[test]
fn a_set_property_reaches_the_embedder_which_may_refuse() {
    let mut guest = Guest::new();
    let (path, value) = (guest.text("my\0thing"), guest.text("v"));
    let (ours, nothing) = (guest.text("coditect\0tenant"), guest.text(""));
    let set = |path: &str| format!("(call $report (call $proxy_set_property {path} {value}))");
    let body = [set(&path), set(&ours), set(&nothing)].concat();
    let guest = guest
        .on("proxy_on_configure", &(set(&path) + "(i32.const 1)"))
        .on("proxy_on_request_headers", &(body + "(i32.const 0)"));
    let (plugin, world) = load(guest.wasm());
    let http = Arc::new(Mutex::new(Http { properties: Vec::new(), ..Http::default() }));
    crate::world::exchange(&plugin, &http);
    assert_eq!(world.reports(), [1, 0, 2, 2], "a root context has no stream to set it on");
    assert_eq!(http.lock().unwrap().properties, [(vec![b"my".to_vec(), b"thing".to_vec()], b"v".to_vec())]);
}
