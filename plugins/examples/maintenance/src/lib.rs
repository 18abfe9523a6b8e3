//! A maintenance page in place of everything, but for what and who may still pass.
//!
//! Configuration, JSON, every key optional:
//!
//! ```json
//! { "from": "2026-01-10T02:00:00Z", "until": "2026-01-10T04:00:00Z", "retry_after_seconds": 300,
//!   "message": "We are moving house.", "allow_paths": ["/health"], "allow_users": ["6f1f3c58-…"] }
//! ```
//!
//! - `from`, `until`: the window, UTC, its end not included. Without `from` it has begun, without `until` it does not
//!   end. So a window can be announced to the edge days before.
//! - `retry_after_seconds` (1 to 86 400, default 300) goes into `retry-after`; less where the window ends sooner.
//! - `message`: what people read, plain text, at most 1000 bytes.
//! - `allow_paths`: what stays open to all, on segment boundaries. `allow_users`: ids of users who notice nothing.
//!
//! The answer is 503 `MAINTENANCE`: a page for who accepts `text/html`, else JSON. `maintenance_refused` counts.

mod page;
mod settings;

use std::rc::Rc;

use policy_kit::{Counter, Refusal, configuration, path, request_header, request_path, user};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use settings::Settings;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(MaintenanceRoot::default()));
}}

#[derive(Default)]
struct MaintenanceRoot {
    settings: Option<Rc<Settings>>,
    refused: Option<Counter>,
}

impl Context for MaintenanceRoot {}

impl RootContext for MaintenanceRoot {
    fn on_configure(&mut self, _size: usize) -> bool {
        let Some(settings) = configuration(self, "maintenance") else { return false };
        self.settings = Some(Rc::new(settings));
        self.refused = Counter::define("maintenance_refused");
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Maintenance { settings: Rc::clone(self.settings.as_ref()?), refused: self.refused }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Maintenance {
    settings: Rc<Settings>,
    refused: Option<Counter>,
}

impl Maintenance {
    fn refuse(&self, retry_after: u64) -> Action {
        if let Some(refused) = self.refused {
            refused.increment();
        }
        let retry_after = retry_after.to_string();
        let accepts = request_header(self, "accept").unwrap_or_default();
        if accepts.to_ascii_lowercase().contains("text/html") {
            let headers = vec![
                ("content-type", "text/html; charset=utf-8"),
                ("cache-control", "no-store"),
                ("vary", "accept"),
                ("retry-after", &retry_after),
            ];
            self.send_http_response(503, headers, Some(page::render(&self.settings.message).as_bytes()));
        } else {
            let refusal = Refusal::new(503, "MAINTENANCE", self.settings.message.as_str());
            refusal.send(self, &[("vary", "accept"), ("retry-after", &retry_after)]);
        }
        Action::Pause
    }
}

impl Context for Maintenance {}

impl HttpContext for Maintenance {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let Some(retry_after) = self.settings.retry_after(self.get_current_time()) else {
            return Action::Continue;
        };
        let user_may = user(self).is_some_and(|user| self.settings.allow_users.contains(&user));
        if user_may || path::is_under_any(&request_path(self), &self.settings.allow_paths) {
            return Action::Continue;
        }
        self.refuse(retry_after)
    }
}
