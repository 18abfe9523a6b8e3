//! A Proxy-Wasm host: runs HTTP filters written in any Proxy-Wasm SDK, bounded and isolated by tenant.
//!
//! It speaks ABI 0.1.0, 0.2.0 and 0.2.1 (proxy-wasm/spec, `abi-versions/`) on wasmtime, and knows nothing of any
//! particular proxy. An embedder makes one [`Engine`], loads [`Plugin`]s into it, opens a [`StreamContext`] per
//! request and plugin, and lends each callback its request as an [`Exchange`].
//!
//! ```no_run
//! # use coditect_proxy_wasm::*;
//! # fn run(environment: std::sync::Arc<dyn Environment>, exchange: &mut dyn Exchange)
//! #     -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(EngineSettings::default(), environment)?;
//! let mut config = PluginConfig::new("tenant-policy", std::fs::read("tenant_policy.wasm")?);
//! config.configuration = br#"{"deny_values": ["blocked"]}"#.to_vec();
//! let plugin = engine.load(config)?;
//!
//! let mut stream = plugin.open("6f2a…", exchange)?;
//! let outcome = stream.on_request_headers(exchange, true)?;
//! if let Some(response) = outcome.local_response {
//!     // send it; it passes through the response callbacks like any other
//! }
//! let _ = stream.on_response_headers(exchange, false)?;
//! stream.close(exchange)?;
//! # Ok(()) }
//! ```
//!
//! Everything is synchronous: one method, one callback, on the calling thread, bounded by a CPU budget. A
//! [`StreamContext`] is `Send` and may be held across awaits; no lock is.
//!
//! # What an embedder does
//!
//! - It loads plugins off the request path ([`Engine::load`] compiles), and swaps a [`Plugin`] by dropping it: streams
//!   that are open keep the old one alive until they end.
//! - It sends a request's local response instead of going on, and lets that response pass through the response
//!   callbacks of every plugin the request went through, this one's included.
//! - It answers 503, or goes on where [`Plugin::failure_mode`] is open, for every [`StreamError`] before the response
//!   is on its way, and for a pause without a local response. A failure in [`StreamContext::close`] changes nothing.
//! - It closes each stream when the response is complete.
//! - It keeps its own headers from being written ([`Refused`]) and supplies the properties below.
//!
//! # Who shares what
//!
//! | | one per |
//! |---|---|
//! | compiled code | module (SHA-256 of its bytes) |
//! | guest instance: memory, globals, contexts | plugin and tenant, up to [`Limits::instances_per_tenant`] of them |
//! | shared data | `vm_id` and tenant, while an instance of that scope lives |
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
//! the tenant's next stream gets a fresh instance.
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
//! | `coditect.tenant` | string | tenant id of the verified token; absent for a public request |
//! | `coditect.user` | string | user id |
//! | `coditect.session` | string | auth-session id |
//! | `coditect.workspace` | string | workspace session in the path, where the route has one |
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
//! In which callbacks a property is visible is Envoy's table and enforced here: `request.*` with the request headers
//! and in the log, `response.*` with the response headers and in the log (but for protocol, sizes, time and flags,
//! which are always there), `upstream.*` from the response on, the rest in all of a stream's callbacks but
//! `proxy_on_done` and `proxy_on_delete`.
//!
//! # What is built
//!
//! Callbacks: start-up (`_initialize` and `main`, or `_start`), `proxy_on_context_create`, `proxy_on_vm_start`,
//! `proxy_on_configure`, `proxy_on_request_headers`, `proxy_on_response_headers`, `proxy_on_log`, `proxy_on_done`,
//! `proxy_on_delete`. Host calls: log and log level, clock, properties, header maps of requests and responses, the two
//! configurations as buffers, local responses, effective context, `proxy_done`, `proxy_get_status`, shared data,
//! metrics, and the WASI functions that SDKs link.
//!
//! # What is not built yet
//!
//! - Bodies and trailers: their callbacks are not called. Their buffers are empty, as in Envoy elsewhere.
//! - `proxy_http_call`, `proxy_grpc_*`: `UNIMPLEMENTED`.
//! - Shared queues: `UNIMPLEMENTED`.
//! - Ticks: a period other than 0 is `UNIMPLEMENTED`; most SDKs then panic, and the plugin is refused at load time.
//! - `proxy_continue_stream`, `proxy_close_stream`, `proxy_continue_request`, `proxy_continue_response`,
//!   `proxy_clear_route_cache`: `UNIMPLEMENTED`. A stream that pauses can therefore only end ([`Outcome::action`]).
//! - Foreign functions: none is registered, so each is `NOT_FOUND`.
//! - `proxy_done`: always `NOT_FOUND`; a root context whose `proxy_on_done` returns false is not waited for.
//! - TCP filters. Quarantine after repeated traps. A cache of compiled code on disk.
//!
//! # Differences from Envoy, meant
//!
//! - A local response needs a status from 200 to 599, else `BAD_ARGUMENT`; Envoy puts any number on the wire.
//! - A local response from `proxy_on_log`, or from outside a header callback, is `BAD_ARGUMENT`; Envoy recurses until
//!   it crashes, or answers OK and does nothing.
//! - Header names and values are checked, and bytes that are no header map are `BAD_ARGUMENT`; Envoy takes the first
//!   as they are and reads the second as an empty map.
//! - `proc_exit` ends the instance; Envoy logs it and goes on.
//! - `FOREIGN_FUNCTION_ARGUMENTS` is always empty; Envoy gives what the last buffer call left there.
//! - Every budget.
//!
mod abi;
mod body;
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
mod mailbox;
mod memory;
mod metrics;
mod module;
mod pairs;
mod plugin;
mod pool;
mod queues;
mod schedule;
mod scope;
mod shared_data;
mod state;
mod stream;
mod ticker;
mod trace;

pub use abi::{AbiVersion, Action, Direction, HeaderMap, LogLevel, MetricKind, Status};
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
    MAX_PROPERTY_SEGMENTS, MAX_RANDOM_BYTES, MAX_TABLE_ELEMENTS, SHARED_DATA_ENTRY_BYTES,
};
pub use metrics::{MetricSample, MetricValue};
pub use plugin::{FailureMode, Plugin, PluginConfig, PluginStats};
pub use stream::StreamContext;
pub use trace::{TraceEvent, Tracer};
