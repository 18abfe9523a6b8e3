//! A plugin as it is configured.

use std::sync::Arc;
use std::time::Duration;

use crate::abi::LogLevel;
use crate::limits::Limits;
use crate::trace::Tracer;

/// What becomes of a request whose plugin trapped. The embedder acts on it; the host only keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureMode {
    /// The request is answered 503.
    #[default]
    Closed,
    /// The request goes on as if the plugin were not there.
    Open,
}

/// A plugin as it is configured.
#[derive(Clone)]
pub struct PluginConfig {
    /// Its name in the configuration, in logs and metrics, and its property `plugin_name`.
    pub name: String,
    /// The module, in the binary format.
    pub wasm: Arc<[u8]>,
    /// The root id a module with several roots tells them apart by; property `plugin_root_id`.
    pub root_id: String,
    /// Names the scope of shared data and queues; property `plugin_vm_id`.
    pub vm_id: String,
    /// Whose plugin it is, in the embedder's words: a `vm_id` of one owner is another one than the same of another's.
    pub owner: String,
    /// Its version, in the embedder's words; for reports.
    pub version: String,
    /// The upstreams it may call, by name. None by default.
    pub upstreams: Vec<String>,
    /// Whether a pause at headers holds back the headers only, while the body comes to the plugin: Envoy's
    /// `allow_on_headers_stop_iteration`. False by default: then such a pause holds everything back.
    pub stop_iteration: bool,
    /// Sees every call in either direction. None by default; each call costs more with one.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// What `proxy_on_vm_start` can read.
    pub vm_configuration: Vec<u8>,
    /// What `proxy_on_configure` can read: any bytes, most plugins want JSON.
    pub configuration: Vec<u8>,
    /// What becomes of requests when it fails.
    pub failure_mode: FailureMode,
    /// Messages below are dropped; what `proxy_get_log_level` answers.
    pub log_level: LogLevel,
    /// What it may use.
    pub limits: Limits,
    /// After this many traps and failed starts for one tenant within [`quarantine_window`](Self::quarantine_window) it
    /// is not started for that tenant any more ([`StreamError::Quarantined`]), until it is released or replaced.
    /// Default 10; 0 means never; at most [`MAX_QUARANTINE_TRAPS`](crate::MAX_QUARANTINE_TRAPS).
    pub quarantine_traps: u32,
    /// Default 60 s.
    pub quarantine_window: Duration,
}

impl PluginConfig {
    /// A plugin without ids and configuration, closed, with default limits.
    #[must_use]
    pub fn new(name: impl Into<String>, wasm: impl Into<Arc<[u8]>>) -> Self {
        Self {
            name: name.into(),
            wasm: wasm.into(),
            root_id: String::new(),
            vm_id: String::new(),
            owner: String::new(),
            version: String::new(),
            upstreams: Vec::new(),
            stop_iteration: false,
            tracer: None,
            vm_configuration: Vec::new(),
            configuration: Vec::new(),
            failure_mode: FailureMode::default(),
            log_level: LogLevel::default(),
            limits: Limits::default(),
            quarantine_traps: 10,
            quarantine_window: Duration::from_secs(60),
        }
    }
}
