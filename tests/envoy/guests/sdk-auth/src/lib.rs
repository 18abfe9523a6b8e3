//! As the SDK's `http_auth_random`: asks a service about each request and goes on only if the first byte is even.

use log::info;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};
use std::time::Duration;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_http_context(|_, _| Box::new(Auth));
}}

struct Auth;

impl HttpContext for Auth {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let question = [(":method", "GET"), (":path", path.as_str()), (":authority", "auth.test")];
        match self.dispatch_http_call("calls", question.to_vec(), None, vec![], Duration::from_secs(5)) {
            Ok(_) => Action::Pause,
            Err(status) => {
                info!("no call: {status:?}");
                self.send_http_response(500, vec![], None);
                Action::Pause
            }
        }
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.set_http_response_header("powered-by", Some("proxy-wasm"));
        Action::Continue
    }
}

impl Context for Auth {
    fn on_http_call_response(&mut self, _token: u32, _headers: usize, body_size: usize, _trailers: usize) {
        let body = self.get_http_call_response_body(0, body_size).unwrap_or_default();
        if body.first().is_some_and(|byte| byte % 2 == 0) {
            info!("access granted");
            self.resume_http_request();
        } else {
            info!("access forbidden");
            self.send_http_response(403, vec![("powered-by", "proxy-wasm")], Some(b"Access forbidden.\n"));
        }
    }
}
