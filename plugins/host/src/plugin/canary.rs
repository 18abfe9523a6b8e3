//! Trying a plugin out: its module compiled, one instance started, configured, and thrown away.

use std::sync::{Arc, Mutex};

use super::PluginConfig;
use crate::check::CheckDepth;
use crate::engine::EngineInner;
use crate::error::{LoadReason, StartError};
use crate::instance::{self, Instance};
use crate::mailbox::Mailbox;
use crate::module::CompiledModule;
use crate::modules::Keep;
use crate::quarantine::{QuarantineTable, Rule};
use crate::scope::{Counters, PluginFacts, Scope, vm_scope};

/// The canary's tenant in logs and reports. No real tenant can have it: it is no UUID and not `public`.
const CANARY_TENANT: &str = "(canary)";

/// The canary shares nothing: what it counts and stores is gone with it.
fn canary_scope(engine: &EngineInner, facts: &Arc<PluginFacts>) -> Arc<Scope> {
    let shared_data = Arc::new(engine.shared_data.private());
    Arc::new(Scope::new(Arc::clone(facts), CANARY_TENANT.into(), shared_data, Arc::default(), true))
}

/// Compiles a plugin's module and starts a canary of it, as far as `depth`.
pub(super) fn try_out(
    engine: &Arc<EngineInner>,
    config: PluginConfig,
    depth: CheckDepth,
    keep: Keep,
) -> Result<(Arc<CompiledModule>, Arc<PluginFacts>), LoadReason> {
    let (name, version): (Arc<str>, Arc<str>) = (config.name.into(), config.version.into());
    let quarantine = QuarantineTable::new(Rule {
        plugin: Arc::clone(&name),
        version: Arc::clone(&version),
        traps: config.quarantine_traps,
        window: config.quarantine_window,
    });
    let facts = Arc::new(PluginFacts {
        name,
        version,
        quarantine,
        root_id: config.root_id,
        vm_id: vm_scope(&config.owner, &config.vm_id),
        guest_vm_id: config.vm_id,
        owner: config.owner,
        upstreams: config.upstreams,
        tracer: config.tracer,
        meter: engine.meter(),
        vm_configuration: config.vm_configuration,
        configuration: config.configuration,
        log_level: config.log_level,
        limits: config.limits,
        environment: Arc::clone(&engine.environment),
        threads: Arc::clone(&engine.threads),
        counters: Counters::default(),
        retired_metrics: Mutex::default(),
    });
    let scope = canary_scope(engine, &facts);
    let probe = instance::store(&engine.runtime, Arc::clone(&scope), nobody(), &engine.ticking());
    let module = engine.module(&config.wasm, probe, keep)?;
    start_canary(engine, &module, scope, depth).map_err(LoadReason::Canary)?;
    Ok((module, facts))
}

fn start_canary(
    engine: &EngineInner,
    module: &CompiledModule,
    scope: Arc<Scope>,
    depth: CheckDepth,
) -> Result<(), StartError> {
    let place = engine.place().map_err(|limit| StartError::Exhausted { limit })?;
    let ticking = engine.ticking();
    Counters::add(&scope.plugin.counters.instances_started);
    let store = instance::store(&engine.runtime, scope, nobody(), &ticking);
    let mut canary = Instance::start(module, place, store, ticking)?;
    if depth == CheckDepth::Configured {
        canary.configure()?;
    }
    canary.end_root()?;
    Ok(())
}

/// A canary's mailbox: its ticks do not come, its calls are not answered.
fn nobody() -> Arc<Mailbox> {
    Mailbox::new(Arc::default())
}
