//! What can go wrong, one type per boundary: loading a plugin, making an engine, calling a guest.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::abi::AbiVersion;

/// Why an [`Engine`](crate::Engine) could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refused the settings, or the address space for the instances could not be reserved.
    #[error("the wasm engine cannot start with room for {max_instances} instances: {reason}")]
    Runtime {
        /// [`EngineSettings::max_instances`](crate::EngineSettings) as asked for.
        max_instances: u32,
        /// The runtime's words.
        reason: String,
    },
    /// A thread of the engine's could not be started.
    #[error("a thread of the plugin host could not be started")]
    Thread(#[source] std::io::Error),
}

/// Why a plugin was refused. Nothing of it stays loaded.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {reason}")]
pub struct LoadError {
    /// [`PluginConfig::name`](crate::PluginConfig).
    pub plugin: String,
    /// What is wrong with it.
    #[source]
    pub reason: Box<LoadReason>,
}

/// What is wrong with a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadReason {
    /// The wasm is larger than [`EngineSettings::max_module_bytes`](crate::EngineSettings).
    #[error("the module has {actual} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Its size in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A limit of the plugin is outside what the engine can give.
    #[error("`{name}` is {actual}; the engine allows {allowed}")]
    Limit {
        /// The field of [`Limits`](crate::Limits).
        name: &'static str,
        /// What was asked for.
        actual: usize,
        /// What can be had.
        allowed: String,
    },
    /// Not wasm, invalid wasm, or a feature this host leaves out (several memories, 64-bit memory, threads).
    #[error("not a wasm module this host can run: {0}")]
    Compile(String),
    /// Others were compiled for so long that this one did not get its turn.
    #[error("other modules were being compiled for {waited:?}; try again")]
    Busy {
        /// How long it waited.
        waited: Duration,
    },
    /// None of the markers is exported.
    #[error("no Proxy-Wasm ABI marker is exported; expected one of {}", markers())]
    NoAbiMarker,
    /// The module wants something the host does not have in that ABI version.
    #[error("unknown import `{module}.{name}` ({kind}); ABI {abi} has no such host function")]
    UnknownImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// `function`, `memory`, `table`, `global` or `tag`.
        kind: &'static str,
        /// The module's ABI version.
        abi: AbiVersion,
    },
    /// A host function is imported with a type it does not have.
    #[error("import `{module}.{name}` has type {actual}; the host function's is {expected}")]
    ImportType {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// The type the module declares.
        actual: String,
        /// The host function's type.
        expected: String,
    },
    /// A callback is exported with another signature than the ABI's, or is no function.
    #[error("export `{name}` has type {actual}; ABI {abi} wants {expected}")]
    ExportType {
        /// The export's name.
        name: String,
        /// The type the module declares.
        actual: String,
        /// The type of the ABI.
        expected: String,
        /// The module's ABI version.
        abi: AbiVersion,
    },
    /// Neither `malloc` nor `proxy_on_memory_allocate` is exported.
    #[error("neither `malloc` nor `proxy_on_memory_allocate` is exported; the host could hand over no data")]
    NoAllocator,
    /// No memory is exported.
    #[error("no memory is exported; the host could hand over no data")]
    NoMemory,
    /// The canary, one instance started and configured at load time, failed.
    #[error("the canary instance failed: {0}")]
    Canary(#[source] StartError),
}

fn markers() -> String {
    AbiVersion::ALL.map(AbiVersion::marker).join(", ")
}

/// Why an instance did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A guest function trapped.
    #[error(transparent)]
    Trap(#[from] Box<Trap>),
    /// `proxy_on_vm_start` or `proxy_on_configure` answered false.
    #[error("`{function}` refused the configuration (it returned false)")]
    Refused {
        /// The callback.
        function: &'static str,
    },
    /// The runtime could not make the instance: its tables or memories do not fit the engine's pool.
    #[error("the instance could not be made: {0}")]
    Instantiate(String),
    /// [`EngineSettings::max_instances`](crate::EngineSettings) are in use and none of them is idle.
    #[error("all {limit} plugin instances are in use")]
    Exhausted {
        /// The limit.
        limit: u32,
    },
}

/// Why a callback of a stream was not, or not wholly, run.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The guest trapped in this callback. Its instance is gone; the next stream gets a new one.
    #[error(transparent)]
    Trap(#[from] Box<Trap>),
    /// The instance trapped before, in another stream's callback.
    #[error("the instance of plugin `{plugin}` that served this stream trapped in another stream's callback")]
    InstanceLost {
        /// The plugin.
        plugin: Arc<str>,
    },
    /// The stream holds back more of a body than [`Limits::body_bytes`](crate::Limits::body_bytes).
    #[error("plugin `{plugin}` holds back more than {limit} bytes of a body")]
    BodyTooLarge {
        /// The plugin.
        plugin: Arc<str>,
        /// The limit in bytes.
        limit: usize,
    },
    /// No instance could be made for this stream.
    #[error("plugin `{plugin}` has no instance for this stream: {reason}")]
    Start {
        /// The plugin.
        plugin: Arc<str>,
        /// Why not.
        #[source]
        reason: StartError,
    },
    /// [`EngineSettings::max_instances`](crate::EngineSettings) are in use and none of them is idle.
    #[error("plugin `{plugin}` has no instance for this stream: all {limit} are in use")]
    Exhausted {
        /// The plugin.
        plugin: Arc<str>,
        /// The limit.
        limit: u32,
    },
    /// Too much of its work waits already: of instances to be started, or, where it lately took too long for this tenant,
    /// of its callbacks.
    #[error("plugin `{plugin}` did not get its turn for this stream: too much of its work waits already")]
    Busy {
        /// The plugin.
        plugin: Arc<str>,
    },
    /// The plugin failed too often for this tenant: nothing was started.
    #[error("plugin `{plugin}` is in quarantine for tenant {tenant}: it failed too often")]
    Quarantined {
        /// The plugin.
        plugin: Arc<str>,
        /// The tenant.
        tenant: Arc<str>,
    },
}

/// A guest's end: the callback was cut off and its instance thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// The plugin.
    pub plugin: Arc<str>,
    /// [`PluginConfig::version`](crate::PluginConfig); empty where none was given.
    pub version: Arc<str>,
    /// Whose instance it was.
    pub tenant: Arc<str>,
    /// The guest function the host had called.
    pub function: &'static str,
    /// The request, where the callback belonged to one.
    pub request_id: Option<String>,
    /// Why.
    pub cause: TrapCause,
    /// The wasm frames, innermost first; empty where the module has no names and no frame was on the stack.
    pub backtrace: String,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, version, function, tenant, cause, .. } = self;
        write!(f, "plugin `{plugin}`")?;
        if !version.is_empty() {
            write!(f, " {version}")?;
        }
        write!(f, " (tenant {tenant}) trapped in `{function}`: {cause}")?;
        match &self.request_id {
            Some(id) => write!(f, " [request {id}]"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Trap {}

/// Why a guest was cut off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrapCause {
    /// A wasm trap: `unreachable` (what a panic compiles to), a bad memory or table access, a division by zero.
    #[error("{0}")]
    Wasm(String),
    /// More CPU time than allowed.
    #[error("CPU budget of {0:?} used up")]
    Cpu(Duration),
    /// More fuel than allowed.
    #[error("fuel budget of {0} used up")]
    Fuel(u64),
    /// Growth past the memory limit.
    #[error("memory limit of {limit} bytes crossed: the guest asked for {asked}")]
    Memory {
        /// The limit in bytes.
        limit: usize,
        /// What the memory would have become.
        asked: usize,
    },
    /// Growth past the table limit.
    #[error("table limit of {0} elements crossed")]
    Table(usize),
    /// Too deep a recursion.
    #[error("stack exhausted")]
    Stack,
    /// A per-callback byte budget of [`Limits`](crate::Limits), by its field name.
    #[error("`{name}` of {limit} bytes used up in one callback")]
    Bytes {
        /// The field.
        name: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// A host call that is not allowed where it was made: inside the guest's allocator or during start-up.
    #[error("host call `{call}` is not allowed {place}")]
    Restricted {
        /// The host call.
        call: &'static str,
        /// Where it was made.
        place: &'static str,
    },
    /// The guest called WASI's `proc_exit`.
    #[error("the guest called proc_exit({0})")]
    Exit(u32),
}
