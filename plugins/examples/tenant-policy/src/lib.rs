//! A tenant's policy: refuses requests by a header's value or by their path, and marks those it lets through.
//!
//! Configuration, JSON, every key optional:
//!
//! ```json
//! { "header": "x-coditect-region", "deny_values": ["embargoed"], "deny_path_prefixes": ["/theia/admin"] }
//! ```
//!
//! - A request whose `header` has one of `deny_values` (letter case ignored), or whose path lies under one of
//!   `deny_path_prefixes` (on segment boundaries, however it is spelled), is answered 403 `POLICY_DENIED`.
//! - Any other request gets `x-policy: <tenant>;region=<value>` in place of what the client sent under that name;
//!   the tenant is the property `coditect.tenant_id`, `public` where there is none, the region `none` where there is none.
//! - Every response gets `x-policy-plugin: tenant-policy`.

use std::rc::Rc;

use policy_kit::{Refusal, configuration, excerpt, path, request_header, request_path, tenant};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use serde::Deserialize;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(PolicyRoot::default()));
}}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Policy {
    header: String,
    deny_values: Vec<String>,
    deny_path_prefixes: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            header: "x-coditect-region".to_owned(),
            deny_values: Vec::new(),
            deny_path_prefixes: Vec::new(),
        }
    }
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
enum Reason<'a> {
    Value(&'a str),
    Path(&'a str),
}

impl Policy {
    fn judge<'a>(&'a self, region: Option<&'a str>, path: &str) -> Option<Reason<'a>> {
        if let Some(region) = region
            && self.deny_values.iter().any(|denied| denied.eq_ignore_ascii_case(region))
        {
            return Some(Reason::Value(region));
        }
        let prefix = self.deny_path_prefixes.iter().find(|prefix| path::is_under(path, prefix))?;
        Some(Reason::Path(prefix))
    }
}

#[derive(Default)]
struct PolicyRoot {
    policy: Rc<Policy>,
}

impl Context for PolicyRoot {}

impl RootContext for PolicyRoot {
    fn on_configure(&mut self, _size: usize) -> bool {
        let Some(policy) = configuration::<Policy>(self, "tenant-policy") else { return false };
        if let Err(error) = path::check_prefixes(&policy.deny_path_prefixes) {
            log::error!("tenant-policy: the configuration is refused: {error}");
            return false;
        }
        self.policy = Rc::new(policy);
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(PolicyRequest { policy: Rc::clone(&self.policy) }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct PolicyRequest {
    policy: Rc<Policy>,
}

impl PolicyRequest {
    fn refuse(&self, tenant: &str, reason: &Reason<'_>) {
        let message = match reason {
            Reason::Value(_) => "this tenant's policy does not allow requests from there",
            Reason::Path(_) => "this tenant's policy does not allow that path",
        };
        match reason {
            Reason::Value(value) => log::info!("refused for {tenant}: value {:?}", excerpt(value)),
            Reason::Path(prefix) => log::info!("refused for {tenant}: path under {prefix:?}"),
        }
        Refusal::new(403, "POLICY_DENIED", message).send(self, &[]);
    }
}

impl Context for PolicyRequest {}

impl HttpContext for PolicyRequest {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let region = request_header(self, &self.policy.header);
        let tenant = tenant(self);
        if let Some(reason) = self.policy.judge(region.as_deref(), &request_path(self)) {
            self.refuse(&tenant, &reason);
            return Action::Pause;
        }
        let region = region.as_deref().filter(|region| is_plain(region)).unwrap_or("none");
        self.set_http_request_header("x-policy", Some(&format!("{tenant};region={region}")));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.set_http_response_header("x-policy-plugin", Some("tenant-policy"));
        Action::Continue
    }
}

/// What may stand in `x-policy` as it is: the separators of that header cannot be smuggled in.
fn is_plain(region: &str) -> bool {
    !region.is_empty()
        && region.len() <= 64
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_paths_are_denied() {
        let policy = Policy {
            deny_values: vec!["embargoed".to_owned()],
            deny_path_prefixes: vec!["/theia/admin".to_owned()],
            ..Policy::default()
        };
        assert_eq!(policy.judge(Some("Embargoed"), "/"), Some(Reason::Value("Embargoed")));
        assert_eq!(policy.judge(None, "/theia/admin/x"), Some(Reason::Path("/theia/admin")));
        assert_eq!(policy.judge(Some("eu"), "/theia/administrators"), None);
    }

    #[test]
    fn a_region_cannot_smuggle_separators() {
        assert!(is_plain("eu-west-1"));
        for region in ["", "a;b", "a b", "a,b", "\u{e4}"] {
            assert!(!is_plain(region), "{region}");
        }
        assert!(!is_plain(&"a".repeat(65)));
    }
}
