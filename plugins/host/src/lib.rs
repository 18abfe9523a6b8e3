//! A Proxy-Wasm host: runs HTTP filters written in any Proxy-Wasm SDK, bounded and isolated by tenant.
//!
//! It speaks ABI 0.1.0, 0.2.0 and 0.2.1 (proxy-wasm/spec, `abi-versions/`) on wasmtime, and knows nothing of any
//! particular proxy. An embedder makes one [`Engine`], loads [`Plugin`]s into it, opens a [`StreamContext`] per
//! request and plugin, and lends each callback its request as an [`Exchange`].
//!
//! ```no_run
//! # use coditect_proxy_wasm::*;
//! # async fn run(environment: std::sync::Arc<dyn Environment>, exchange: SharedExchange)
//! #     -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(EngineSettings::default(), environment)?;
//! let mut config = PluginConfig::new("tenant-policy", std::fs::read("tenant_policy.wasm")?);
//! config.configuration = br#"{"deny_values": ["blocked"]}"#.to_vec();
//! let plugin = engine.load(config)?;
//!
//! let links = vec![Link { plugin, shadow: false, observer: None }];
//! let mut chain = Chain::new(exchange, "6f2a…", links);
//! match chain.push(Direction::Request, Item::Headers { end: true }).await {
//!     Ok(_items) => { /* forward them, push the response */ }
//!     Err(Stop::Respond(_response)) => { /* send it; it passes the response phase like any other */ }
//!     Err(_stop) => { /* refuse the request */ }
//! }
//! chain.finish();
//! # Ok(()) }
//! ```
//!
//! Callbacks are synchronous: each runs on the thread that polls the [`Chain`], bounded by a CPU budget, and no lock is held
//! across an await. What waits is [`Chain`]: while a plugin holds a message back, while an instance is started, and while
//! a plugin that lately crossed its CPU budget has its turn on the thread for such plugins.
//!
//! # Whose thread
//!
//! | | thread |
//! |---|---|
//! | callbacks of a stream | that of whoever polls its chain, or drops it |
//! | ticks, queue notifications, calls that failed | that of [`Engine::run_due`] |
//! | answers to calls out | that of whoever gives them ([`HttpReply::send`]) |
//! | an instance's start and end | `wasm-start`, two of them; a tenant's starts one at a time |
//! | all of these but ends of instances, for ten seconds after the plugin crossed its CPU budget for that tenant | `wasm-slow`, one, of low priority |
//! | epoch wakes | `wasm-epoch` |
//!
//! So one tenant's plugin that loops costs the requests beside it one CPU budget in ten seconds, not one for each of its
//! requests. What waits for `wasm-slow` is bounded, by tenant and in all; what is beyond is refused
//! ([`StreamError::Busy`]). A shadow is left out meanwhile ([`ShadowVerdict::Skipped`]): no request waits for one.
//! `proxy_on_log` may then come after the embedder wrote its own access log. Without [`EngineSettings::own_threads`] everything runs where it is called.
//!
//! # What an embedder does
//!
//! - It loads plugins off the request path ([`Engine::load`] compiles), and swaps a [`Plugin`] by dropping it: streams
//!   that are open keep the old one alive until they end.
//! - It drives the engine ([`Engine::run_due`]): ticks and queue notifications come from nowhere else.
//! - It pushes each part of request and response through the request's [`Chain`], forwards what comes out, and acts on
//!   [`Stop`]. It bounds how long it waits for a chain.
//! - It answers calls out ([`Environment::http_call`]), from another stack than the one that asked.
//! - It finishes the chain when the response is complete.
//! - It keeps its own headers from being written ([`Refused`]) and supplies the properties below.
//!
//! # Who shares what
//!
//! | | one per |
//! |---|---|
//! | compiled code | module (SHA-256 of its bytes) |
//! | guest instance: memory, globals, contexts | plugin and tenant, up to [`Limits::instances_per_tenant`] of them |
//! | shared data | owner, `vm_id` and tenant, while an instance of that scope lives |
//! | queues | tenant, found by `vm_id` and name, while an instance of that tenant lives |
//! | calls under way | plugin and tenant |
//! | metrics the guest can read | plugin and tenant |
//! | metrics the embedder can read | plugin, summed over tenants |
//!
//! A request without a tenant belongs to the pseudo-tenant `public`. Unlike Envoy, two plugins never share an
//! instance, whatever their `vm_id`.
//!
//! # Budgets
//!
//! [`Limits`] and [`EngineSettings`] name them all. Crossing one cuts the callback off with a [`Trap`], as a wasm
//! trap does. That ends this instance and the streams on it ([`StreamError::InstanceLost`]) and touches nobody else;
//! the tenant's next stream gets a fresh instance. Each crossing is counted by [`Budget`] ([`PluginStats`]).
//!
//! A plugin that traps or does not start too often for a tenant ([`PluginConfig::quarantine_traps`]) is in quarantine
//! for that tenant: [`Plugin::open`] answers [`StreamError::Quarantined`] and starts nothing, until the embedder calls
//! [`Plugin::release`] or loads the plugin anew. [`Environment::quarantined`] is told.
//!
//! # Loading
//!
//! One module is compiled at a time, on one core. With [`EngineSettings::cache_dir`] it is kept on disk, and a restart
//! compiles nothing. [`Meter::Fuel`] makes runs end at the same instruction everywhere, for authors' tools.
//!
//! # Properties
//!
//! The host answers from what it knows: `plugin_name`, `plugin_root_id`, `plugin_vm_id` everywhere, and from the
//! header maps `request.{path, url_path, query, host, method, scheme, useragent, referer, id, headers.<name>}` and
//! `response.{code, headers.<name>}`. The embedder supplies the others through [`Exchange::property`]; what it does not
//! have is `NOT_FOUND`. A path is a list of segments (`request.size` is `["request", "size"]`).
//!
//! | path | encoding | |
//! |---|---|---|
//! | `coditect.tenant_id` | string | of the verified token; absent for a public request |
//! | `coditect.user_id` | string | |
//! | `coditect.session_id` | string | auth session |
//! | `coditect.workspace_id` | string | workspace session in the path, where the route has one |
//! | `coditect.claims.<name>` | string | a claim of the verified token |
//! | `coditect.route` | string | the route's prefix, as configured |
//! | `request.protocol` | string | `HTTP/1.1`, `HTTP/2` |
//! | `request.time` | time | arrival |
//! | `request.duration` | int | nanoseconds, in `proxy_on_log` only |
//! | `request.size`, `request.total_size` | int | bytes of the body; with headers |
//! | `response.size`, `response.total_size` | int | bytes of the body; with headers |
//! | `response.flags` | int | 0 |
//! | `response.code_details` | string | `via_upstream`, or a local response's details |
//! | `source.address`, `destination.address` | string | `ip:port` |
//! | `source.port`, `destination.port` | int | |
//! | `connection.id` | int | |
//! | `connection.mtls` | bool | |
//! | `upstream.address`, `upstream.port` | string, int | from the response on |
//! | `xds.route_name` | string | same as `coditect.route` |
//!
//! string: the bytes. int: `int64`, 8 bytes little-endian. time: int, nanoseconds since 1970. bool: one byte, 0 or 1.
//!
//! In which callbacks a property is visible is Envoy's table and enforced here: `request.*` while the request's headers
//! are, and in the log; `response.*` from the response's headers on (its maps: while they are there), and in the log (but
//! protocol, sizes, time and flags are always there); `upstream.*` once the request's headers went on; the rest in all of
//! a stream's callbacks but `proxy_on_done` and `proxy_on_delete`. A root context sees an exchange only through
//! `proxy_set_effective_context`.
//!
//! # Pauses
//!
//! A callback that answers anything but `CONTINUE` holds its message back. Its maps and buffers stay readable and
//! writable, from any of the instance's callbacks through `proxy_set_effective_context`, until something lets it go:
//! `proxy_continue_stream`, a local response, `proxy_close_stream`, or, at a body, a later body callback that continues.
//! A pause at headers holds everything back (nothing further of that half is read), unless
//! [`PluginConfig::stop_iteration`] is set: then the body comes to the plugin while the headers wait. A pause at a body
//! adds what comes to what is held, up to [`Limits::body_bytes`], and each callback sees all of it.
//!
//! # What is not built
//!
//! TCP filters: their callbacks are not called, their buffers are empty. HTTP/2 metadata callbacks. `proxy_clear_route_cache`
//! (ABI 0.1.0) is OK and does nothing: a route is chosen before plugins run.
//!
//! # Differences from Envoy, meant
//!
//! - A local response needs a status from 200 to 599, else `BAD_ARGUMENT`; Envoy puts any number on the wire.
//! - A local response from `proxy_on_log`, or where there is no stream, is `BAD_ARGUMENT`; Envoy recurses until it crashes,
//!   or answers OK and does nothing.
//! - Ticks, and instances as a whole, begin with a tenant's first request, and may be evicted while idle; Envoy starts
//!   each plugin with its workers.
//! - Header names and values are checked, and bytes that are no header map are `BAD_ARGUMENT`; Envoy takes the first
//!   as they are and reads the second as an empty map.
//! - `proc_exit` ends the instance; Envoy logs it and goes on.
//! - `FOREIGN_FUNCTION_ARGUMENTS` is always empty; Envoy gives what the last buffer call left there.
//! - Every budget.
//!
mod abi;
mod body;
mod budget;
mod cache;
mod callbacks;
mod calls;
mod capacity;
mod chain;
mod check;
mod engine;
mod error;
mod exchange;
mod field;
mod host;
mod instance;
mod limits;
mod log_budget;
mod mailbox;
mod memory;
mod metrics;
mod module;
mod modules;
mod pairs;
mod plugin;
mod pool;
mod quarantine;
mod queues;
mod schedule;
mod scope;
mod shared_data;
mod state;
mod stats;
mod stream;
mod threads;
mod ticker;
mod trace;

pub use abi::{AbiVersion, Action, Direction, HeaderMap, LogLevel, MetricKind, Status};
pub use budget::{Budget, BudgetCounts};
pub use calls::{
    CallFailure, CallRefused, CallSource, GrpcCall, GrpcEvents, GrpcHandle, HttpCall, HttpCallResponse,
    HttpReply, Pairs,
};
pub use chain::{Chain, Item, Link, LinkObserver, ShadowVerdict, Stop};
pub use check::{CheckDepth, ModuleFacts};
pub use engine::Engine;
pub use error::{EngineError, LoadError, LoadReason, StartError, StreamError, Trap, TrapCause};
pub use exchange::{
    Environment, Exchange, ForeignError, LocalResponse, LogRecord, Outcome, Refused, SharedExchange,
    log_to_tracing,
};
pub use limits::{
    EngineSettings, Limits, MAX_METRIC_NAME_BYTES, MAX_PAIRS, MAX_PAIRS_BYTES, MAX_PROPERTY_PATH_BYTES,
    MAX_PROPERTY_SEGMENTS, MAX_RANDOM_BYTES, MAX_TABLE_ELEMENTS, Meter, SHARED_DATA_ENTRY_BYTES,
};
pub use metrics::{MetricSample, MetricValue};
pub use plugin::{FailureMode, Plugin, PluginConfig, WeakPlugin};
pub use quarantine::{MAX_QUARANTINE_TRAPS, Quarantine};
pub use stats::{EngineStats, PluginStats};
pub use stream::StreamContext;
pub use trace::{TraceEvent, Tracer};
