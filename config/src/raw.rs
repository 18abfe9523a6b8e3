//! The file as it is written. Unknown keys are refused; everything else is checked in [`crate::validate`].

use crate::problem::{ConfigError, Problem, line_of};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// A value and where it stands.
pub(crate) type At<T> = Spanned<T>;
/// A value that may be left out.
pub(crate) type Opt<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    pub(crate) server: Server,
    pub(crate) store: Store,
    pub(crate) auth: Auth,
    pub(crate) audit: Audit,
    pub(crate) limits: Limits,
    pub(crate) files: Files,
    pub(crate) terminal: Terminal,
    pub(crate) upstreams: BTreeMap<At<String>, Upstream>,
    pub(crate) plugins: BTreeMap<At<String>, Plugin>,
    pub(crate) plugin_host: PluginHost,
    pub(crate) plugin_chain: Vec<At<PluginUse>>,
    pub(crate) routes: Vec<At<Route>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    pub(crate) http: Opt<String>,
    pub(crate) admin: Opt<String>,
    pub(crate) threads: Opt<i64>,
    pub(crate) max_connections: Opt<i64>,
    pub(crate) access_log: Option<bool>,
    pub(crate) drain_seconds: Opt<i64>,
    pub(crate) client_timeout_seconds: Opt<i64>,
    pub(crate) keepalive_seconds: Opt<i64>,
    pub(crate) allowed_origins: Option<Vec<At<String>>>,
    pub(crate) trusted_proxies: Option<Vec<At<String>>>,
    pub(crate) workspace_host: Opt<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    pub(crate) root: Opt<String>,
    pub(crate) path: Opt<String>,
    pub(crate) socket: Opt<String>,
    pub(crate) foundationdb: FoundationDb,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FoundationDb {
    pub(crate) cluster_file: Opt<String>,
    pub(crate) transaction_timeout_ms: Opt<i64>,
    pub(crate) connect_timeout_seconds: Opt<i64>,
    pub(crate) trace_dir: Opt<String>,
    pub(crate) tls_cert: Opt<String>,
    pub(crate) tls_key: Opt<String>,
    pub(crate) tls_ca: Opt<String>,
    pub(crate) tls_verify_peers: Opt<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Files {
    pub(crate) quota_bytes_per_tenant: Opt<i64>,
    pub(crate) quota_files_per_tenant: Opt<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Auth {
    pub(crate) key_file: Opt<String>,
    pub(crate) key_set: Opt<String>,
    pub(crate) issuer: Opt<String>,
    pub(crate) audience: Opt<String>,
    pub(crate) access_token_seconds: Opt<i64>,
    pub(crate) family_seconds: Opt<i64>,
    pub(crate) refresh_grace_seconds: Opt<i64>,
    pub(crate) operator_tenant: Opt<String>,
    pub(crate) password: Password,
    pub(crate) throttle: Throttle,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Password {
    pub(crate) memory_kib: Opt<i64>,
    pub(crate) iterations: Opt<i64>,
    pub(crate) parallelism: Opt<i64>,
    pub(crate) workers: Opt<i64>,
    pub(crate) queue: Opt<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    pub(crate) key_file: Opt<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) workspaces_per_user: Opt<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Throttle {
    pub(crate) per_account_per_minute: Opt<i64>,
    pub(crate) per_account_burst: Opt<i64>,
    pub(crate) per_address_per_minute: Opt<i64>,
    pub(crate) per_address_burst: Opt<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Terminal {
    pub(crate) shell: Opt<String>,
    pub(crate) workspace_root: Opt<String>,
    pub(crate) sandbox: Opt<String>,
    pub(crate) max_per_session: Opt<i64>,
    pub(crate) max_per_user: Opt<i64>,
    pub(crate) max_total: Opt<i64>,
    pub(crate) scrollback_bytes: Opt<i64>,
    pub(crate) idle_after_exit_seconds: Opt<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) address: At<String>,
    pub(crate) protocol: Opt<String>,
    pub(crate) connect_timeout_ms: Opt<i64>,
    pub(crate) response_timeout_seconds: Opt<i64>,
    pub(crate) keepalive_seconds: Opt<i64>,
    pub(crate) calls_per_tenant: Opt<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plugin {
    pub(crate) file: At<String>,
    /// Text as it is, or a table that becomes JSON.
    pub(crate) config: Opt<toml::Value>,
    pub(crate) root_id: Opt<String>,
    pub(crate) vm_id: Opt<String>,
    /// As `config`.
    pub(crate) vm_config: Opt<toml::Value>,
    pub(crate) failure: Opt<String>,
    pub(crate) log_level: Opt<String>,
    pub(crate) stop_iteration: Option<bool>,
    #[serde(default)]
    pub(crate) upstreams: Vec<At<String>>,
    pub(crate) callback_cpu_us: Opt<i64>,
    pub(crate) start_cpu_ms: Opt<i64>,
    pub(crate) memory_kib: Opt<i64>,
    pub(crate) instances_per_tenant: Opt<i64>,
    pub(crate) body_kib: Opt<i64>,
    pub(crate) calls_in_flight: Opt<i64>,
    pub(crate) calls_per_request: Opt<i64>,
    pub(crate) call_body_kib: Opt<i64>,
    pub(crate) queue_messages: Opt<i64>,
    pub(crate) queue_kib: Opt<i64>,
    pub(crate) log_lines_per_second: Opt<i64>,
    pub(crate) metrics: Opt<i64>,
    pub(crate) quarantine_traps: Opt<i64>,
    pub(crate) quarantine_window_seconds: Opt<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PluginHost {
    pub(crate) max_instances: Opt<i64>,
    pub(crate) shared_data_kib: Opt<i64>,
    pub(crate) cache_dir: Opt<String>,
    pub(crate) operator_upstreams: Vec<At<String>>,
    pub(crate) tenant_upstreams: Vec<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) prefix: At<String>,
    pub(crate) auth: At<String>,
    pub(crate) upstream: Opt<String>,
    pub(crate) local: Opt<String>,
    pub(crate) directory: Opt<String>,
    #[serde(default)]
    pub(crate) public: Vec<At<String>>,
    pub(crate) strip_prefix: Option<bool>,
    pub(crate) forward_authorization: Option<bool>,
    pub(crate) max_body_bytes: Opt<i64>,
    pub(crate) plugin_timeout_seconds: Opt<i64>,
    #[serde(default)]
    pub(crate) plugins: Vec<At<PluginUse>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginUse {
    pub(crate) plugin: At<String>,
    pub(crate) tenants: Option<Vec<At<String>>>,
    pub(crate) share_percent: Opt<i64>,
    pub(crate) shadow: Option<bool>,
}

/// Reads the TOML; the error names line, key and what the key may hold.
pub(crate) fn parse(text: &str, name: &str) -> Result<Raw, ConfigError> {
    let problem = |error: &toml::de::Error, key: String| {
        ConfigError::Invalid(vec![Problem {
            file: name.to_owned(),
            line: error.span().map_or(0, |span| line_of(text, span.start)),
            key,
            message: error.message().to_owned(),
        }])
    };
    let deserializer = toml::de::Deserializer::parse(text).map_err(|e| problem(&e, String::new()))?;
    serde_path_to_error::deserialize(deserializer).map_err(|e| {
        let key = e.path().to_string();
        problem(e.inner(), key)
    })
}
