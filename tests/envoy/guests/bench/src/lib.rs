//! The filters that tests/load/plugins measures, one module for all. The configuration chooses:
//! `request` reads one request header and adds another, `response` does so with response headers, `body` holds the
//! response body, searches it and changes its end, `refuse` answers 403, `loop` never comes back.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root { work: Work::Request }));
}}

#[derive(Clone, Copy)]
enum Work {
    Request,
    Response,
    Body,
    Refuse,
    Loop,
}

struct Root {
    work: Work,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        self.work = match self.get_plugin_configuration().as_deref() {
            Some(b"request") => Work::Request,
            Some(b"response") => Work::Response,
            Some(b"body") => Work::Body,
            Some(b"refuse") => Work::Refuse,
            Some(b"loop") => Work::Loop,
            _ => return false,
        };
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { work: self.work }))
    }
}

struct Stream {
    work: Work,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        match self.work {
            Work::Request => {
                let known = self.get_http_request_header("x-known").is_some();
                self.add_http_request_header("x-policy", if known { "known" } else { "unknown" });
            }
            Work::Refuse => {
                self.send_http_response(403, vec![("x-policy", "refused")], Some(b"refused\n"));
                return Action::Pause;
            }
            Work::Loop => loop {
                std::hint::spin_loop();
            },
            Work::Response | Work::Body => {}
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        if let Work::Response = self.work {
            let typed = self.get_http_response_header("content-type").is_some();
            self.add_http_response_header("x-policy", if typed { "typed" } else { "untyped" });
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if !matches!(self.work, Work::Body) {
            return Action::Continue;
        }
        if !end {
            return Action::Pause;
        }
        let body = self.get_http_response_body(0, size).unwrap_or_default();
        if !body.windows(6).any(|word| word == b"secret") {
            // As long as before: the length in the headers stays true.
            self.set_http_response_body(0, size, &body);
        }
        Action::Continue
    }
}
