//! Places for streams on the HTTP/2 connections to one upstream: who has one, and who waits for one.
//!
//! Tenants that wait take turns, whatever number of calls each has waiting, and none is given more places than it
//! leaves to others ([`fair`]): not even streams that stay open for long keep another tenant out.

use super::ledger::fair;
use bytes::Bytes;
use h2::client::SendRequest;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Streams on one connection, where the upstream allows so many.
pub(super) const STREAMS_PER_CONNECTION: usize = 100;
/// Connections to one upstream.
pub(super) const MAX_CONNECTIONS: usize = 8;
/// How often a connection is asked whether it lives, where the upstream answered nothing since it was last asked. gRPC
/// servers break off with a client that asks more often than every five minutes so (grpc/grpc, `doc/keepalive.md`).
pub(super) const PING_EVERY: Duration = Duration::from_secs(330);
/// How long calls wait for a connection to say that it lives before another one is opened: one that does answers within a
/// round trip, and a guest that gives its calls no time shall not have connections opened.
const DOUBT: Duration = Duration::from_secs(1);
/// Streams on the first connection before the upstream's settings have come. Others begin with what those said.
const STREAMS_BEFORE_SETTINGS: usize = 10;
/// How long no further connection is tried after one that failed, where there are others.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What comes to who waits: a place, or that no connection could be had.
type Answer = Result<Lease, NoConnection>;

/// Why there is no connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoConnection {
    Timeout,
    Refused,
}

/// The places. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<State>>);

/// A pool, as its connections know it: they do not keep it.
pub(super) struct WeakPool(Weak<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    connections: Vec<Shared>,
    /// Streams that the upstream last allowed on one.
    allowed: Option<usize>,
    next_id: u64,
    tenants: HashMap<Arc<str>, Tenant>,
    /// Tenants with calls that wait; whose turn is next comes first.
    turns: VecDeque<Arc<str>>,
    /// A connection is being opened.
    connecting: bool,
    failed: Option<Instant>,
}

#[derive(Debug, Default)]
struct Tenant {
    streams: usize,
    waiting: VecDeque<oneshot::Sender<Answer>>,
}

/// One connection as calls see it.
#[derive(Debug)]
struct Shared {
    id: u64,
    requests: SendRequest<Bytes>,
    streams: usize,
    used: Instant,
    /// Wakes its task to ask whether it lives.
    ask: Arc<Notify>,
    /// Since when it is to say that it lives: it takes no calls meanwhile.
    doubted: Option<Instant>,
    asked_at: Option<Instant>,
    /// The last response's head.
    answered_at: Option<Instant>,
}

/// One stream's place on a connection.
#[derive(Debug)]
pub(super) struct Lease {
    id: u64,
    tenant: Arc<str>,
    pub(super) requests: SendRequest<Bytes>,
    pool: Pool,
}

impl Pool {
    /// Has a call wait for its place. What comes of it comes at once, or after a later [`grant`](Self::grant).
    pub(super) fn wait(&self, tenant: &Arc<str>) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        // Those that gave up would add up where no place ever gets free.
        state.tenants.retain(|_, tenant| {
            tenant.waiting.retain(|waiting| !waiting.is_closed());
            tenant.streams > 0 || !tenant.waiting.is_empty()
        });
        let State { tenants, turns, .. } = &mut *state;
        turns.retain(|tenant| tenants.get(tenant).is_some_and(|tenant| !tenant.waiting.is_empty()));
        let own = tenants.entry(Arc::clone(tenant)).or_default();
        if own.waiting.is_empty() {
            turns.push_back(Arc::clone(tenant));
        }
        own.waiting.push_back(sender);
        receiver
    }

    /// Gives the places that are free to those whose turn it is.
    pub(super) fn grant(&self) {
        loop {
            let Some((waiting, lease)) = self.lock().next(self) else { return };
            // One that is not taken is free again, and goes to the next.
            drop(waiting.send(Ok(lease)));
        }
    }

    /// Whether somebody waits for a connection that may be opened. If so it counts as being opened, until
    /// [`add`](Self::add) or [`failed`](Self::failed).
    pub(super) fn begin_connecting(&self) -> bool {
        let mut state = self.lock();
        let waits = state.failed.is_some_and(|failed| failed.elapsed() < RETRY_AFTER);
        let may = !state.connecting
            && state.connections.len() < MAX_CONNECTIONS
            && (!waits || state.connections.is_empty())
            && state.free_connection().is_none()
            && !state.connections.iter().any(Shared::may_soon_be_free)
            && state.next_turn().is_some();
        state.connecting |= may;
        may
    }

    /// A connection was opened: its number, from 1, and what wakes its task to ask whether it lives.
    pub(super) fn add(&self, requests: SendRequest<Bytes>) -> (u64, Arc<Notify>) {
        let mut state = self.lock();
        state.connecting = false;
        state.next_id += 1;
        let (id, ask) = (state.next_id, Arc::new(Notify::new()));
        state.connections.push(Shared {
            id,
            requests,
            streams: 0,
            used: Instant::now(),
            ask: Arc::clone(&ask),
            doubted: None,
            asked_at: None,
            answered_at: None,
        });
        (id, ask)
    }

    /// No connection could be opened. Where there is no other, those that wait are told.
    pub(super) fn failed(&self, why: NoConnection) {
        let mut state = self.lock();
        state.connecting = false;
        state.failed = Some(Instant::now());
        if state.connections.is_empty() {
            state.turns.clear();
            for waiting in state.tenants.values_mut().flat_map(|tenant| tenant.waiting.drain(..)) {
                drop(waiting.send(Err(why)));
            }
        }
    }

    /// Nothing came on this connection for a call that began at `began` and ended at its deadline: if nothing came for
    /// any other either, it is asked whether it lives.
    pub(super) fn suspect(&self, connection: u64, began: Instant) {
        let mut state = self.lock();
        let Some(shared) = state.find(connection) else { return };
        if shared.answered_at.is_none_or(|answered| answered < began) && shared.may_ask() {
            shared.doubted = Some(Instant::now());
            shared.ask.notify_one();
        }
    }

    pub(super) fn remove(&self, id: u64) {
        self.lock().remove(id);
    }

    /// Streams that a new connection may have before its settings have come.
    pub(super) fn allowed(&self) -> usize {
        let state = self.lock();
        let told = state.connections.iter().map(Shared::room).min().or(state.allowed);
        told.unwrap_or(STREAMS_BEFORE_SETTINGS).max(1)
    }

    pub(super) fn downgrade(&self) -> WeakPool {
        WeakPool(Arc::downgrade(&self.0))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Streams that the upstream allows on the first connection.
    #[cfg(test)]
    pub(super) fn max_streams(&self) -> Option<usize> {
        self.lock().connections.first().map(|shared| shared.requests.current_max_send_streams())
    }

    /// Connections and the streams on them.
    #[cfg(test)]
    pub(super) fn load(&self) -> Vec<usize> {
        self.lock().connections.iter().map(|shared| shared.streams).collect()
    }

    /// Calls that wait for a place.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().tenants.values().map(|tenant| tenant.waiting.len()).sum()
    }
}

impl WeakPool {
    /// The connection is being asked whether it lives, so that it is not asked too often.
    pub(super) fn asking(&self, id: u64) {
        self.with(id, |shared| {
            let now = Instant::now();
            shared.doubted.get_or_insert(now);
            shared.asked_at = Some(now);
        });
    }

    /// It said that it does.
    pub(super) fn lives(&self, id: u64) {
        self.with(id, |shared| shared.doubted = None);
        if let Some(pool) = self.0.upgrade() {
            Pool(pool).grant();
        }
    }

    /// Whether it is time to ask a connection that nobody has doubts about.
    pub(super) fn is_due(&self, id: u64, since: Instant) -> bool {
        let due = |shared: &mut Shared| shared.asked_at.unwrap_or(since).elapsed() >= PING_EVERY;
        self.with(id, due).unwrap_or(false)
    }

    /// Takes the connection out where it was idle for `keepalive`. True also where there is no pool any more.
    pub(super) fn retire_idle(&self, id: u64, keepalive: Duration) -> bool {
        let Some(pool) = self.0.upgrade() else { return true };
        let pool = Pool(pool);
        let mut state = pool.lock();
        let idle = state.find(id).is_some_and(|s| s.streams == 0 && s.used.elapsed() >= keepalive);
        if idle {
            state.remove(id);
        }
        idle
    }

    pub(super) fn remove(&self, id: u64) {
        if let Some(pool) = self.0.upgrade() {
            Pool(pool).remove(id);
        }
    }

    fn with<R>(&self, id: u64, act: impl FnOnce(&mut Shared) -> R) -> Option<R> {
        let pool = Pool(self.0.upgrade()?);
        pool.lock().find(id).map(act)
    }
}

impl State {
    /// Whom the next place goes to, and the place.
    fn next(&mut self, pool: &Pool) -> Option<(oneshot::Sender<Answer>, Lease)> {
        let connection = self.free_connection()?;
        let turn = self.next_turn()?;
        let tenant = self.turns.remove(turn)?;
        let own = self.tenants.get_mut(&tenant)?;
        let waiting = own.waiting.pop_front()?;
        own.streams += 1;
        if !own.waiting.is_empty() {
            self.turns.push_back(Arc::clone(&tenant));
        }
        let shared = self.connections.get_mut(connection)?;
        shared.streams += 1;
        Some((
            waiting,
            Lease { id: shared.id, tenant, requests: shared.requests.clone(), pool: pool.clone() },
        ))
    }

    /// Where in `turns` the first is that may have a place. Those that gave up are left out on the way.
    fn next_turn(&mut self) -> Option<usize> {
        let free = self.free_places();
        let tenants = &mut self.tenants;
        self.turns.retain(|name| {
            let Some(tenant) = tenants.get_mut(name) else { return false };
            tenant.waiting.retain(|waiting| !waiting.is_closed());
            !tenant.waiting.is_empty()
        });
        self.turns.iter().position(|name| tenants.get(name).is_some_and(|t| fair(t.streams, 1, free)))
    }

    /// The least used connection that has a place.
    fn free_connection(&self) -> Option<usize> {
        let free =
            self.connections.iter().enumerate().filter(|(_, s)| s.doubted.is_none() && s.streams < s.room());
        free.min_by_key(|(_, shared)| shared.streams).map(|(index, _)| index)
    }

    /// Places that are free, also on connections that may still be opened.
    fn free_places(&self) -> usize {
        let rooms = || self.connections.iter().map(Shared::room);
        let further = MAX_CONNECTIONS.saturating_sub(self.connections.len());
        let all = rooms().sum::<usize>() + further * rooms().min().unwrap_or(STREAMS_PER_CONNECTION);
        all.saturating_sub(self.connections.iter().map(|shared| shared.streams).sum())
    }

    fn remove(&mut self, id: u64) {
        if let Some(shared) = self.find(id) {
            self.allowed = Some(shared.room());
        }
        self.connections.retain(|shared| shared.id != id);
    }

    fn find(&mut self, id: u64) -> Option<&mut Shared> {
        self.connections.iter_mut().find(|shared| shared.id == id)
    }
}

impl Shared {
    fn room(&self) -> usize {
        STREAMS_PER_CONNECTION.min(self.requests.current_max_send_streams())
    }

    /// Whether it has a place once it says that it lives, which it may yet do.
    fn may_soon_be_free(&self) -> bool {
        self.streams < self.room() && self.doubted.is_some_and(|since| since.elapsed() < DOUBT)
    }

    /// Whether no server can take it for abuse if the connection is asked now: something was answered since the last
    /// time, or that was long ago.
    fn may_ask(&self) -> bool {
        self.doubted.is_none()
            && self.asked_at.is_none_or(|asked| {
                asked.elapsed() >= PING_EVERY || self.answered_at.is_some_and(|answered| answered > asked)
            })
    }
}

impl Lease {
    /// The connection's number.
    pub(super) fn connection(&self) -> u64 {
        self.id
    }

    /// A response's head came on it.
    pub(super) fn heard(&self) {
        if let Some(shared) = self.pool.lock().find(self.id) {
            shared.answered_at = Some(Instant::now());
        }
    }

    /// The connection takes no more calls.
    pub(super) fn retire_connection(self) {
        self.pool.remove(self.id);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        {
            let mut state = self.pool.lock();
            if let Some(shared) = state.find(self.id) {
                shared.streams = shared.streams.saturating_sub(1);
                shared.used = Instant::now();
            }
            if let Some(tenant) = state.tenants.get_mut(&self.tenant) {
                tenant.streams = tenant.streams.saturating_sub(1);
                if tenant.streams == 0 && tenant.waiting.is_empty() {
                    state.tenants.remove(&self.tenant);
                }
            }
        }
        self.pool.grant();
    }
}
