//! The HTTP/2 connections to one upstream: shared by calls, opened when those there are full, closed when idle.
//!
//! A call that ends at its deadline, or that its guest gives up, resets its own stream and nothing else. A connection
//! goes where it is really dead: it broke, the upstream said goodbye, or it does not answer a PING.

use super::pool::{Lease, NoConnection, PING_EVERY, Pool, WeakPool};
use super::tasks::Tasks;
use crate::upstream::{ConnectError, Upstream};
use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// Received and not yet read bytes: of one stream, and of all streams of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Sent and not yet written bytes of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Headers, or trailers, of one response, in bytes as HTTP/2 counts them.
const MAX_HEADER_LIST: u32 = super::MAX_HEAD_BYTES;
/// How long the answer to a PING may take.
const PING_DEADLINE: Duration = Duration::from_secs(20);
/// How long an idle connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// A connection may have ended since it was last used; then a call is begun again on another one.
const ATTEMPTS: usize = 3;
/// How long a call waits for a place on a connection. HTTP and unary calls have shorter deadlines of their own.
const PLACE_DEADLINE: Duration = Duration::from_secs(30);
/// How often one that waits looks whether an upstream's settings made room, or another connection is to be opened.
const PLACE_CHECK: Duration = Duration::from_millis(100);

/// Why a call could not be begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("HTTP/2 with the upstream failed")]
    Http2(#[from] h2::Error),
    #[error("no stream's place got free on a connection within {} s", PLACE_DEADLINE.as_secs())]
    Full,
}

/// The connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Http2 {
    upstream: Arc<Upstream>,
    tasks: Tasks,
    pub(super) pool: Pool,
}

/// A call that was begun. Dropping it before its end resets the stream.
pub(super) struct Opened {
    pub(super) response: ResponseFuture,
    pub(super) body: SendStream<Bytes>,
    /// Its place on the connection.
    pub(super) lease: Lease,
}

impl Http2 {
    pub(super) fn new(upstream: Arc<Upstream>, tasks: Tasks) -> Self {
        Self { upstream, tasks, pool: Pool::default() }
    }

    /// Sends the head of a tenant's request. `end` where it has no body.
    ///
    /// It waits for its turn on a connection, [`PLACE_DEADLINE`] at most. Cancellation safe.
    ///
    /// # Errors
    /// No connection, or none that takes a request. Nothing was sent then.
    pub(super) async fn open(
        &self,
        tenant: &Arc<str>,
        request: &http::Request<()>,
        end: bool,
    ) -> Result<Opened, OpenError> {
        let mut attempt = 1;
        loop {
            let lease = timeout(PLACE_DEADLINE, self.lease(tenant)).await.map_err(|_| OpenError::Full)??;
            let opened = match lease.requests.clone().ready().await {
                Ok(mut requests) => requests.send_request(request.clone(), end),
                Err(error) => Err(error),
            };
            match opened {
                Ok((response, body)) => return Ok(Opened { response, body, lease }),
                Err(error) if attempt == ATTEMPTS => return Err(error.into()),
                Err(_) => {
                    lease.retire_connection();
                    attempt += 1;
                }
            }
        }
    }

    async fn lease(&self, tenant: &Arc<str>) -> Result<Lease, ConnectError> {
        let mut place = self.pool.wait(tenant);
        loop {
            self.pool.grant();
            if self.pool.begin_connecting() {
                // Not this call's own: others get places on it too.
                self.tasks.spawn(self.clone().connect());
            }
            match timeout(PLACE_CHECK, &mut place).await {
                Ok(Ok(Ok(lease))) => return Ok(lease),
                Ok(Ok(Err(NoConnection::Timeout))) => return Err(ConnectError::Timeout),
                Ok(Ok(Err(NoConnection::Refused)) | Err(_)) => {
                    return Err(ConnectError::Refused(std::io::Error::other("no connection was opened")));
                }
                Err(_) => {}
            }
        }
    }

    /// Opens connections for as long as somebody waits for one that may be opened.
    async fn connect(self) {
        loop {
            match self.connection().await {
                Ok((requests, connection)) => {
                    let (id, ask) = self.pool.add(requests);
                    let keepalive = self.upstream.config.keepalive;
                    let kept = Kept { id, ask, pool: self.pool.downgrade(), keepalive };
                    self.tasks.spawn(kept.drive(connection));
                    self.pool.grant();
                }
                Err(error) => {
                    let upstream = &self.upstream.config.name;
                    tracing::debug!(upstream, error = &error as &dyn std::error::Error, "no connection");
                    self.pool.failed(match error {
                        ConnectError::Timeout => NoConnection::Timeout,
                        _ => NoConnection::Refused,
                    });
                }
            }
            if !self.pool.begin_connecting() {
                return;
            }
        }
    }

    async fn connection(&self) -> Result<(SendRequest<Bytes>, Connection<TcpStream, Bytes>), ConnectError> {
        let stream = self.upstream.connect().await?;
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(self.pool.allowed())
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER);
        // Writes the preface and does not wait for the upstream's.
        let handshake = timeout(self.upstream.config.connect_timeout, builder.handshake(stream)).await;
        handshake
            .map_err(|_| ConnectError::Timeout)?
            .map_err(|error| ConnectError::Refused(std::io::Error::other(error)))
    }
}

/// A connection's own side: it reads and writes for all of its streams.
struct Kept {
    id: u64,
    ask: Arc<Notify>,
    pool: WeakPool,
    keepalive: Duration,
}

impl Kept {
    /// Runs until the connection fails, does not answer, or is idle for too long.
    async fn drive(self, mut connection: Connection<TcpStream, Bytes>) {
        let pings = connection.ping_pong();
        let idle = tokio::select! {
            biased;
            // First, since a flood of frames can take each turn of the task for itself.
            idle = self.watch(pings) => idle,
            // Each of its streams is told why.
            _ = &mut connection => false,
        };
        self.pool.remove(self.id);
        if idle {
            // The last handle is gone: it takes leave and ends.
            drop(timeout(GOODBYE, connection).await);
        }
    }

    /// Whether the connection is to end because nobody uses it, or because it is dead.
    async fn watch(&self, mut pings: Option<PingPong>) -> bool {
        let began = Instant::now();
        loop {
            let asked = tokio::select! {
                biased;
                () = self.ask.notified() => true,
                () = sleep(PING_EVERY.min(self.keepalive)) => false,
            };
            if !asked && self.pool.retire_idle(self.id, self.keepalive) {
                return true;
            }
            if let Some(pings) = &mut pings
                && (asked || self.pool.is_due(self.id, began))
            {
                self.pool.asking(self.id);
                if !matches!(timeout(PING_DEADLINE, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
                    return false;
                }
                self.pool.lives(self.id);
            }
        }
    }
}
