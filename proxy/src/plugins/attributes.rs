//! What the edge knows of a request, under the names and in the encodings of Envoy's attributes, and ours under
//! `coditect.*`.
//!
//! A string is its bytes; a number is an `int64` (`connection.id`: `uint64`), little-endian; a time is an `int64` of nanoseconds since 1970 and a duration one of nanoseconds; a truth value is one
//! byte. An attribute that has no value here, such as `connection.tls_version`, is absent. Which of them a callback may
//! see, and those that are another view of the header maps, are the host's business.

use super::view::View;
use crate::snapshot::{RouteEntry, TargetEntry};
use coditect_auth::Identity;
use http::Version;
use pingora::protocols::SocketDigest;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What is known of a request once it was let in.
pub(crate) struct Facts {
    /// `request.id`
    pub(crate) request_id: String,
    /// `coditect.route`, `xds.route_name`, `xds.cluster_name`
    pub(crate) route: Arc<RouteEntry>,
    /// `coditect.tenant_id`, `coditect.user_id`, `coditect.session_id`, `coditect.claims.*`: of the verified token.
    pub(crate) identity: Option<Identity>,
    /// `coditect.workspace_id`
    pub(crate) workspace: Option<Uuid>,
    /// `source.address`, `source.port`
    pub(crate) client: Option<SocketAddr>,
    /// `destination.address`, `connection.id`
    pub(crate) socket: Option<Arc<SocketDigest>>,
    /// Whether `:scheme` is https.
    pub(crate) secure: bool,
    /// `request.time`, in nanoseconds since 1970.
    pub(crate) arrived: i64,
    /// What `request.duration` counts from.
    pub(crate) started: Instant,
}

/// What becomes known while the request is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// `request.size`: bytes of the body that came in so far.
    pub(crate) bytes_in: u64,
    /// `response.size`: bytes of the body that were written.
    pub(crate) bytes_out: u64,
    /// `upstream.address`, `upstream.port`
    pub(crate) upstream: Option<SocketAddr>,
    /// `upstream.local_address`
    pub(crate) upstream_local: Option<SocketAddr>,
    /// `upstream.request_attempt_count`
    pub(crate) attempts: u64,
    /// `response.backend_latency`: from the request's head to the response's.
    pub(crate) backend_latency: Option<Duration>,
    /// `response.code_details`
    pub(crate) details: Vec<u8>,
    /// Why the edge answered itself, of which `response.flags` is made.
    pub(crate) code: Option<&'static str>,
}

/// Appends an attribute's value and says whether there is one.
pub(super) fn find(view: &View, path: &[&[u8]], value: &mut Vec<u8>) -> bool {
    let found = match *path {
        [b"coditect", ref rest @ ..] => coditect(&view.facts, rest),
        [b"request", ref rest @ ..] => request(view, rest),
        [b"response", ref rest @ ..] => response(view, rest),
        [b"source", name] => address(name, view.facts.client),
        [b"destination", name] => address(name, local(&view.facts)),
        [b"connection", b"id"] | [b"connection_id"] => connection_id(&view.facts).map(Value::Uint),
        [b"connection", b"mtls"] => Some(Value::Bool(false)),
        // Envoy's is empty without TLS.
        [b"connection", b"requested_server_name"] => Some(Value::empty()),
        [b"upstream", name] => upstream(view, name),
        [b"xds", name] => xds(&view.facts, name),
        // Envoy's is an empty message where no filter has metadata.
        [b"metadata"] => Some(Value::empty()),
        _ => None,
    };
    found.inspect(|found| found.encode(value)).is_some()
}

/// A value before its encoding.
enum Value {
    Text(String),
    Bytes(Vec<u8>),
    Int(i64),
    Uint(u64),
    Bool(bool),
}

impl Value {
    fn empty() -> Self {
        Self::Bytes(Vec::new())
    }

    fn size(bytes: u64) -> Self {
        Self::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    fn duration(duration: Duration) -> Self {
        Self::Int(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Int(number) => out.extend_from_slice(&number.to_le_bytes()),
            Self::Uint(number) => out.extend_from_slice(&number.to_le_bytes()),
            Self::Bool(truth) => out.push(u8::from(*truth)),
        }
    }
}

fn coditect(facts: &Facts, path: &[&[u8]]) -> Option<Value> {
    let claims = facts.identity.as_ref().map(|identity| &identity.claims);
    let id = |id: Uuid| Value::Text(id.to_string());
    match *path {
        [b"route"] => Some(Value::Text(facts.route.config.prefix.text.clone())),
        [b"workspace_id"] => facts.workspace.map(id),
        [b"tenant_id"] => claims.map(|claims| id(claims.tenant_id)),
        [b"user_id"] => claims.map(|claims| id(claims.sub)),
        [b"session_id"] => claims.map(|claims| id(claims.session_id)),
        [b"claims", name] => {
            let claims = claims?;
            Some(Value::Text(match name {
                b"sub" => claims.sub.to_string(),
                b"tenant_id" => claims.tenant_id.to_string(),
                b"email" => claims.email.clone(),
                b"session_id" => claims.session_id.to_string(),
                b"token_family" => claims.token_family.to_string(),
                b"exp" => claims.exp.to_string(),
                b"iat" => claims.iat.to_string(),
                b"iss" => claims.iss.clone(),
                b"aud" => claims.aud.clone(),
                b"jti" => claims.jti.to_string(),
                _ => return None,
            }))
        }
        _ => None,
    }
}

fn request(view: &View, path: &[&[u8]]) -> Option<Value> {
    Some(match *path {
        [b"protocol"] => Value::Text(protocol(view.request.version).to_owned()),
        [b"time"] => Value::Int(view.facts.arrived),
        [b"duration"] => Value::duration(view.facts.started.elapsed()),
        // Before the body was read, what the client says of it.
        [b"size"] => Value::size(view.progress.bytes_in.max(stated_length(&view.request.headers))),
        [b"total_size"] => Value::size(view.progress.bytes_in + head_bytes(&view.request.headers)),
        _ => return None,
    })
}

/// What a message says of its body's length; 0 where it says nothing.
fn stated_length(headers: &http::HeaderMap) -> u64 {
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn response(view: &View, path: &[&[u8]]) -> Option<Value> {
    let progress = &view.progress;
    let headers = view.response.as_ref().map(|response| &response.headers);
    let trailers = view.response_trailers.as_ref();
    Some(match *path {
        [b"flags"] => Value::Int(flags(progress.code)),
        [b"size"] => Value::size(progress.bytes_out),
        [b"total_size"] => {
            let heads = headers.map_or(0, head_bytes) + trailers.map_or(0, head_bytes);
            Value::size(progress.bytes_out + heads)
        }
        [b"code_details"] if !progress.details.is_empty() => Value::Bytes(progress.details.clone()),
        [b"backend_latency"] => Value::duration(progress.backend_latency?),
        [b"grpc_status"] => {
            let told = trailers.and_then(|trailers| trailers.get("grpc-status"));
            let told = told.or_else(|| headers?.get("grpc-status"));
            match told {
                Some(status) => Value::Int(status.to_str().ok()?.parse().ok()?),
                None => Value::Int(grpc_status(view.response.as_ref()?.status.as_u16()).into()),
            }
        }
        [b"trailers", name] => {
            Value::Bytes(trailers?.get(std::str::from_utf8(name).ok()?)?.as_bytes().into())
        }
        _ => return None,
    })
}

fn address(name: &[u8], address: Option<SocketAddr>) -> Option<Value> {
    match name {
        b"address" => address.map(|address| Value::Text(address.to_string())),
        b"port" => address.map(|address| Value::Int(address.port().into())),
        _ => None,
    }
}

/// The edge's end of the client's connection.
fn local(facts: &Facts) -> Option<SocketAddr> {
    facts.socket.as_ref()?.local_addr()?.as_inet().copied()
}

/// The kernel's number for the connection, which no other has while the machine runs.
fn connection_id(facts: &Facts) -> Option<u64> {
    facts.socket.as_ref()?.socket_cookie().ok()
}

fn upstream(view: &View, name: &[u8]) -> Option<Value> {
    let progress = &view.progress;
    match name {
        b"local_address" => {
            let shown = progress.upstream_local.filter(|_| view.response.is_some());
            shown.map(|address| Value::Text(address.to_string()))
        }
        b"request_attempt_count" => Some(Value::size(progress.attempts)),
        // Envoy's is empty where nothing failed.
        b"transport_failure_reason" => progress.upstream.map(|_| Value::empty()),
        _ => address(name, progress.upstream),
    }
}

fn xds(facts: &Facts, name: &[u8]) -> Option<Value> {
    match (name, &facts.route.target) {
        (b"route_name" | b"virtual_host_name", _) => {
            Some(Value::Text(facts.route.config.prefix.text.clone()))
        }
        (b"cluster_name", TargetEntry::Upstream(upstream)) => Some(Value::Text(upstream.config.name.clone())),
        // Envoy's UNSPECIFIED: there is one listener for clients.
        (b"listener_direction", _) => Some(Value::Int(0)),
        (b"cluster_metadata" | b"route_metadata" | b"filter_chain_name", _) => Some(Value::empty()),
        _ => None,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Bytes of names and values, as Envoy counts a head.
fn head_bytes(headers: &http::HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}

/// Envoy's bits for why there is no response of an upstream (`StreamInfo::CoreResponseFlag`).
fn flags(code: Option<&str>) -> i64 {
    match code {
        Some("UPSTREAM_TIMEOUT") => 0x4,
        Some("UPSTREAM_UNREACHABLE") => 0x20,
        Some("BAD_GATEWAY") => 0x40,
        Some("CLIENT_GONE") => 0x4000,
        Some("REQUEST_TIMEOUT") => 0x1_0000,
        _ => 0,
    }
}

/// The gRPC status that an HTTP status stands for where none was sent (grpc/grpc, `http-grpc-status-mapping.md`).
pub(crate) fn grpc_status(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
