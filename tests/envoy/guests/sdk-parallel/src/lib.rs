//! Several calls at once: asks three services, and puts what they said into the response when all have answered.

use log::info;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};
use std::time::Duration;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_http_context(|_, _| Box::new(Parallel { tokens: vec![], answers: vec![] }));
}}

struct Parallel {
    tokens: Vec<u32>,
    /// Status and body by the place of the call, in the order they came.
    answers: Vec<(usize, String)>,
}

impl HttpContext for Parallel {
    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        let path = self.get_property(vec!["plugin_name"]).unwrap_or_default();
        let path = String::from_utf8_lossy(&path).into_owned();
        for service in 0..3 {
            let path = format!("/{path}/service/{service}");
            let head = vec![(":method", "GET"), (":path", &path), (":authority", "calls.test")];
            match self.dispatch_http_call("calls", head, None, vec![], Duration::from_secs(5)) {
                Ok(token) => self.tokens.push(token),
                Err(status) => info!("no call: {status:?}"),
            }
        }
        Action::Pause
    }
}

impl Context for Parallel {
    fn on_http_call_response(&mut self, token: u32, _headers: usize, body_size: usize, _trailers: usize) {
        let body = self.get_http_call_response_body(0, body_size).unwrap_or_default();
        let place = self.tokens.iter().position(|made| *made == token).unwrap_or(usize::MAX);
        self.answers.push((place, String::from_utf8_lossy(&body).into_owned()));
        if self.answers.len() < self.tokens.len() {
            return;
        }
        self.answers.sort();
        for (place, body) in &self.answers {
            self.set_http_response_header(&format!("x-service-{place}"), Some(body));
        }
        info!("all have answered");
        self.resume_http_response();
    }
}
