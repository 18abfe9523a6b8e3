//! Listeners, connections and their end.
//!
//! Connections run on the runtime the server was started on. A drain stops accepting, lets requests finish, closes
//! idle connections and sockets (1012), and ends what is left when its time is over.

use crate::access_log::AccessLog;
use crate::admin::{Admin, Readiness};
use crate::app::{EdgeApp, Limits, UPSTREAM_POOL};
use crate::client_stream::ClientStream;
use crate::gate::Gate;
use crate::metrics::{Metrics, Open};
use crate::service::EdgeService;
use crate::snapshot::Snapshot;
use crate::sockets::SocketObserver;
use crate::tunnel::Tunnels;
use arc_swap::ArcSwap;
use coditect_auth::{Clock, Entropy};
use coditect_config::ServerConfig;
use pingora::apps::http_app::HttpServer;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use prometheus::{IntGauge, Registry};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections the kernel keeps waiting for us.
const BACKLOG: u32 = 1024;
/// Connections of operators at once.
const ADMIN_CONNECTIONS: usize = 64;
/// Wait after a failed accept: the process is short of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server is made of.
pub struct Parts {
    /// The configuration at work; swap it to change it.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Who may pass.
    pub gate: Gate,
    /// The metrics to count in.
    pub metrics: Metrics,
    /// What `/metrics` shows.
    pub registry: Registry,
    /// What `/readyz` asks.
    pub readiness: Arc<dyn Readiness>,
    /// Where requests are told.
    pub access_log: AccessLog,
    /// Who is told of sockets to upstreams.
    pub sockets: Arc<dyn SocketObserver>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// A running edge: its listeners and connections.
pub struct Server {
    app: Arc<EdgeApp>,
    http: SocketAddr,
    admin: SocketAddr,
    readiness: Arc<dyn Readiness>,
    stop: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    drain: CancellationToken,
    connections: TaskTracker,
    operators: TaskTracker,
}

impl Server {
    /// Binds both listeners and begins to serve, on the runtime it is called on.
    ///
    /// # Errors
    /// An address is taken or not ours; the error names it.
    pub fn start(config: &ServerConfig, parts: Parts) -> io::Result<Self> {
        let listener = bind(config.http)?;
        let admin_listener = bind(config.admin)?;
        let (http, admin) = (listener.local_addr()?, admin_listener.local_addr()?);
        let (stop, stopping) = watch::channel(false);
        let (stop_admin, admin_stopping) = watch::channel(false);
        let drain = CancellationToken::new();
        let open = parts.metrics.connections.clone();
        let service = Arc::new(EdgeService {
            snapshot: parts.snapshot,
            gate: parts.gate,
            metrics: parts.metrics,
            access_log: parts.access_log,
            tunnels: Tunnels {
                drain: drain.clone(),
                entropy: Arc::clone(&parts.entropy),
                observer: parts.sockets,
            },
            connector: Connector::new(Some(ConnectorOptions::new(UPSTREAM_POOL))),
            clock: parts.clock,
            entropy: parts.entropy,
        });
        let limits = Limits { silence: config.client_timeout, keepalive: config.keepalive };
        let app = Arc::new(EdgeApp::new(service, limits, config.threads));
        let operator_app =
            HttpServer::new_app(Admin { registry: parts.registry, readiness: Arc::clone(&parts.readiness) });

        let connections = TaskTracker::new();
        let accept = Accept {
            listener,
            limit: config.max_connections,
            idle: config.keepalive,
            open: Some(open),
            tasks: connections.clone(),
        };
        tokio::spawn(accept.run(Arc::clone(&app), stopping));
        let operators = TaskTracker::new();
        let accept = Accept {
            listener: admin_listener,
            limit: ADMIN_CONNECTIONS,
            idle: config.keepalive,
            open: None,
            tasks: operators.clone(),
        };
        tokio::spawn(accept.run(Arc::new(operator_app), admin_stopping));
        Ok(Self {
            app,
            http,
            admin,
            readiness: parts.readiness,
            stop,
            stop_admin,
            drain,
            connections,
            operators,
        })
    }

    /// Where clients are served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where operators are served.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Drains, then stops: readiness fails, nothing new is accepted, requests finish, sockets close. What is left
    /// after `limit` is cut off. Says whether everything ended by itself.
    pub async fn drain(self, limit: Duration) -> bool {
        self.readiness.draining();
        self.stop.send_replace(true);
        self.app.http_cleanup().await;
        self.drain.cancel();
        self.connections.close();
        let whole = tokio::time::timeout(limit, self.connections.wait()).await.is_ok();
        self.stop_admin.send_replace(true);
        self.operators.close();
        whole
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = || {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}

/// One listener's loop.
struct Accept {
    listener: TcpListener,
    limit: usize,
    idle: Duration,
    open: Option<IntGauge>,
    tasks: TaskTracker,
}

impl Accept {
    async fn run<A: ServerApp + Send + Sync + 'static>(
        self,
        app: Arc<A>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let places = Arc::new(Semaphore::new(self.limit));
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => return,
                next = next => next,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // A connection that is gone already shows it at its first read.
            drop(stream.set_nodelay(true));
            let (app, stopping, open) = (Arc::clone(&app), stopping.clone(), self.open.clone());
            let idle = self.idle;
            self.tasks.spawn(async move {
                let _place = place;
                let _open = open.map(Open::new);
                app.process_new(Box::new(ClientStream::new(stream, peer, idle, stopping.clone())), &stopping)
                    .await;
            });
        }
    }
}
