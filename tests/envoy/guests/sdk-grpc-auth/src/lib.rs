//! As the SDK's `grpc_auth_random`: refuses what is not gRPC, and lets a gRPC service decide about the rest by its status.

use log::info;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, GrpcStatusCode, LogLevel};
use std::time::Duration;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_http_context(|_, _| Box::new(Auth));
}}

struct Auth;

impl HttpContext for Auth {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let content = self.get_http_request_header("content-type").unwrap_or_default();
        if !content.starts_with("application/grpc") {
            let body = b"Service accessible only to gRPC clients.\n";
            self.send_http_response(503, vec![("powered-by", "proxy-wasm")], Some(body));
            return Action::Pause;
        }
        let path = self.get_http_request_header(":path").unwrap_or_default();
        if path.contains("/grpc.reflection") {
            return Action::Continue;
        }
        // The service's method is chosen by the request, so that a test decides what it answers.
        let method = self.get_http_request_header("x-method").unwrap_or_default();
        let asked =
            self.dispatch_grpc_call("grpc", "test.Auth", &method, vec![], Some(b"?"), Duration::from_secs(5));
        if let Err(status) = asked {
            info!("no call: {status:?}");
            self.send_http_response(500, vec![], None);
        }
        Action::Pause
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.set_http_response_header("powered-by", Some("proxy-wasm"));
        Action::Continue
    }
}

impl Context for Auth {
    fn on_grpc_call_response(&mut self, _token: u32, status: u32, _size: usize) {
        if status % 2 == 0 {
            info!("access granted by {status}");
            self.resume_http_request();
        } else {
            info!("access forbidden by {status}");
            let metadata = vec![("powered-by", b"proxy-wasm".as_slice())];
            self.send_grpc_response(GrpcStatusCode::Aborted, Some("Aborted by the guest"), metadata);
        }
    }
}
