//! What the edge keeps of a request while it is under way.

use crate::access_log;
use crate::gate::WorkspaceEnd;
use crate::plugins::PluginRun;
use crate::snapshot::{RouteEntry, TargetEntry};
use crate::trace::TraceParent;
use crate::upstream::Upstream;
use coditect_auth::{Entropy, Identity};
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// One request.
pub struct RequestCtx {
    pub(crate) started: Instant,
    pub(crate) id: Uuid,
    pub(crate) trace: TraceParent,
    /// Who opened the connection.
    pub(crate) peer: Option<SocketAddr>,
    /// Whose request it is: the peer, or whom a trusted proxy names.
    pub(crate) client: Option<IpAddr>,
    /// Whether the client's side is encrypted, as a trusted proxy says.
    pub(crate) secure: bool,
    pub(crate) route: Option<Arc<RouteEntry>>,
    pub(crate) identity: Option<Identity>,
    pub(crate) workspace: Option<Uuid>,
    /// The end of that workspace, for an upgrade.
    pub(crate) workspace_end: Option<WorkspaceEnd>,
    /// The part of the path that is taken off before an upstream sees it, with a slash at its end.
    pub(crate) stripped: Option<String>,
    pub(crate) plugins: Option<PluginRun>,
    /// The method and the path that were let in, where plugins may change them.
    pub(crate) arrived: Option<(Method, String)>,
    /// The edge's own cookies, which neither plugins nor upstreams see.
    pub(crate) own_cookies: Option<HeaderValue>,
    /// The client's `Authorization`, which plugins do not see, for an upstream whose route hands it on.
    pub(crate) authorization: Option<HeaderValue>,
    /// Whether the client waits to be asked for the body.
    pub(crate) expects: bool,
    /// Whether the client is to get no answer at all.
    pub(crate) unanswered: bool,
    /// The upstream's addresses tried so far, and this request's turn among them.
    pub(crate) attempts: usize,
    pub(crate) turn: usize,
    /// Whether an upstream was asked.
    pub(crate) forwarded: bool,
    /// Whether the connection became a socket, whose life is no request's duration.
    pub(crate) socket: bool,
    /// For the log.
    pub(crate) seen: Seen,
    pub(crate) status: u16,
    pub(crate) code: Option<&'static str>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl RequestCtx {
    /// A request that has just come in.
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        Self {
            started: Instant::now(),
            id: entropy.uuid(),
            trace: TraceParent::new(entropy),
            peer: None,
            client: None,
            secure: false,
            route: None,
            identity: None,
            workspace: None,
            workspace_end: None,
            stripped: None,
            plugins: None,
            arrived: None,
            own_cookies: None,
            authorization: None,
            expects: false,
            unanswered: false,
            attempts: 0,
            turn: 0,
            forwarded: false,
            socket: false,
            seen: Seen::default(),
            status: 0,
            code: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// The upstream its route leads to.
    pub(crate) fn upstream(&self) -> Option<&Arc<Upstream>> {
        match &self.route.as_ref()?.target {
            TargetEntry::Upstream(upstream) => Some(upstream),
            TargetEntry::Local(_) | TargetEntry::Files { .. } => None,
        }
    }
}

/// The request line as it came in, fit for the log: what follows may rewrite it.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) protocol: &'static str,
}

impl Seen {
    pub(crate) fn of(request: &RequestHeader, host: &str, protocol: &'static str) -> Self {
        Self {
            method: request.method.as_str().to_owned(),
            host: host.to_owned(),
            path: access_log::path(request.uri.path()),
            query: request.uri.query().map(access_log::query_names).unwrap_or_default(),
            protocol,
        }
    }
}
