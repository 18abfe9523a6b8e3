//! The Proxy-Wasm ABI's own numbers: statuses, log levels, map, buffer, stream and metric types.
//!
//! Names and values are those of the specification (proxy-wasm/spec, `abi-versions/v0.2.1`, "Types");
//! they are the same in all three versions.

use std::fmt;

/// The ABI version a module was written for, told by the marker function it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AbiVersion {
    /// Exports `proxy_abi_version_0_1_0`.
    V0_1_0,
    /// Exports `proxy_abi_version_0_2_0`.
    V0_2_0,
    /// Exports `proxy_abi_version_0_2_1`.
    V0_2_1,
}

impl AbiVersion {
    /// Every version this host knows.
    pub const ALL: [Self; 3] = [Self::V0_1_0, Self::V0_2_0, Self::V0_2_1];

    /// The export by which a module of this version says so.
    #[must_use]
    pub fn marker(self) -> &'static str {
        match self {
            Self::V0_1_0 => "proxy_abi_version_0_1_0",
            Self::V0_2_0 => "proxy_abi_version_0_2_0",
            Self::V0_2_1 => "proxy_abi_version_0_2_1",
        }
    }

    /// The version whose marker this is.
    pub(crate) fn from_marker(export: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.marker() == export)
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
        })
    }
}

/// `proxy_status_t`: what a host call answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// No such header, property, key, metric or buffer here.
    NotFound = 1,
    /// An argument out of its range, or a call that this callback may not make.
    BadArgument = 2,
    /// The property exists and has no form that could be given.
    SerializationFailure = 3,
    /// Bytes of the guest are not what they should be.
    ParseFailure = 4,
    /// A pointer or length outside the guest's memory, or the guest's allocator gave none.
    InvalidMemoryAccess = 6,
    /// The queue has no message.
    Empty = 7,
    /// The shared-data version given is not the current one.
    CasMismatch = 8,
    /// A host limit that is not a budget was reached.
    InternalFailure = 10,
    /// This host does not do that. The list is in the crate's documentation.
    Unimplemented = 12,
}

/// `proxy_log_level_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u32)]
pub enum LogLevel {
    /// Everything.
    Trace = 0,
    /// For the plugin's author.
    Debug = 1,
    /// The default threshold.
    #[default]
    Info = 2,
    /// Something is odd.
    Warn = 3,
    /// Something failed.
    Error = 4,
    /// The plugin cannot go on.
    Critical = 5,
}

impl LogLevel {
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        Some(match raw {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            5 => Self::Critical,
            _ => return None,
        })
    }
}

/// `proxy_action_t`: what a guest wants done with the stream after a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Continue,
    /// Hold the stream until something resumes it: `proxy_continue_stream`, a local response, a later callback.
    Pause,
}

/// The two halves of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

impl Direction {
    /// Its map of headers.
    #[must_use]
    pub fn headers(self) -> HeaderMap {
        match self {
            Self::Request => HeaderMap::Request,
            Self::Response => HeaderMap::Response,
        }
    }

    /// Its map of trailers.
    #[must_use]
    pub fn trailers(self) -> HeaderMap {
        match self {
            Self::Request => HeaderMap::RequestTrailers,
            Self::Response => HeaderMap::ResponseTrailers,
        }
    }
}

/// `proxy_map_type_t`, as far as the maps are an exchange's. Those of calls out are the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeaderMap {
    /// `HTTP_REQUEST_HEADERS` (0).
    Request,
    /// `HTTP_REQUEST_TRAILERS` (1).
    RequestTrailers,
    /// `HTTP_RESPONSE_HEADERS` (2).
    Response,
    /// `HTTP_RESPONSE_TRAILERS` (3).
    ResponseTrailers,
}

impl HeaderMap {
    /// Whose half of the exchange it is.
    #[must_use]
    pub fn direction(self) -> Direction {
        match self {
            Self::Request | Self::RequestTrailers => Direction::Request,
            Self::Response | Self::ResponseTrailers => Direction::Response,
        }
    }
}

/// `proxy_map_type_t`: all maps a guest can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapType {
    Exchange(HeaderMap),
    GrpcInitialMetadata,
    GrpcTrailingMetadata,
    CallHeaders,
    CallTrailers,
}

impl MapType {
    pub(crate) fn from_raw(raw: u32) -> Result<Self, Status> {
        Ok(match raw {
            0 => Self::Exchange(HeaderMap::Request),
            1 => Self::Exchange(HeaderMap::RequestTrailers),
            2 => Self::Exchange(HeaderMap::Response),
            3 => Self::Exchange(HeaderMap::ResponseTrailers),
            4 => Self::GrpcInitialMetadata,
            5 => Self::GrpcTrailingMetadata,
            6 => Self::CallHeaders,
            7 => Self::CallTrailers,
            _ => return Err(Status::BadArgument),
        })
    }
}

/// `proxy_buffer_type_t`.
pub(crate) mod buffer {
    pub(crate) const HTTP_REQUEST_BODY: u32 = 0;
    pub(crate) const HTTP_RESPONSE_BODY: u32 = 1;
    pub(crate) const DOWNSTREAM_DATA: u32 = 2;
    pub(crate) const UPSTREAM_DATA: u32 = 3;
    pub(crate) const HTTP_CALL_RESPONSE_BODY: u32 = 4;
    pub(crate) const GRPC_CALL_MESSAGE: u32 = 5;
    pub(crate) const VM_CONFIGURATION: u32 = 6;
    pub(crate) const PLUGIN_CONFIGURATION: u32 = 7;
    pub(crate) const FOREIGN_FUNCTION_ARGUMENTS: u32 = 8;
}

/// `proxy_stream_type_t`.
pub(crate) mod stream_type {
    pub(crate) const HTTP_REQUEST: u32 = 0;
    pub(crate) const HTTP_RESPONSE: u32 = 1;
    pub(crate) const DOWNSTREAM: u32 = 2;
    pub(crate) const UPSTREAM: u32 = 3;
}

/// `proxy_metric_type_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Set, raised and lowered.
    Gauge,
    /// A distribution; this host keeps count and sum.
    Histogram,
}

impl MetricKind {
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        Some(match raw {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Histogram,
            _ => return None,
        })
    }
}
