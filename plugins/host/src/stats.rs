//! What happened so far, for metrics: of one plugin, and of the engine.

use crate::budget::BudgetCounts;

/// What happened to a plugin since it was loaded, and what of it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginStats {
    /// Guest functions called, the canary's included.
    pub callbacks: u64,
    /// Those that trapped.
    pub traps: u64,
    /// Instances alive now.
    pub instances: u64,
    /// Tenants that have instances now. `instances` beside `tenants` times
    /// [`Limits::instances_per_tenant`](crate::Limits) tells how much of what they may have is used.
    pub tenants: u64,
    /// Instances started, the canary included.
    pub instances_started: u64,
    /// Idle instances that made room for others.
    pub instances_evicted: u64,
    /// Streams that had to share a busy instance because the tenant had all it may have: this grows when
    /// [`Limits::instances_per_tenant`](crate::Limits) is the bottleneck.
    pub instances_shared: u64,
    /// Streams refused because no instance could be had at all: this grows when
    /// [`EngineSettings::max_instances`](crate::EngineSettings) is too small.
    pub exhausted: u64,
    /// Tenants the plugin is in quarantine for now.
    pub quarantined: u64,
    /// Streams refused because of it.
    pub refused_in_quarantine: u64,
    /// Lines beyond [`Limits::log_lines_per_second`](crate::Limits).
    pub log_lines_dropped: u64,
    /// Streams and events that found too many callbacks of a slow plugin waiting.
    pub refused_busy: u64,
    /// How often guests crossed each budget, summed over tenants.
    pub budgets_crossed: BudgetCounts,
}

/// What all plugins of an engine use together, and what happened since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineStats {
    /// Instances alive now.
    pub instances: u32,
    /// [`EngineSettings::max_instances`](crate::EngineSettings). As long as `instances` is below it, the pool is no
    /// bottleneck; then `instances_evicted` grows, and when nothing is idle, `exhausted`.
    pub max_instances: u32,
    /// Idle instances that made room for others.
    pub instances_evicted: u64,
    /// Instances that found no room.
    pub exhausted: u64,
    /// Compiled modules alive now.
    pub modules: usize,
    /// Modules that were compiled, those with errors and those only checked included.
    pub modules_compiled: u64,
    /// Modules taken from the cache on disk instead.
    pub modules_from_cache: u64,
    /// Files of the cache that were damaged or not this process' own, and were removed.
    pub cache_files_rejected: u64,
    /// Times that the cache could not be read or written.
    pub cache_failures: u64,
}
