//! As the SDK's `http_headers`: logs the headers both ways, and answers `/…/hello` itself.

use log::info;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Headers))
    }
}

struct Headers;

impl Context for Headers {}

impl HttpContext for Headers {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        for (name, value) in self.get_http_request_headers() {
            info!("-> {name}: {value}");
        }
        if self.get_http_request_header(":path").is_some_and(|path| path.ends_with("/hello")) {
            let headers = vec![("hello", "World"), ("powered-by", "proxy-wasm")];
            self.send_http_response(200, headers, Some(b"Hello, World!\n"));
            return Action::Pause;
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        for (name, value) in self.get_http_response_headers() {
            info!("<- {name}: {value}");
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        info!("completed");
    }
}
