//! A tenant's policy: refuses requests by a header's value or by their path, and marks those it lets through.
//!
//! Configuration, JSON, every key optional:
//!
//! ```json
//! { "header": "x-coditect-region", "deny_values": ["embargoed"], "deny_path_prefixes": ["/theia/admin"] }
//! ```
//!
//! - A request whose `header` has one of `deny_values` (letter case ignored), or whose path lies under one of
//!   `deny_path_prefixes` (on segment boundaries), is answered 403 `POLICY_DENIED`.
//! - Any other request gets `x-policy: <tenant>;region=<value>` in place of what the client sent under that name;
//!   the tenant is the property `coditect.tenant`, `public` where there is none, the region `none` where there is none.
//! - Every response gets `x-policy-plugin: tenant-policy`.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use serde::{Deserialize, Serialize};

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
enum Refusal<'a> {
    Value(&'a str),
    Path(&'a str),
}

impl Policy {
    fn judge<'a>(&'a self, region: Option<&'a str>, path: &str) -> Option<Refusal<'a>> {
        if let Some(region) = region
            && self.deny_values.iter().any(|denied| denied.eq_ignore_ascii_case(region))
        {
            return Some(Refusal::Value(region));
        }
        let prefix = self.deny_path_prefixes.iter().find(|prefix| is_under(path, prefix))?;
        Some(Refusal::Path(prefix))
    }
}

/// Whether `path` is `prefix` or lies below it. The query does not count.
fn is_under(path: &str, prefix: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
        None => false,
    }
}

/// The body of a refusal, in the form of all the product's errors.
#[derive(Serialize)]
struct Envelope {
    success: bool,
    data: Option<()>,
    error: ErrorBody,
}

#[derive(Serialize)]
struct ErrorBody {
    code: &'static str,
    message: &'static str,
}

#[derive(Default)]
struct PolicyRoot {
    policy: Rc<Policy>,
}

impl Context for PolicyRoot {}

impl RootContext for PolicyRoot {
    fn on_configure(&mut self, _size: usize) -> bool {
        // No configuration at all is the policy that denies nothing.
        let bytes = self.get_plugin_configuration().unwrap_or_else(|| b"{}".to_vec());
        match serde_json::from_slice(&bytes) {
            Ok(policy) => {
                self.policy = Rc::new(policy);
                true
            }
            Err(error) => {
                log::error!("tenant-policy: the configuration is no policy: {error}");
                false
            }
        }
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
    /// The tenant id the edge verified, not what any client says.
    fn tenant(&self) -> String {
        let tenant = self.get_property(vec!["coditect", "tenant"]);
        tenant.and_then(|tenant| String::from_utf8(tenant).ok()).unwrap_or_else(|| "public".to_owned())
    }

    fn refuse(&self, tenant: &str, refusal: &Refusal<'_>) {
        let message = match refusal {
            Refusal::Value(_) => "this tenant's policy does not allow requests from there",
            Refusal::Path(_) => "this tenant's policy does not allow that path",
        };
        match refusal {
            Refusal::Value(value) => log::info!("refused for {tenant}: value {value:?}"),
            Refusal::Path(prefix) => log::info!("refused for {tenant}: path under {prefix:?}"),
        }
        let error = ErrorBody { code: "POLICY_DENIED", message };
        let body = serde_json::to_vec(&Envelope { success: false, data: None, error }).unwrap_or_default();
        let headers = vec![("content-type", "application/json"), ("cache-control", "no-store")];
        self.send_http_response(403, headers, Some(&body));
    }
}

impl Context for PolicyRequest {}

impl HttpContext for PolicyRequest {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let region = self.get_http_request_header_bytes(&self.policy.header);
        let region = region.map(|region| String::from_utf8_lossy(&region).into_owned());
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let tenant = self.tenant();
        if let Some(refusal) = self.policy.judge(region.as_deref(), &path) {
            self.refuse(&tenant, &refusal);
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
