//! Who may come from where: an allow-list of paths, and for each of addresses.
//!
//! Configuration, JSON:
//!
//! ```json
//! { "rules": [
//!     { "path": "/", "allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.66.0.0/16"] },
//!     { "path": "/status", "allow": ["any"] }
//! ] }
//! ```
//!
//! - `path`: the rule is for what lies under it, on segment boundaries; of several the longest decides, alone. Other
//!   spellings of a path (`/%73tatus`, `/x/../status`) are the same path. A request that no rule is for is refused.
//! - `allow`, `deny`: networks in CIDR notation, single addresses, or `any`. An address passes that is in one of
//!   `allow` and in none of `deny`.
//!
//! The address is the property `source.address`: the peer of the connection, or whom the edge takes for it behind a
//! trusted balancer. A request header is never believed. Who is refused gets 403 `ADDRESS_NOT_ALLOWED` or
//! `PATH_NOT_ALLOWED`; `ip_allow_list_refused` counts both.

mod network;
mod rules;

use std::rc::Rc;

use policy_kit::{Counter, Refusal, address, configuration, excerpt, request_path};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

use rules::{Rules, Verdict};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(AllowListRoot::default()));
}}

#[derive(Default)]
struct AllowListRoot {
    rules: Rc<Rules>,
    refused: Option<Counter>,
}

impl Context for AllowListRoot {}

impl RootContext for AllowListRoot {
    fn on_configure(&mut self, _size: usize) -> bool {
        let Some(rules) = configuration(self, "ip-allow-list") else { return false };
        self.rules = Rc::new(rules);
        self.refused = Counter::define("ip_allow_list_refused");
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(AllowList { rules: Rc::clone(&self.rules), refused: self.refused }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct AllowList {
    rules: Rc<Rules>,
    refused: Option<Counter>,
}

impl Context for AllowList {}

impl HttpContext for AllowList {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let path = request_path(self);
        let source = address::source(self);
        let refusal = match self.rules.judge(&path, source) {
            Verdict::Pass => return Action::Continue,
            Verdict::Path => Refusal::new(403, "PATH_NOT_ALLOWED", "this path is not open"),
            Verdict::Address => {
                Refusal::new(403, "ADDRESS_NOT_ALLOWED", "this path is not open to your address")
            }
        };
        let from = source.map_or_else(|| "an unknown address".to_owned(), |source| source.to_string());
        log::info!("{} for {from}: {:?}", refusal.code, excerpt(&path));
        if let Some(refused) = self.refused {
            refused.increment();
        }
        refusal.send(self, &[]);
        Action::Pause
    }
}
