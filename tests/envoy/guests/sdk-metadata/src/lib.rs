//! As the SDK's `envoy_filter_metadata`: answers with a value that another filter left in the stream's metadata.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_http_context(|_, _| Box::new(Metadata));
}}

struct Metadata;

impl Context for Metadata {}

impl HttpContext for Metadata {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let path = vec!["metadata", "filter_metadata", "envoy.filters.http.lua", "custom-metadata"];
        let Some(value) = self.get_property(path).and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return Action::Continue;
        };
        let body = format!("The metadata says {value:?}\n");
        self.send_http_response(200, vec![("custom-metadata", &value)], Some(body.as_bytes()));
        Action::Pause
    }
}
