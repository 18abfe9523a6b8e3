//! Loading plugins when a configuration is taken.

use super::Loaded;
use crate::metrics::Metrics;
use coditect_auth::{Clock, Entropy};
use coditect_config::{FailureMode, PluginConfig};
use coditect_proxy_wasm::{
    Engine, EngineError, EngineSettings, Environment, Limits, LoadError, LogRecord, Plugin, log_to_tracing,
};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The largest module read, in bytes.
const MAX_MODULE_BYTES: u64 = 32 * 1024 * 1024;

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
}

/// Loads plugins into one engine. Modules that did not change are compiled once.
pub struct PluginLoader {
    engine: Engine,
}

impl PluginLoader {
    /// An engine for this process.
    ///
    /// # Errors
    /// The runtime could not be set up: address space or a thread is lacking.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, EngineError> {
        let environment = World { clock, entropy, started: Instant::now() };
        Ok(Self { engine: Engine::new(EngineSettings::default(), Arc::new(environment))? })
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
        configs.iter().try_for_each(|config| self.compile(config).map(drop))
    }

    /// Loads one plugin. Takes CPU time in proportion to its module: call it off the request path.
    fn compile(&self, config: &PluginConfig) -> Result<Plugin, PluginError> {
        let (plugin, path) = (config.name.clone(), config.file.clone());
        let read = |source| PluginError::Read { plugin: plugin.clone(), path: path.clone(), source };
        let bytes = std::fs::metadata(&config.file).map_err(read)?.len();
        if bytes > MAX_MODULE_BYTES {
            return Err(PluginError::TooLarge { plugin, path, bytes });
        }
        let wasm = std::fs::read(&config.file).map_err(read)?;
        Ok(self.engine.load(coditect_proxy_wasm::PluginConfig {
            root_id: config.root_id.clone(),
            vm_id: config.vm_id.clone(),
            configuration: config.configuration.clone().into_bytes(),
            failure_mode: match config.failure {
                FailureMode::Closed => coditect_proxy_wasm::FailureMode::Closed,
                FailureMode::Open => coditect_proxy_wasm::FailureMode::Open,
            },
            limits: Limits {
                callback_cpu: config.limits.callback_cpu,
                start_cpu: config.limits.start_cpu,
                memory_bytes: config.limits.memory_bytes,
                instances_per_tenant: config.limits.instances_per_tenant,
                metrics: config.limits.metrics,
                ..Limits::default()
            },
            ..coditect_proxy_wasm::PluginConfig::new(config.name.clone(), wasm)
        })?)
    }

    /// Loads all, by name.
    pub(crate) fn load_all(
        &self,
        configs: &[PluginConfig],
        metrics: &Metrics,
    ) -> Result<HashMap<String, Loaded>, PluginError> {
        configs
            .iter()
            .map(|config| {
                let loaded = Loaded { plugin: self.compile(config)?, metrics: metrics.plugin(&config.name) };
                Ok((config.name.clone(), loaded))
            })
            .collect()
    }
}

/// Time, randomness and log as guests see them.
struct World {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    started: Instant,
}

impl Environment for World {
    fn realtime_nanoseconds(&self) -> u64 {
        u64::try_from(self.clock.now_millis()).unwrap_or_default().saturating_mul(1_000_000)
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&self, buffer: &mut [u8]) {
        self.entropy.fill(buffer);
    }

    fn log(&self, record: &LogRecord<'_>) {
        log_to_tracing(record);
    }
}
