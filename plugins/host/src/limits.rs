//! Every limit of the host, by name, with its unit and default.

use std::path::PathBuf;
use std::time::Duration;

/// What one plugin may use. A callback that crosses a budget ends in a [`Trap`](crate::Trap), which costs that
/// instance its life and nobody else anything.
///
/// The defaults for CPU and memory are the ones Google publishes for plugins on its load balancers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of one callback of a stream. Default 1 ms.
    ///
    /// Time on the thread's CPU clock, not wall time: a busy machine kills no innocent plugin. It is looked at when
    /// the epoch wakes the check ([`EngineSettings::epoch_interval`]) and counted from the first such wake, so a
    /// callback gets at least this much and at most two intervals more. After a wake in the middle of a callback the
    /// next ones of that plugin and tenant are measured from end to end, so that one that is always too long is found
    /// however short the wakes fall.
    ///
    /// For ten seconds after it was crossed, that plugin's callbacks for that tenant run on a thread of low priority, cut
    /// off within a millisecond: no other tenant's request waits for them.
    pub callback_cpu: Duration,
    /// CPU time for each function of an instance's start: instantiation, `_initialize`, `main` or `_start`, the root
    /// context's creation, `proxy_on_vm_start`, `proxy_on_configure`. Default 100 ms.
    pub start_cpu: Duration,
    /// Fuel of one callback of a stream, in place of `callback_cpu` where the engine's meter is [`Meter::Fuel`].
    /// Default 5 000 000: what 1 ms of CPU time is worth to a guest (3 to 17 units in a nanosecond were measured).
    pub callback_fuel: u64,
    /// Fuel for each function of an instance's start, in place of `start_cpu`. Default 500 000 000.
    pub start_fuel: u64,
    /// Linear memory of one instance, in bytes. Default 16 MiB. Growing past it traps; a module that starts with
    /// more is refused when it is loaded.
    pub memory_bytes: usize,
    /// Elements of one table. Default and most: 100 000.
    pub table_elements: usize,
    /// Instances per tenant. Default 4: more than one so that several threads do not wait for each other.
    pub instances_per_tenant: usize,
    /// Bytes one callback may log. Default 64 KiB.
    pub log_bytes: usize,
    /// Lines all instances of one tenant may log together in a second, by the environment's monotonic clock. Default
    /// 100, and as many at once. What is beyond is dropped and counted, and a line says how many were.
    pub log_lines_per_second: u32,
    /// Bytes of names and values one callback may write into header maps, and of headers in a local response.
    /// Default 64 KiB.
    pub header_bytes: usize,
    /// Bytes one callback may set as properties, paths included. Default 64 KiB.
    pub property_bytes: usize,
    /// Bytes of a local response's body. Default 1 MiB.
    pub local_response_bytes: usize,
    /// Bytes of one body that a stream may hold back, in each direction. Default 1 MiB. Past it a request is answered 413
    /// and a response 502 ([`StreamError::BodyTooLarge`](crate::StreamError)); a body that is not held may be of any size.
    pub body_bytes: usize,
    /// Calls out under way, HTTP and gRPC, over all instances of a tenant. Default 64; past it `INTERNAL_FAILURE`.
    pub calls_in_flight: usize,
    /// Calls out one stream may make in its life. Default 8; past it `INTERNAL_FAILURE`.
    pub calls_per_stream: u32,
    /// Bytes of the body of a call out, of its answer, and of one gRPC message. Default 1 MiB.
    pub call_body_bytes: usize,
    /// Messages in one shared queue. Default 1024; past it `INTERNAL_FAILURE`.
    pub queue_messages: usize,
    /// Bytes of the messages in one shared queue, 64 for each besides its own. Default 1 MiB.
    pub queue_bytes: usize,
    /// The shortest period of ticks; a shorter one is this. Default 10 ms.
    pub min_tick: Duration,
    /// Metrics a tenant's instances of this plugin may define together. Default 256; the next one is refused with
    /// `INTERNAL_FAILURE`.
    pub metrics: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            callback_cpu: Duration::from_millis(1),
            start_cpu: Duration::from_millis(100),
            callback_fuel: 5_000_000,
            start_fuel: 500_000_000,
            memory_bytes: 16 * 1024 * 1024,
            table_elements: MAX_TABLE_ELEMENTS,
            instances_per_tenant: 4,
            log_bytes: 64 * 1024,
            log_lines_per_second: 100,
            header_bytes: 64 * 1024,
            property_bytes: 64 * 1024,
            local_response_bytes: 1024 * 1024,
            body_bytes: 1024 * 1024,
            calls_in_flight: 64,
            calls_per_stream: 8,
            call_body_bytes: 1024 * 1024,
            queue_messages: 1024,
            queue_bytes: 1024 * 1024,
            min_tick: Duration::from_millis(10),
            metrics: 256,
        }
    }
}

/// By what a guest's work is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Meter {
    /// The thread's CPU clock: [`Limits::callback_cpu`] and [`Limits::start_cpu`].
    #[default]
    CpuTime,
    /// Instructions: [`Limits::callback_fuel`] and [`Limits::start_fuel`], about one unit for each. The same run ends at
    /// the same instruction everywhere, and no thread is needed; but it runs slower, and what host calls and bulk
    /// memory instructions take is not measured. For authors' tools, not against hostile guests.
    Fuel,
}

/// What all plugins share. Fixed when the [`Engine`](crate::Engine) is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// Instances alive at once, over all plugins and tenants. Default 1000. When it is reached, the least recently
    /// used idle instance goes; with none idle, a new stream is refused ([`StreamError::Exhausted`](crate::StreamError)).
    ///
    /// Address space is reserved for this many at start (about 4 GiB each, never touched, not counted by a memory
    /// limit), so that guests need no bounds checks.
    pub max_instances: u32,
    /// The most memory any plugin's [`Limits::memory_bytes`] can allow, in bytes. Default 128 MiB.
    pub max_memory_bytes: usize,
    /// Native stack a guest may use, in bytes. Default 512 KiB. The calling thread's stack must be clearly larger
    /// (tokio's and Rust's default of 2 MiB is).
    pub max_stack_bytes: usize,
    /// How often running callbacks are woken to look at their CPU time. Default 4 ms, and at most 500 µs while a
    /// plugin runs that lately took too long. The thread that does it sleeps when no plugin runs. A tenth of this
    /// costs a core that is busy with small requests several percent.
    pub epoch_interval: Duration,
    /// Size of a module's wasm, in bytes. Default 32 MiB.
    pub max_module_bytes: usize,
    /// Where compiled modules are kept, so that a restart compiles nothing. Default none. The folder is made, with mode
    /// 0700, or must belong to this process' user and be writable by nobody else: what lies there is run. A cache that
    /// cannot be used is logged, and modules are compiled.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of all files there. Default 512 MiB; those not used for longest go.
    pub cache_bytes: u64,
    /// Whether instances start and end, and plugins that lately took too long run, on threads of the engine's own, so that no
    /// request waits for another tenant's. Default true. Without them, and with [`Meter::Fuel`], everything runs where it is
    /// called, one thing after the other.
    pub own_threads: bool,
    /// By what guests are measured. Default CPU time.
    pub meter: Meter,
    /// Shared data of one scope (a `vm_id` of one tenant), keys, values and [`SHARED_DATA_ENTRY_BYTES`] for each
    /// entry, in bytes. Default 1 MiB; what does not fit is refused with `INTERNAL_FAILURE`.
    pub shared_data_bytes: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            max_instances: 1000,
            max_memory_bytes: 128 * 1024 * 1024,
            max_stack_bytes: 512 * 1024,
            epoch_interval: Duration::from_millis(4),
            max_module_bytes: 32 * 1024 * 1024,
            cache_dir: None,
            cache_bytes: 512 * 1024 * 1024,
            own_threads: true,
            meter: Meter::default(),
            shared_data_bytes: 1024 * 1024,
        }
    }
}

/// Most elements a table can have in this host.
pub const MAX_TABLE_ELEMENTS: usize = 100_000;

/// What an entry of shared data costs besides its key and value, in bytes.
pub const SHARED_DATA_ENTRY_BYTES: usize = 64;

/// Most bytes of a serialized header map taken from a guest. The reference host's number.
pub const MAX_PAIRS_BYTES: usize = 1024 * 1024;

/// Most pairs of a serialized header map taken from a guest. The reference host's number.
pub const MAX_PAIRS: usize = 1024;

/// Longest property path taken from a guest, in bytes.
pub const MAX_PROPERTY_PATH_BYTES: usize = 4096;

/// Most segments of a property path.
pub const MAX_PROPERTY_SEGMENTS: usize = 32;

/// Longest metric name, in bytes.
pub const MAX_METRIC_NAME_BYTES: usize = 256;

/// Most bytes one `random_get` gives. The reference host's number.
pub const MAX_RANDOM_BYTES: u32 = 64 * 1024;

/// Longest backtrace kept in a [`Trap`](crate::Trap), in bytes.
pub(crate) const MAX_BACKTRACE_BYTES: usize = 4096;
