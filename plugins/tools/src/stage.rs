//! Where plugins are loaded for a tool: the production host's engine, over a world that only the tool moves.

use crate::environment::World;
use crate::suite::PluginSettings;
use coditect_proxy_wasm::{
    Engine, EngineError, EngineSettings, Environment, LoadError, Meter, Plugin, PluginConfig, Tracer,
};
use std::sync::Arc;

/// Instances that a tool has room for: enough for the tenants of any file of cases.
const MAX_INSTANCES: u32 = 256;

/// An engine and its world.
pub struct Stage {
    /// The host.
    pub engine: Engine,
    /// What plugins see of the world.
    pub world: Arc<World>,
}

impl Stage {
    /// Sets it up, with the clock at `realtime` in nanoseconds since 1970. Fuel makes a run the same on any machine.
    ///
    /// # Errors
    /// The host cannot start.
    pub fn new(realtime: u64, meter: Meter) -> Result<Self, EngineError> {
        let world = Arc::new(World::new(realtime));
        let environment: Arc<dyn Environment> = Arc::clone(&world) as _;
        // One thing after the other: what waits here waits for the case's answers, not for another thread.
        let settings = EngineSettings {
            max_instances: MAX_INSTANCES,
            own_threads: false,
            meter,
            ..EngineSettings::default()
        };
        let engine = Engine::new(settings, environment)?;
        Ok(Self { engine, world })
    }

    /// Loads a plugin as the edge would: compiled, checked, and tried out with its configuration.
    ///
    /// # Errors
    /// What the host refuses it for.
    pub fn load(
        &self,
        name: &str,
        wasm: &Arc<[u8]>,
        settings: &PluginSettings,
        tracer: Option<Arc<dyn Tracer>>,
    ) -> Result<Plugin, LoadError> {
        self.engine.load(plugin_config(name, wasm, settings, tracer))
    }
}

/// The host's configuration of a plugin.
pub(crate) fn plugin_config(
    name: &str,
    wasm: &Arc<[u8]>,
    settings: &PluginSettings,
    tracer: Option<Arc<dyn Tracer>>,
) -> PluginConfig {
    let mut config = PluginConfig::new(name, Arc::clone(wasm));
    config.root_id.clone_from(&settings.root_id);
    config.vm_id.clone_from(&settings.vm_id);
    config.vm_configuration.clone_from(&settings.vm_configuration);
    config.configuration.clone_from(&settings.configuration);
    config.failure_mode = settings.failure_mode;
    config.log_level = settings.log_level;
    config.limits = settings.limits.clone();
    config.upstreams.clone_from(&settings.upstreams);
    config.stop_iteration = settings.stop_iteration;
    config.tracer = tracer;
    // Here a plugin may fail as often as its cases want.
    config.quarantine_traps = 0;
    config
}
