//! The HTTP application behind the listeners: HTTP/1 heads are judged here, then Pingora takes over.

use crate::access_log::{Line, path, query_names};
use crate::client_stream::ClientStream;
use crate::finish::timestamp;
use crate::head::{self, Head, Refusal};
use crate::reply::envelope;
use crate::service::{Edge, EdgeService};
use crate::trace::TraceParent;
use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Streams a client may have open at once on an HTTP/2 connection.
const H2_STREAMS: u32 = 128;
/// Bytes of headers of one HTTP/2 request, uncompressed.
const H2_HEADER_BYTES: u32 = 64 * 1024;
/// Bytes an HTTP/2 client may have under way on one stream, and on its connection.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Reset streams a client may have pending before its connection is ended (CVE-2023-44487).
const H2_PENDING_RESETS: usize = 64;
/// Connections to upstreams kept for the next request.
pub(crate) const UPSTREAM_POOL: usize = 1024;

/// Time limits of a client's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Silence in the middle of an exchange.
    pub(crate) silence: Duration,
    /// Silence between two requests.
    pub(crate) keepalive: Duration,
}

/// What listeners hand connections to.
pub(crate) struct EdgeApp {
    proxy: Arc<HttpProxy<Edge>>,
    service: Arc<EdgeService>,
    options: HttpServerOptions,
    limits: Limits,
}

impl EdgeApp {
    pub(crate) fn new(service: Arc<EdgeService>, limits: Limits, threads: usize) -> Self {
        let conf =
            ServerConf { threads, upstream_keepalive_pool_size: UPSTREAM_POOL, ..ServerConf::default() };
        let mut proxy = http_proxy(&Arc::new(conf), Edge(Arc::clone(&service)));
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(limits.keepalive);
        proxy.server_options = Some(options.clone());
        let mut h2 = H2Options::new();
        h2.max_concurrent_streams(H2_STREAMS)
            .max_header_list_size(H2_HEADER_BYTES)
            .initial_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_pending_accept_reset_streams(H2_PENDING_RESETS);
        proxy.h2_options = Some(h2);
        Self { proxy: Arc::new(proxy), service, options, limits }
    }

    /// The session with its head read and found sound, or nothing where the connection has ended.
    async fn judged(&self, session: ServerSession, shutdown: &ShutdownWatch) -> Option<ServerSession> {
        let http1 = match session {
            ServerSession::H1(http1) => http1,
            mut other => {
                other.set_write_timeout(Some(self.limits.silence));
                return Some(other);
            }
        };
        let peer = http1.client_addr().and_then(|peer| match peer {
            PeerAddr::Inet(peer) => Some(peer.ip().to_canonical()),
            PeerAddr::Unix(_) => None,
        });
        let mut stream = http1.into_inner();
        let mut stopping = shutdown.clone();
        let head = tokio::select! {
            biased;
            head = head::read(&mut stream, self.limits.keepalive) => head,
            // A connection without a whole request is not waited for.
            _ = stopping.wait_for(|stopping| *stopping) => Head::Nothing,
        };
        match head {
            Head::Complete(bytes, chunks) => {
                // Every connection is one of these; of another nothing could be sure.
                (*stream).as_any().downcast_ref::<ClientStream>()?.expect(chunks);
                let mut session = ServerSession::new_http1(stream);
                let keepalive = (!*shutdown.borrow()).then_some(self.limits.keepalive.as_secs());
                session.set_keepalive(keepalive);
                session.set_read_timeout(Some(self.limits.silence));
                session.set_write_timeout(Some(self.limits.silence));
                session.set_pipelined_prefix(bytes);
                Some(session)
            }
            Head::Refused(refusal, bytes) => {
                head::refuse(stream, &self.refused(refusal, &bytes, peer)).await;
                None
            }
            Head::Nothing => None,
        }
    }

    /// Counts and logs a refused head and gives the answer to it.
    fn refused(&self, refusal: Refusal, bytes: &[u8], peer: Option<IpAddr>) -> Vec<u8> {
        let began = Instant::now();
        let service = &self.service;
        service.metrics.head_refused(refusal.code());
        let id = service.entropy.uuid();
        let body = envelope(refusal.code(), refusal.message());
        let reason =
            http::StatusCode::from_u16(refusal.status()).ok().and_then(|status| status.canonical_reason());
        let answer = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
             x-request-id: {id}\r\nconnection: close\r\n\r\n{body}",
            refusal.status(),
            reason.unwrap_or_default(),
            body.len(),
        );
        let (method, target) = request_line(bytes);
        let (target, query) = target.split_once('?').unwrap_or((&target, ""));
        service.access_log.line(&Line {
            time: timestamp(service.clock.now_millis()),
            request_id: id,
            trace_id: TraceParent::new(&*service.entropy).trace_id(),
            client: peer,
            protocol: "HTTP/1.1",
            method: &method,
            host: "",
            path: &path(target),
            query: &query_names(query),
            status: refusal.status(),
            code: Some(refusal.code()),
            duration_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            bytes_in: 0,
            bytes_out: body.len() as u64,
            route: None,
            upstream: None,
            tenant: None,
            user: None,
            workspace: None,
            properties: None,
        });
        answer.into_bytes()
    }
}

/// Method and target of what may be no request line at all, for the log: cut, and without control characters.
fn request_line(bytes: &[u8]) -> (String, String) {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ').map(|part| &part[..part.len().min(256)]);
    let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default()).replace(char::is_control, "");
    (next(), next())
}

#[async_trait]
impl HttpServerApp for EdgeApp {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let session = self.judged(session, shutdown).await?;
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
