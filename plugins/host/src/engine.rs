//! The engine: what all plugins of a process share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig};

use crate::cache::{ModuleCache, WASMTIME_VERSION};
use crate::capacity::{Capacity, Place};
use crate::error::{EngineError, LoadError, LoadReason};
use crate::exchange::Environment;
use crate::limits::{EngineSettings, Limits, MAX_TABLE_ELEMENTS, Meter};
use crate::module::{CompiledModule, Linkers};
use crate::modules::{Keep, Modules};
use crate::plugin::{Plugin, PluginConfig};
use crate::pool::Pool;
use crate::quarantine::MAX_QUARANTINE_TRAPS;
use crate::queues::QueueRegistry;
use crate::schedule::Schedule;
use crate::shared_data::SharedDataRegistry;
use crate::stats::EngineStats;
use crate::threads::Threads;
use crate::ticker::{Ticker, Ticking};

/// Tables of one instance; most modules have one, those with reference types may have a second.
const TABLES_PER_INSTANCE: u32 = 2;

/// The wasm runtime, its instance pool, its epoch thread and its cache of compiled modules.
///
/// Cheap to clone; the last clone (plugins hold one each) stops and joins the epoch's thread, and the others end.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<EngineInner>,
}

pub(crate) struct EngineInner {
    pub(crate) runtime: wasmtime::Engine,
    linkers: Linkers,
    pub(crate) environment: Arc<dyn Environment>,
    settings: EngineSettings,
    capacity: Arc<Capacity>,
    pub(crate) shared_data: SharedDataRegistry,
    pub(crate) queues: QueueRegistry,
    pub(crate) schedule: Arc<Schedule>,
    modules: Modules,
    pools: Mutex<Vec<Weak<Pool>>>,
    /// Grows with each use of an instance: the order of "least recently used".
    uses: AtomicU64,
    evicted: AtomicU64,
    exhausted: AtomicU64,
    pub(crate) threads: Arc<Threads>,
}

impl Engine {
    /// Makes the engine and, where CPU time is the meter, starts its threads.
    ///
    /// # Errors
    /// The runtime refused the settings, the address space could not be reserved, or a thread not started.
    pub fn new(settings: EngineSettings, environment: Arc<dyn Environment>) -> Result<Self, EngineError> {
        let refused = |error: wasmtime::Error| EngineError::Runtime {
            max_instances: settings.max_instances,
            reason: format!("{error:#}"),
        };
        let config = runtime_config(&settings).map_err(refused)?;
        let runtime = wasmtime::Engine::new(&config).map_err(refused)?;
        let linkers = Linkers::new(&runtime).map_err(refused)?;
        let ticker = match settings.meter {
            Meter::Fuel => None,
            Meter::CpuTime => {
                let ticked = runtime.clone();
                let ticker = Ticker::start(settings.epoch_interval, move || ticked.increment_epoch());
                Some(ticker.map_err(EngineError::Thread)?)
            }
        };
        let own = ticker.is_some() && settings.own_threads;
        let threads = Threads::new(ticker, own).map_err(EngineError::Thread)?;
        let cache = settings
            .cache_dir
            .clone()
            .map(|path| ModuleCache::new(path, settings.cache_bytes, &runtime, Arc::clone(&environment)));
        let inner = EngineInner {
            linkers,
            environment,
            capacity: Capacity::new(settings.max_instances),
            shared_data: SharedDataRegistry::new(settings.shared_data_bytes),
            queues: QueueRegistry::default(),
            schedule: Arc::default(),
            modules: Modules::new(cache),
            pools: Mutex::default(),
            uses: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
            threads,
            runtime,
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Compiles a plugin's module (or takes the one that another plugin uses, or the one in the cache on disk), checks
    /// it, and starts and configures one instance of it, the canary, which is then thrown away. A plugin that comes
    /// back from here is one that works with its configuration.
    ///
    /// Takes CPU time in proportion to the module, up to seconds: call it off the request path. One module is compiled
    /// at a time, on the thread of its caller; others wait for their turn on theirs, for up to a minute.
    ///
    /// # Errors
    /// Everything that is wrong with the plugin is found here and named in the [`LoadError`].
    pub fn load(&self, config: PluginConfig) -> Result<Plugin, LoadError> {
        let plugin = config.name.clone();
        let refuse = |reason| LoadError { plugin, reason: Box::new(reason) };
        self.check_limits(&config).and_then(|()| Plugin::load(&self.inner, config)).map_err(refuse)
    }

    pub(crate) fn inner(&self) -> &Arc<EngineInner> {
        &self.inner
    }

    pub(crate) fn check_limits(&self, config: &PluginConfig) -> Result<(), LoadReason> {
        let limits: &Limits = &config.limits;
        let most = self.inner.settings.max_memory_bytes;
        if limits.memory_bytes > most {
            let allowed = format!("at most {most} bytes");
            return Err(LoadReason::Limit { name: "memory_bytes", actual: limits.memory_bytes, allowed });
        }
        if limits.table_elements > MAX_TABLE_ELEMENTS {
            let allowed = format!("at most {MAX_TABLE_ELEMENTS}");
            return Err(LoadReason::Limit { name: "table_elements", actual: limits.table_elements, allowed });
        }
        if limits.instances_per_tenant == 0 {
            let allowed = "at least 1".to_owned();
            return Err(LoadReason::Limit { name: "instances_per_tenant", actual: 0, allowed });
        }
        if config.quarantine_traps > MAX_QUARANTINE_TRAPS {
            let (actual, allowed) =
                (config.quarantine_traps as usize, format!("at most {MAX_QUARANTINE_TRAPS}"));
            return Err(LoadReason::Limit { name: "quarantine_traps", actual, allowed });
        }
        Ok(())
    }

    /// Runs what root contexts are due, by the environment's monotonic clock: ticks, queue notifications, failed calls,
    /// the end of those that wanted time to finish. Each is a callback on this thread, bounded by its CPU budget. Gives
    /// the time until the next, `None` where nothing is planned.
    ///
    /// The embedder drives an engine by calling this in a loop, waiting that long or until [`woken`](Self::woken).
    pub fn run_due(&self) -> Option<Duration> {
        self.inner.schedule.run(self.inner.environment.monotonic_nanoseconds())
    }

    /// Resolves when something was planned that [`run_due`](Self::run_due) did not know of. Cancellation safe.
    pub async fn woken(&self) {
        self.inner.schedule.woken().await;
    }

    /// Instances alive now, over all plugins.
    #[must_use]
    pub fn live_instances(&self) -> u32 {
        self.inner.capacity.live()
    }

    /// Compiled modules alive now. A module goes with its last plugin.
    #[must_use]
    pub fn live_modules(&self) -> usize {
        self.inner.modules.live()
    }

    /// Its counters.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let EngineInner { capacity, modules, evicted, exhausted, .. } = &*self.inner;
        let cache = modules.cache_counts();
        EngineStats {
            instances: capacity.live(),
            max_instances: capacity.limit(),
            instances_evicted: evicted.load(Ordering::Relaxed),
            exhausted: exhausted.load(Ordering::Relaxed),
            modules: modules.live(),
            modules_compiled: modules.compiled(),
            modules_from_cache: cache.hits,
            cache_files_rejected: cache.rejected,
            cache_failures: cache.failures,
        }
    }
}

impl EngineInner {
    pub(crate) fn ticking(&self) -> Ticking {
        self.threads.ticking()
    }

    pub(crate) fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// By what guests are measured.
    pub(crate) fn meter(&self) -> Meter {
        self.settings.meter
    }

    /// The module with these bytes, compiled once.
    pub(crate) fn module(
        &self,
        wasm: &[u8],
        probe: wasmtime::Store<crate::state::HostState>,
        keep: Keep,
    ) -> Result<Arc<CompiledModule>, LoadReason> {
        let limit = self.settings.max_module_bytes;
        if wasm.len() > limit {
            return Err(LoadReason::TooLarge { actual: wasm.len(), limit });
        }
        self.modules.get(&self.linkers, wasm, probe, keep)
    }

    /// Makes a plugin's instances known to the search for the least recently used one.
    pub(crate) fn add_pool(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// A place for one more instance, at the cost of the least recently used idle one where all are taken.
    pub(crate) fn place(&self) -> Result<Place, u32> {
        loop {
            if let Some(place) = self.capacity.take() {
                return Ok(place);
            }
            let pools: Vec<Arc<Pool>> = {
                let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
                pools.iter().filter_map(Weak::upgrade).collect()
            };
            let oldest =
                pools.iter().filter_map(|pool| Some((pool.oldest_idle()?, pool))).min_by_key(|(age, _)| *age);
            match oldest {
                // Where it was taken meanwhile: look again.
                Some((age, pool)) => {
                    if pool.evict(age) {
                        self.evicted.fetch_add(1, Ordering::Relaxed);
                    }
                }
                None => {
                    self.exhausted.fetch_add(1, Ordering::Relaxed);
                    return Err(self.capacity.limit());
                }
            }
        }
    }
}

fn runtime_config(settings: &EngineSettings) -> wasmtime::Result<Config> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(settings.max_instances)
        .total_memories(settings.max_instances)
        .total_tables(settings.max_instances.saturating_mul(TABLES_PER_INSTANCE))
        .max_memories_per_module(1)
        .max_tables_per_module(TABLES_PER_INSTANCE)
        .max_memory_size(settings.max_memory_bytes)
        .table_elements(MAX_TABLE_ELEMENTS);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_init_cow(true)
        .epoch_interruption(settings.meter == Meter::CpuTime)
        .consume_fuel(settings.meter == Meter::Fuel)
        // A module takes one core while it compiles; the others are for requests.
        .parallel_compilation(false)
        // What one release compiled, another one does not run: its code generator may have been mended.
        .module_version(ModuleVersionStrategy::Custom(WASMTIME_VERSION.to_owned()))?
        .max_wasm_stack(settings.max_stack_bytes)
        // No Proxy-Wasm guest has them, and each is more to attack.
        .wasm_memory64(false)
        .wasm_multi_memory(false);
    Ok(config)
}
