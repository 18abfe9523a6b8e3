//! A plugin that fails on request, for tests of what then happens: it panics when the request has `x-trap`, loops
//! for ever when it has `x-loop`, asks for ever more memory when it has `x-memory`, and lets all others pass with
//! `x-trap-plugin: passed` added to the response.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_http_context(|_, _| Box::new(Failing));
}}

struct Failing;

impl Context for Failing {}

impl HttpContext for Failing {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        if self.get_http_request_header("x-trap").is_some() {
            panic!("asked to by x-trap");
        }
        if self.get_http_request_header("x-loop").is_some() {
            loop {
                std::hint::black_box(());
            }
        }
        if self.get_http_request_header("x-memory").is_some() {
            // Not written to: that alone would use up the CPU budget first.
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
            }
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.set_http_response_header("x-trap-plugin", Some("passed"));
        Action::Continue
    }
}
