//! Upstreams: where they are now.
//!
//! A name is looked up again while the edge runs: an answer older than [`FRESH`] is renewed in the background and
//! used meanwhile. A failed look-up is counted and logged; the last good answer stays in use.

use crate::metrics::UpstreamMetrics;
use arc_swap::ArcSwapOption;
use coditect_config::UpstreamConfig;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long a look-up's answer is used before it is renewed.
const FRESH: Duration = Duration::from_secs(10);
/// How long a look-up may take.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(3);

/// Why an upstream has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the name {0} has no address")]
    Empty(String),
    #[error("the name {0} could not be resolved")]
    Failed(String, #[source] std::io::Error),
    #[error("the look-up of {0} took more than {seconds} s", seconds = LOOKUP_DEADLINE.as_secs())]
    Timeout(String),
}

/// Why there is no connection to an upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("no address of the upstream took the connection")]
    Refused(#[source] std::io::Error),
    #[error("no address of the upstream took the connection in time")]
    Timeout,
}

/// One upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: UpstreamConfig,
    pub(crate) metrics: UpstreamMetrics,
    resolved: ArcSwapOption<Resolved>,
    renewing: AtomicBool,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig, metrics: UpstreamMetrics) -> Self {
        Self {
            config,
            metrics,
            resolved: ArcSwapOption::empty(),
            renewing: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        }
    }

    /// Host and port as a `Host` header has them.
    pub(crate) fn authority(&self) -> String {
        let UpstreamConfig { host, port, .. } = &self.config;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// A request's turn, for [`address`](Self::address).
    pub(crate) fn take_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// An address to try as the `attempt`-th of the request with this turn, counted from 0; `None` once each was
    /// tried. Requests take turns among the addresses of one family; the other family's are the last resort.
    ///
    /// # Errors
    /// The name has no address now and had none before.
    pub(crate) async fn address(
        self: &Arc<Self>,
        turn: usize,
        attempt: usize,
    ) -> Result<Option<SocketAddr>, ResolveError> {
        if let Ok(ip) = self.config.host.parse::<IpAddr>() {
            return Ok((attempt == 0).then_some(SocketAddr::new(ip, self.config.port)));
        }
        let known = self.resolved.load_full();
        let resolved = match known {
            Some(known) => {
                if known.at.elapsed() > FRESH {
                    self.renew_in_background();
                }
                known
            }
            None => self.renew().await?,
        };
        let preferred =
            resolved.addresses.iter().take_while(|a| a.is_ipv4() == resolved.addresses[0].is_ipv4()).count();
        let index = if attempt < preferred { (turn % preferred + attempt) % preferred } else { attempt };
        Ok(resolved.addresses.get(index).copied())
    }

    /// Opens a connection of its own, to the first address that takes it.
    ///
    /// Each address has the upstream's `connect_timeout`. Cancellation safe: nothing stays open.
    ///
    /// # Errors
    /// No address, or none took the connection.
    pub(crate) async fn connect(self: &Arc<Self>) -> Result<TcpStream, ConnectError> {
        let turn = self.take_turn();
        let mut failed = std::io::Error::other("the upstream's name has no address");
        let mut attempt = 0;
        while let Some(address) = self.address(turn, attempt).await? {
            attempt += 1;
            let connected = timeout(self.config.connect_timeout, TcpStream::connect(address)).await;
            match connected.map(|connected| connected.and_then(|s| s.set_nodelay(true).map(|()| s))) {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = std::io::ErrorKind::TimedOut.into(),
            }
        }
        if failed.kind() == std::io::ErrorKind::TimedOut {
            Err(ConnectError::Timeout)
        } else {
            Err(ConnectError::Refused(failed))
        }
    }

    fn renew_in_background(self: &Arc<Self>) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let upstream = Arc::clone(self);
        tokio::spawn(async move {
            // Counted and logged inside; the old answer stays.
            drop(upstream.renew().await);
            upstream.renewing.store(false, Ordering::Release);
        });
    }

    async fn renew(&self) -> Result<Arc<Resolved>, ResolveError> {
        let host = &self.config.host;
        let lookup = tokio::net::lookup_host((host.as_str(), self.config.port));
        let found = match timeout(LOOKUP_DEADLINE, lookup).await {
            Ok(Ok(addresses)) => {
                let mut addresses: Vec<_> = addresses.collect();
                // The same order each time, IPv4 first: what listens on one family only is found at the first try
                // more often so, and an unchanged answer stays unchanged.
                addresses.sort_by_key(|address| (address.is_ipv6(), *address));
                addresses.dedup();
                if addresses.is_empty() { Err(ResolveError::Empty(host.clone())) } else { Ok(addresses) }
            }
            Ok(Err(error)) => Err(ResolveError::Failed(host.clone(), error)),
            Err(_) => Err(ResolveError::Timeout(host.clone())),
        };
        match found {
            Ok(addresses) => {
                let resolved = Arc::new(Resolved { addresses, at: Instant::now() });
                self.resolved.store(Some(Arc::clone(&resolved)));
                Ok(resolved)
            }
            Err(error) => {
                self.metrics.resolve_failures.inc();
                tracing::warn!(
                    upstream = self.config.name,
                    error = &error as &dyn std::error::Error,
                    "look-up failed"
                );
                Err(error)
            }
        }
    }
}
