//! What the embedder gives a callback: the request and response at hand, and the world outside.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::abi::{Action, HeaderMap, LogLevel};
use crate::calls::{CallRefused, CallSource, GrpcCall, GrpcEvents, GrpcHandle, HttpCall, HttpReply};
use crate::quarantine::Quarantine;

/// An exchange as the embedder and the host share it for the life of a request. The host locks it for the length of
/// one host call; the embedder must not hold the lock while it calls a method of a stream or chain.
pub type SharedExchange = Arc<Mutex<dyn Exchange>>;

/// One HTTP request and its response, as the embedder holds them.
///
/// The host asks for the maps only in the callbacks where Envoy allows them (see the crate's documentation), and while
/// a plugin holds the message they belong to.
///
/// # Headers
///
/// Order is kept, names repeat where a header repeats. Pseudo-headers come first: `:authority`, `:path`, `:method`,
/// `:scheme` in a request, `:status` in a response. Names reach the embedder in lower case; names and values were
/// checked (RFC 9110 field syntax, no CR, LF or NUL), and pseudo-headers are only those of that map.
///
/// A guest may replace the whole request map and leave a pseudo-header out, or remove one. As in Envoy that is
/// allowed, and it is the embedder that then cannot route: it answers 404 rather than send it on.
///
/// # Errors
///
/// A refused write is [`Refused`]: the guest is answered `BAD_ARGUMENT`, and nothing is changed. Use it for headers
/// that are not a plugin's to write, such as the edge's identity headers.
pub trait Exchange: Send {
    /// The request's id for logs and trap reports.
    fn request_id(&self) -> &str;

    /// How many pairs the map has, pseudo-headers included.
    fn header_count(&self, map: HeaderMap) -> usize;

    /// Hands every pair to `visit`, in order, pseudo-headers first.
    fn visit_headers(&self, map: HeaderMap, visit: &mut dyn FnMut(&[u8], &[u8]));

    /// Appends the first value of `name` to `value` and says whether there was one.
    fn header(&self, map: HeaderMap, name: &[u8], value: &mut Vec<u8>) -> bool;

    /// Replaces the whole map.
    ///
    /// # Errors
    /// Refused as a whole.
    fn set_headers(&mut self, map: HeaderMap, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused>;

    /// Adds a pair after those there are. A pseudo-header that exists is replaced.
    ///
    /// # Errors
    /// Refused.
    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused>;

    /// Puts one value in the place of all those of `name`, or adds it.
    ///
    /// # Errors
    /// Refused.
    fn replace_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused>;

    /// Removes all values of `name`. That there was none is no error.
    ///
    /// # Errors
    /// Refused.
    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<(), Refused>;

    /// Appends the property's value to `value` and says whether there is one. The crate's documentation lists the
    /// properties and their encodings, and which of them the host finds by itself in the header maps.
    fn property(&self, path: &[&[u8]], value: &mut Vec<u8>) -> bool;

    /// Sets a property for the rest of this exchange; later plugins see it.
    ///
    /// # Errors
    /// Refused: it is read-only, or there are too many.
    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> Result<(), Refused>;

    /// A copy, for a plugin that runs as a shadow: what it writes there nobody else sees.
    fn fork(&self) -> SharedExchange;
}

/// The embedder does not allow that write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// What a callback led to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    /// What the guest returned; [`Action::Pause`] whenever there is a local response or the stream was closed.
    pub action: Action,
    /// The response the guest wants sent instead. It passes through the plugin's own response callbacks too.
    pub local_response: Option<LocalResponse>,
    /// Whether the guest closed the stream: no response, the connection is broken off.
    pub closed: bool,
    /// After a body callback that goes on, or when a held one is released: what is to be forwarded.
    pub body: Bytes,
}

/// A response made by a guest (`proxy_send_local_response`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResponse {
    /// 200 to 599.
    pub status: u16,
    /// Why, for the access log; not for the client.
    pub details: Vec<u8>,
    /// Names in lower case, checked as all headers are; no pseudo-headers.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The status a gRPC client should get; none where the guest gave -1.
    pub grpc_status: Option<u32>,
}

/// The world outside as a guest may see it: time, randomness, the log. Passed in, so that a test decides them.
pub trait Environment: Send + Sync {
    /// Nanoseconds since 1970 (`proxy_get_current_time_nanoseconds`, WASI `REALTIME`).
    fn realtime_nanoseconds(&self) -> u64;

    /// Nanoseconds since any fixed moment (WASI `MONOTONIC`).
    fn monotonic_nanoseconds(&self) -> u64;

    /// Fills `buffer` with random bytes (WASI `random_get`).
    fn random(&self, buffer: &mut [u8]);

    /// Takes one log record that passed the plugin's log level. [`log_to_tracing`] is the usual implementation.
    fn log(&self, record: &LogRecord<'_>);

    /// Begins an HTTP call of a guest (`proxy_http_call`) and returns at once; `reply` gets the answer later, from
    /// another stack: the guest that asked is still running. The upstream is one the plugin may call.
    ///
    /// # Errors
    /// There is no such upstream, or no room for another call.
    fn http_call(&self, source: &CallSource, call: HttpCall, reply: HttpReply) -> Result<(), CallRefused> {
        drop((source, call, reply));
        Err(CallRefused::UnknownUpstream)
    }

    /// Begins a gRPC call (`proxy_grpc_call`, `proxy_grpc_stream`) and returns at once; as [`http_call`](Self::http_call).
    ///
    /// # Errors
    /// There is no such upstream, or no room for another call.
    fn grpc_call(
        &self,
        source: &CallSource,
        call: GrpcCall,
        events: GrpcEvents,
    ) -> Result<Box<dyn GrpcHandle>, CallRefused> {
        drop((source, call, events));
        Err(CallRefused::UnknownUpstream)
    }

    /// A foreign function (`proxy_call_foreign_function`): `None` where there is none of that name, which the guest
    /// is answered as `NOT_FOUND`.
    fn foreign_function(&self, name: &str, arguments: &[u8]) -> Option<Result<Vec<u8>, ForeignError>> {
        let _: (&str, &[u8]) = (name, arguments);
        None
    }

    /// Told when a plugin is put into quarantine for a tenant; by default it is logged. Called on the thread whose
    /// callback failed, with that instance locked: it should return at once, and open no stream.
    fn quarantined(&self, quarantine: &Quarantine) {
        let Quarantine { plugin, version, tenant, traps, window, cause, .. } = quarantine;
        tracing::error!(
            %plugin, %version, %tenant, traps, ?window, %cause,
            "the plugin is in quarantine for this tenant: it is not started until it is released or replaced"
        );
    }
}

/// A foreign function was called with what it does not take; the guest is answered `BAD_ARGUMENT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignError;

/// One line from a guest.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// Its level. What the guest writes to stdout is `Info`, to stderr `Error`.
    pub level: LogLevel,
    /// The plugin.
    pub plugin: &'a str,
    /// The plugin's root id.
    pub root_id: &'a str,
    /// Whose instance.
    pub tenant: &'a str,
    /// The request, where the callback belongs to one.
    pub request_id: Option<&'a str>,
    /// The message, hostile like everything from a guest: any bytes.
    pub message: &'a [u8],
}

impl fmt::Display for LogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(self.message))
    }
}

/// Sends a record to `tracing` under the target `plugin`, at its level.
pub fn log_to_tracing(record: &LogRecord<'_>) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "plugin",
                tracing::Level::$level,
                plugin = record.plugin,
                root_id = record.root_id,
                tenant = record.tenant,
                request_id = record.request_id,
                "{record}"
            )
        };
    }
    match record.level {
        LogLevel::Trace => event!(TRACE),
        LogLevel::Debug => event!(DEBUG),
        LogLevel::Info => event!(INFO),
        LogLevel::Warn => event!(WARN),
        LogLevel::Error | LogLevel::Critical => event!(ERROR),
    }
}
