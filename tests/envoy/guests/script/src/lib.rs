//! Does in each callback what its configuration says, and logs what came of it: with it a case is a few lines of text.
//!
//! ```text
//! @request_headers            the callback that the lines below belong to; any callback, or none, may have lines
//! add request x-a one         a host call and its arguments; the last one takes the rest of the line
//! pause                       what the callback answers; continue unless said
//! @request_body end           only when it is the last (`more`: when it is not; `2`: the second time)
//! ```
//!
//! `proxy_on_vm_start` takes its lines from the VM's configuration. `operations.rs` lists the calls.

mod operations;
mod script;
mod state;

use guest_abi::{action, buffer, buffer_bytes, export_module, log};
use script::{Script, When};
use state::State;

export_module!();

/// Runs the lines of a callback; gives its answer.
fn run(callback: &str, when: When) -> u32 {
    State::with(|state| state.answer = action::CONTINUE);
    let lines = State::with(|state| state.script.lines(callback, when));
    for line in &lines {
        operations::perform(line);
    }
    State::with(|state| state.answer)
}

fn configured(kind: u32) -> Script {
    let (_, text) = buffer_bytes(kind, 0, u32::MAX as usize);
    Script::parse(&String::from_utf8_lossy(text.get()))
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    if parent == 0 {
        State::with(|state| state.root = context);
        log("> root");
    } else {
        State::with(|state| state.enter(context));
        log("> stream");
        run("stream", When::default());
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_vm_start(_root: u32, size: usize) -> u32 {
    log(&format!("> vm_start {size}"));
    let script = configured(buffer::VM_CONFIGURATION);
    State::with(|state| state.script = script);
    u32::from(run("vm_start", When::default()) == action::CONTINUE)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(_root: u32, size: usize) -> u32 {
    let script = configured(buffer::PLUGIN_CONFIGURATION);
    let size = if size > 0 { "some" } else { "none" };
    log(&format!("> configure {size}"));
    State::with(|state| state.script = script);
    u32::from(run("configure", When::default()) == action::CONTINUE)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_tick(_root: u32) {
    let number = State::with(|state| state.count("tick"));
    // Only the first few: how many there are in a time is nobody's business.
    if number <= 2 {
        log(&format!("> tick {number}"));
        run("tick", When { number, end: false });
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_queue_ready(_root: u32, _token: u32) {
    log("> queue");
    run("queue", When::default());
}

fn headers(callback: &str, context: u32, end: u32) -> u32 {
    State::with(|state| state.enter(context));
    log(&format!("> {callback} end={end}"));
    run(callback, When { number: 1, end: end == 1 })
}

fn body(callback: &str, context: u32, size: usize, end: u32) -> u32 {
    let number = State::with(|state| {
        state.enter(context);
        state.count(callback)
    });
    log(&format!("> {callback} {size} end={end}"));
    run(callback, When { number, end: end == 1 })
}

fn trailers(callback: &str, context: u32, count: u32) -> u32 {
    State::with(|state| state.enter(context));
    log(&format!("> {callback} {count}"));
    run(callback, When::default())
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(context: u32, _count: u32, end: u32) -> u32 {
    headers("request_headers", context, end)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_body(context: u32, size: usize, end: u32) -> u32 {
    body("request_body", context, size, end)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_trailers(context: u32, count: u32) -> u32 {
    trailers("request_trailers", context, count)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_headers(context: u32, _count: u32, end: u32) -> u32 {
    headers("response_headers", context, end)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_body(context: u32, size: usize, end: u32) -> u32 {
    body("response_body", context, size, end)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_response_trailers(context: u32, count: u32) -> u32 {
    trailers("response_trailers", context, count)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_http_call_response(
    context: u32,
    token: u32,
    headers: u32,
    size: u32,
    trailers: u32,
) {
    let (number, who) = State::with(|state| state.reply(context, token));
    let outcome = if headers == 0 { "failed" } else { "answered" };
    let body = if size > 0 { "a body" } else { "no body" };
    log(&format!("> call {number} {outcome} with {body}, trailers={trailers}, in {who}"));
    run("call", When { number, end: false });
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_grpc_receive_initial_metadata(context: u32, token: u32, _count: u32) {
    let (_, who) = State::with(|state| state.reply(context, token));
    log(&format!("> grpc_initial in {who}"));
    run("grpc_initial", When::default());
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_grpc_receive(context: u32, token: u32, size: u32) {
    let (_, who) = State::with(|state| state.reply(context, token));
    let number = State::with(|state| state.count("grpc_message"));
    log(&format!("> grpc_message {size} in {who}"));
    run("grpc_message", When { number, end: false });
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_grpc_receive_trailing_metadata(context: u32, token: u32, _count: u32) {
    let (_, who) = State::with(|state| state.reply(context, token));
    log(&format!("> grpc_trailing in {who}"));
    run("grpc_trailing", When::default());
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_grpc_close(context: u32, token: u32, status: u32) {
    let (_, who) = State::with(|state| state.reply(context, token));
    log(&format!("> grpc_close {status} in {who}"));
    run("grpc_close", When::default());
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_log(context: u32) {
    if State::with(|state| state.is_stream(context)) {
        log("> log");
        run("log", When::default());
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_done(context: u32) -> u32 {
    if !State::with(|state| state.is_stream(context)) {
        return 1;
    }
    log("> done");
    u32::from(run("done", When::default()) == action::CONTINUE)
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(context: u32) {
    if State::with(|state| state.is_stream(context)) {
        log("> delete");
        run("delete", When::default());
        log("deleted");
    }
}
