//! Loading plugins into the host: from files, as configured, and from the store's modules. Takes time; never on the
//! request path.

use super::gauges::HostGauges;
use super::loaded::Loaded;
use super::stored::{PluginOwner, StoredPlugin};
use super::world::World;
use crate::callouts::{Callouts, Offer};
use crate::metrics::Metrics;
use coditect_auth::{Clock, Entropy};
use coditect_config::{FailureMode, PluginConfig, PluginHostConfig, Quarantine, UpstreamConfig};
use coditect_proxy_wasm::{Engine, EngineError, EngineSettings, Limits, LoadError, LogLevel, Plugin};
use prometheus::Registry;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest module read, in bytes.
const MAX_MODULE_BYTES: u64 = 32 * 1024 * 1024;

/// The version of a plugin of the configuration is the beginning of its module's SHA-256: so many bytes.
const VERSION_BYTES: usize = 6;

/// Why a plugin could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The module's file could not be read.
    #[error("plugins.{plugin}.file: cannot read {}: {source}. Is it built? (plugins/examples/build compiles the examples)", path.display())]
    Read {
        /// The plugin's name.
        plugin: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is too large to be a plugin.
    #[error("plugins.{plugin}.file: {} has {bytes} bytes, at most {MAX_MODULE_BYTES} are taken", path.display())]
    TooLarge {
        /// The plugin's name.
        plugin: String,
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The host refused it.
    #[error(transparent)]
    Refused(#[from] LoadError),
    /// The thread that loaded it panicked.
    #[error("plugins.{plugin}: loading it failed: {reason}")]
    Panicked {
        /// The plugin's name.
        plugin: String,
        /// What is known of it.
        reason: String,
    },
}

/// What decides whether a plugin of the store has to be loaded anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Made {
    owner: PluginOwner,
    name: String,
    version: u64,
    sha256: [u8; 32],
    root_id: String,
    configuration: Arc<[u8]>,
    fails_open: bool,
    /// The upstreams it may call.
    pub(crate) upstreams: Arc<[String]>,
}

impl Made {
    pub(crate) fn of(owner: PluginOwner, plugin: &StoredPlugin, upstreams: &Arc<[String]>) -> Self {
        Self {
            owner,
            name: plugin.name.clone(),
            version: plugin.version,
            sha256: plugin.sha256,
            root_id: plugin.root_id.clone(),
            configuration: Arc::clone(&plugin.configuration),
            fails_open: plugin.failure == FailureMode::Open,
            upstreams: Arc::clone(upstreams),
        }
    }
}

/// A plugin of the configuration file, and what it was loaded from.
#[derive(Clone)]
pub(crate) struct Configured {
    from: PluginConfig,
    sha256: [u8; 32],
    pub(crate) loaded: Loaded,
}

/// Loads plugins into one engine. Modules that did not change are compiled once.
#[derive(Clone)]
pub struct PluginLoader {
    engine: Engine,
    callouts: Option<Callouts>,
}

impl PluginLoader {
    /// An engine for this process. Without `callouts`, its plugins can call nobody.
    ///
    /// # Errors
    /// The runtime could not be set up: address space or a thread is lacking.
    pub fn new(
        config: &PluginHostConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        callouts: Option<Callouts>,
    ) -> Result<Self, EngineError> {
        let settings = EngineSettings {
            max_instances: config.max_instances,
            shared_data_bytes: config.shared_data_bytes,
            cache_dir: config.cache_dir.clone(),
            ..EngineSettings::default()
        };
        let environment = World { clock, entropy, callouts: callouts.clone(), started: Instant::now() };
        Ok(Self { engine: Engine::new(settings, Arc::new(environment))?, callouts })
    }

    /// Lets plugins call these upstreams, beside those at work, until the configuration is taken or given up.
    pub(crate) fn offer(&self, upstreams: &[UpstreamConfig]) -> Option<Offer> {
        self.callouts.as_ref().map(|callouts| callouts.offer(upstreams))
    }

    /// Has what the host holds told with each scrape of `registry`.
    ///
    /// # Errors
    /// It is told there already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(HostGauges::new(self.engine.clone())?))
    }

    /// The engine that they are loaded into.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether each plugin can be loaded, without keeping it.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn try_load(&self, configs: &[PluginConfig]) -> Result<(), PluginError> {
        configs.iter().try_for_each(|config| self.load_file(config, &read(config)?, "").map(drop))
    }

    /// Loads a plugin of the configuration file, unless `old` is just that. Blocks for as long as it compiles.
    pub(crate) fn configured(
        &self,
        config: &PluginConfig,
        old: Option<Configured>,
        metrics: &Metrics,
    ) -> Result<Configured, PluginError> {
        let wasm = read(config)?;
        let sha256: [u8; 32] = Sha256::digest(&wasm).into();
        if let Some(old) = old.filter(|old| old.from == *config && old.sha256 == sha256) {
            return Ok(old);
        }
        let version = hex::encode(sha256.split_at(VERSION_BYTES).0);
        let loaded = Loaded::new(self.load_file(config, &wasm, &version)?, None, &config.name, metrics);
        Ok(Configured { from: config.clone(), sha256, loaded })
    }

    fn load_file(&self, config: &PluginConfig, wasm: &[u8], version: &str) -> Result<Plugin, PluginError> {
        let never = Quarantine { traps: 0, window: Duration::ZERO };
        let quarantine = config.quarantine.unwrap_or(never);
        Ok(self.engine.load(coditect_proxy_wasm::PluginConfig {
            root_id: config.root_id.clone(),
            vm_id: config.vm_id.clone(),
            version: version.to_owned(),
            upstreams: config.upstreams.clone(),
            stop_iteration: config.stop_iteration,
            vm_configuration: config.vm_configuration.clone().into_bytes(),
            configuration: config.configuration.clone().into_bytes(),
            failure_mode: failure_mode(config.failure),
            log_level: log_level(config.log_level),
            limits: limits(&config.limits),
            quarantine_traps: quarantine.traps,
            quarantine_window: quarantine.window,
            ..coditect_proxy_wasm::PluginConfig::new(config.name.clone(), wasm)
        })?)
    }

    /// Loads a plugin of the store. Blocks for as long as it compiles.
    pub(crate) fn stored(&self, made: &Made, wasm: &[u8]) -> Result<Plugin, LoadError> {
        self.engine.load(coditect_proxy_wasm::PluginConfig {
            root_id: made.root_id.clone(),
            owner: made.owner.kind().to_owned(),
            version: made.version.to_string(),
            upstreams: made.upstreams.to_vec(),
            configuration: made.configuration.to_vec(),
            failure_mode: match made.fails_open {
                true => coditect_proxy_wasm::FailureMode::Open,
                false => coditect_proxy_wasm::FailureMode::Closed,
            },
            ..coditect_proxy_wasm::PluginConfig::new(made.name.clone(), wasm)
        })
    }
}

/// Reads a plugin's file.
fn read(config: &PluginConfig) -> Result<Vec<u8>, PluginError> {
    let (plugin, path) = (config.name.clone(), config.file.clone());
    let failed = |source| PluginError::Read { plugin: plugin.clone(), path: path.clone(), source };
    let bytes = std::fs::metadata(&config.file).map_err(failed)?.len();
    if bytes > MAX_MODULE_BYTES {
        return Err(PluginError::TooLarge { plugin, path, bytes });
    }
    std::fs::read(&config.file).map_err(failed)
}

fn failure_mode(mode: FailureMode) -> coditect_proxy_wasm::FailureMode {
    match mode {
        FailureMode::Closed => coditect_proxy_wasm::FailureMode::Closed,
        FailureMode::Open => coditect_proxy_wasm::FailureMode::Open,
    }
}

fn log_level(level: coditect_config::PluginLogLevel) -> LogLevel {
    use coditect_config::PluginLogLevel as Written;
    match level {
        Written::Trace => LogLevel::Trace,
        Written::Debug => LogLevel::Debug,
        Written::Info => LogLevel::Info,
        Written::Warn => LogLevel::Warn,
        Written::Error => LogLevel::Error,
        Written::Critical => LogLevel::Critical,
    }
}

fn limits(limits: &coditect_config::PluginLimits) -> Limits {
    Limits {
        callback_cpu: limits.callback_cpu,
        start_cpu: limits.start_cpu,
        memory_bytes: limits.memory_bytes,
        instances_per_tenant: limits.instances_per_tenant,
        body_bytes: limits.body_bytes,
        calls_in_flight: limits.calls_in_flight,
        calls_per_stream: limits.calls_per_request,
        call_body_bytes: limits.call_body_bytes,
        queue_messages: limits.queue_messages,
        queue_bytes: limits.queue_bytes,
        log_lines_per_second: limits.log_lines_per_second,
        metrics: limits.metrics,
        ..Limits::default()
    }
}
