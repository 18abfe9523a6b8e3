//! Calls every host function in every callback and logs what came back, one line a cell:
//! `cell|<callback>|<host call>|<answer>`.
//!
//! `root_id` chooses the rows: `getters` reads all there is to read, `calls` makes the calls that change something.
//! A request passes `proxy_on_http_call_response` too: it is paused for a call to the upstream `calls`.

mod calls;
mod getters;

use guest_abi::{action, export_module, http_call, log, property, raw};
use std::cell::Cell;

export_module!();

thread_local! {
    static STREAM: Cell<u32> = const { Cell::new(0) };
    static ROOT: Cell<u32> = const { Cell::new(0) };
    static TICKED: Cell<bool> = const { Cell::new(false) };
    /// Body callbacks seen, request and response: only the first of each is measured.
    static BODIES: Cell<[u32; 2]> = const { Cell::new([0; 2]) };
}

/// The milliseconds between configuration and the tick.
const TICK: u32 = 20;

/// One cell of the table.
fn cell(callback: &str, call: &str, answer: &str) {
    log(&format!("cell|{callback}|{call}|{answer}"));
}

fn measure(callback: &str, context: u32) {
    if property(b"plugin_root_id").1.get() == b"calls" {
        calls::measure(callback, context);
    } else {
        getters::measure(callback);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    if parent == 0 {
        ROOT.set(context);
        measure("root+", context);
    } else {
        STREAM.set(context);
        BODIES.set([0; 2]);
        measure("stream+", context);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(root: u32, _size: usize) -> u32 {
    measure("vm_start", root);
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(root: u32, _size: usize) -> u32 {
    measure("configure", root);
    unsafe { raw::proxy_set_tick_period_milliseconds(TICK) };
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_tick(root: u32) {
    if !TICKED.replace(true) {
        measure("tick", root);
        log("ticked");
    }
    unsafe { raw::proxy_set_tick_period_milliseconds(0) };
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(context: u32, _count: u32, _end: u32) -> u32 {
    measure("rq_h", context);
    let name = property(b"plugin_name").1;
    let path = format!("/{}/call", String::from_utf8_lossy(name.get()));
    let head = [(":method", "GET"), (":path", path.as_str()), (":authority", "calls.test")];
    match http_call(b"calls", &guest_abi::encode_pairs(&head), b"", &[], 5000) {
        (guest_abi::OK, _) => action::PAUSE,
        (status, _) => {
            log(&format!("the call was refused with {status}"));
            action::CONTINUE
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_http_call_response(
    context: u32,
    _token: u32,
    _headers: u32,
    _body: u32,
    _trailers: u32,
) {
    log(&format!("call response for {}", if context == ROOT.get() { "the root" } else { "a stream" }));
    measure("call", context);
    unsafe { raw::proxy_set_effective_context(STREAM.get()) };
    measure("call+ef", STREAM.get());
    unsafe { raw::proxy_continue_stream(0) };
}

fn body(direction: usize, callback: &str, context: u32) -> u32 {
    let mut seen = BODIES.get();
    seen[direction] += 1;
    BODIES.set(seen);
    if seen[direction] == 1 {
        measure(callback, context);
    }
    action::CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_body(context: u32, _size: usize, _end: u32) -> u32 {
    body(0, "rq_body", context)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_trailers(context: u32, _count: u32) -> u32 {
    measure("rq_trailers", context);
    action::CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(context: u32, _count: u32, _end: u32) -> u32 {
    measure("rs_h", context);
    action::CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_body(context: u32, _size: usize, _end: u32) -> u32 {
    body(1, "rs_body", context)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_trailers(context: u32, _count: u32) -> u32 {
    measure("rs_trailers", context);
    action::CONTINUE
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_log(context: u32) {
    if context == STREAM.get() {
        measure("log", context);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_done(context: u32) -> u32 {
    if context == STREAM.get() {
        measure("done", context);
    }
    1
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(context: u32) {
    if context == STREAM.get() {
        measure("delete", context);
        log("deleted");
    }
}
