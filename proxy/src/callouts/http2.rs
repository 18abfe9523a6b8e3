//! The HTTP/2 connections to one upstream: shared by calls, opened when those there are full, closed when idle.

use super::tasks::Tasks;
use crate::upstream::{ConnectError, Upstream};
use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Streams on one connection, where the upstream allows so many.
const STREAMS_PER_CONNECTION: usize = 100;
/// Connections to one upstream. Once all are full, calls wait in the least used.
const MAX_CONNECTIONS: usize = 8;
/// Received and not yet read bytes: of one stream, and of all streams of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Sent and not yet written bytes of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Headers, or trailers, of one response, in bytes as HTTP/2 counts them.
const MAX_HEADER_LIST: u32 = super::MAX_HEAD_BYTES;
/// How often a connection with open streams is asked whether it lives. gRPC servers break off with a client that asks
/// more often than every five minutes (grpc/grpc, `doc/keepalive.md`).
const PING_EVERY: Duration = Duration::from_secs(330);
/// How long it may take to say so.
const PING_DEADLINE: Duration = Duration::from_secs(20);
/// How long an idle connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// A connection may have ended since it was last used; then a call is begun again on another one.
const ATTEMPTS: usize = 3;

/// Why a call could not be begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("HTTP/2 with the upstream failed")]
    Http2(#[from] h2::Error),
}

/// The connections.
#[derive(Debug)]
pub(super) struct Http2 {
    upstream: Arc<Upstream>,
    tasks: Tasks,
    pool: Arc<Mutex<Pool>>,
    /// Held while connecting: calls that come meanwhile share what comes of it. When that last failed.
    connecting: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Pool {
    connections: Vec<Shared>,
    next_id: u64,
}

/// One connection as calls see it.
#[derive(Debug)]
struct Shared {
    id: u64,
    requests: SendRequest<Bytes>,
    streams: usize,
    used: Instant,
}

/// A call that was begun. Dropping it before its end resets the stream.
pub(super) struct Opened {
    pub(super) response: ResponseFuture,
    pub(super) body: SendStream<Bytes>,
    /// Its place on the connection.
    pub(super) lease: Lease,
}

/// One stream's place on a connection.
pub(super) struct Lease {
    id: u64,
    requests: SendRequest<Bytes>,
    pool: Arc<Mutex<Pool>>,
}

impl Http2 {
    pub(super) fn new(upstream: Arc<Upstream>, tasks: Tasks) -> Self {
        Self { upstream, tasks, pool: Arc::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// Sends a request's head. `end` where it has no body.
    ///
    /// It waits for a connection for the upstream's `connect_timeout` per address, and for no more than two attempts at
    /// one. Cancellation safe.
    ///
    /// # Errors
    /// No connection, or none that takes a request. Nothing was sent then.
    pub(super) async fn open(&self, request: &http::Request<()>, end: bool) -> Result<Opened, OpenError> {
        let mut attempt = 1;
        loop {
            let lease = self.lease().await?;
            let opened = match lease.requests.clone().ready().await {
                Ok(mut requests) => requests.send_request(request.clone(), end),
                Err(error) => Err(error),
            };
            match opened {
                Ok((response, body)) => return Ok(Opened { response, body, lease }),
                Err(error) if attempt == ATTEMPTS => return Err(error.into()),
                Err(_) => {
                    lock(&self.pool).remove(lease.id);
                    attempt += 1;
                }
            }
        }
    }

    async fn lease(&self) -> Result<Lease, ConnectError> {
        if let Some(lease) = self.free() {
            return Ok(lease);
        }
        let waits = Instant::now();
        let mut failed = self.connecting.lock().await;
        if let Some(lease) = self.free() {
            return Ok(lease);
        }
        if failed.is_some_and(|failed| failed >= waits) {
            return Err(ConnectError::Refused(std::io::Error::other("the attempt under way failed")));
        }
        let connected = self.connect().await;
        if connected.is_err() {
            *failed = Some(Instant::now());
        }
        connected
    }

    async fn connect(&self) -> Result<Lease, ConnectError> {
        let stream = self.upstream.connect().await?;
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(STREAMS_PER_CONNECTION)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER);
        // Writes the preface and does not wait for the upstream's.
        let handshake = timeout(self.upstream.config.connect_timeout, builder.handshake(stream)).await;
        let (requests, connection) = handshake
            .map_err(|_| ConnectError::Timeout)?
            .map_err(|error| ConnectError::Refused(std::io::Error::other(error)))?;
        let lease = self.add(requests);
        let kept = Kept {
            id: lease.id,
            pool: Arc::downgrade(&self.pool),
            keepalive: self.upstream.config.keepalive,
        };
        self.tasks.spawn(kept.drive(connection));
        Ok(lease)
    }

    /// A place on a connection that has one, or on the least used where there may be no more connections.
    fn free(&self) -> Option<Lease> {
        let mut pool = lock(&self.pool);
        let full = pool.connections.len() >= MAX_CONNECTIONS;
        let least = pool.connections.iter_mut().min_by_key(|shared| shared.streams)?;
        let room = STREAMS_PER_CONNECTION.min(least.requests.current_max_send_streams());
        (least.streams < room || full).then(|| least.lease(&self.pool))
    }

    /// No further calls on this connection: it did not answer in time. Those that are on it go on.
    pub(super) fn retire(&self, connection: u64) {
        lock(&self.pool).remove(connection);
    }

    fn add(&self, requests: SendRequest<Bytes>) -> Lease {
        let mut pool = lock(&self.pool);
        pool.next_id += 1;
        let mut shared = Shared { id: pool.next_id, requests, streams: 0, used: Instant::now() };
        let lease = shared.lease(&self.pool);
        pool.connections.push(shared);
        lease
    }

    /// Streams that the upstream allows on the first connection.
    #[cfg(test)]
    pub(super) fn max_streams(&self) -> Option<usize> {
        lock(&self.pool).connections.first().map(|shared| shared.requests.current_max_send_streams())
    }

    /// Connections and the streams on them.
    #[cfg(test)]
    pub(super) fn load(&self) -> Vec<usize> {
        lock(&self.pool).connections.iter().map(|shared| shared.streams).collect()
    }
}

impl Shared {
    fn lease(&mut self, pool: &Arc<Mutex<Pool>>) -> Lease {
        self.streams += 1;
        Lease { id: self.id, requests: self.requests.clone(), pool: Arc::clone(pool) }
    }
}

impl Pool {
    fn remove(&mut self, id: u64) {
        self.connections.retain(|shared| shared.id != id);
    }

    fn find(&mut self, id: u64) -> Option<&mut Shared> {
        self.connections.iter_mut().find(|shared| shared.id == id)
    }
}

impl Lease {
    /// The connection's number, from 1.
    pub(super) fn connection(&self) -> u64 {
        self.id
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(shared) = lock(&self.pool).find(self.id) {
            shared.streams = shared.streams.saturating_sub(1);
            shared.used = Instant::now();
        }
    }
}

/// A connection's own side: it reads and writes for all of its streams.
struct Kept {
    id: u64,
    pool: Weak<Mutex<Pool>>,
    keepalive: Duration,
}

impl Kept {
    /// Runs until the connection fails, does not answer, or is idle for too long.
    async fn drive(self, mut connection: Connection<TcpStream, Bytes>) {
        let pings = connection.ping_pong();
        let idle = tokio::select! {
            biased;
            // Each of its streams is told why.
            _ = &mut connection => false,
            idle = self.watch(pings) => idle,
        };
        if let Some(pool) = self.pool.upgrade() {
            lock(&pool).remove(self.id);
        }
        if idle {
            // The last handle is gone: it takes leave and ends.
            drop(timeout(GOODBYE, connection).await);
        }
    }

    /// Whether the connection is to end because nobody uses it, or because it is dead.
    async fn watch(&self, mut pings: Option<PingPong>) -> bool {
        let mut asked = Instant::now();
        loop {
            sleep(PING_EVERY.min(self.keepalive)).await;
            if self.retire_idle() {
                return true;
            }
            if let Some(pings) = &mut pings
                && asked.elapsed() >= PING_EVERY
            {
                asked = Instant::now();
                if !matches!(timeout(PING_DEADLINE, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
                    return false;
                }
            }
        }
    }

    /// Takes the connection out of the pool where it was idle for `keepalive`.
    fn retire_idle(&self) -> bool {
        let Some(pool) = self.pool.upgrade() else { return true };
        let mut pool = lock(&pool);
        let idle = pool.find(self.id).is_some_and(|s| s.streams == 0 && s.used.elapsed() >= self.keepalive);
        if idle {
            pool.remove(self.id);
        }
        idle
    }
}

fn lock(pool: &Mutex<Pool>) -> std::sync::MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}
