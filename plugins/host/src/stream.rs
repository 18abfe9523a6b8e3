//! A plugin's context for one request: what its guest sees of the exchange, and what it did to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::abi::{Action, Direction, HeaderMap};
use crate::body::Body;
use crate::budget::Budget;
use crate::chain::Item;
use crate::error::StreamError;
use crate::exchange::{Exchange, LocalResponse, Outcome, SharedExchange};
use crate::plugin::Plugin;
use crate::pool::Lease;
use crate::threads::{Worker, is_slow_one};

/// Rings when something happened to one of a request's streams from outside its own callbacks.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether it rang since this was last asked.
    pub(crate) fn was_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
    }

    /// Waits for the next ring. One waits at a time; a ring before it is not lost.
    pub(crate) async fn heard(&self) {
        self.notify.notified().await;
    }
}

/// One half of a stream.
#[derive(Debug, Default)]
pub(crate) struct Leg {
    /// Which of the half's maps and buffers the guest has: those of its callback, and of those it was held in.
    headers: bool,
    trailers: bool,
    pub(crate) body_open: bool,
    pub(crate) body: Body,
    /// The guest holds it back.
    pub(crate) held: bool,
    /// The guest resumed it in the very callback that may still answer with a pause.
    resumed: bool,
}

impl Leg {
    fn release(&mut self) {
        self.headers = false;
        self.trailers = false;
        self.body_open = false;
        self.held = false;
    }
}

/// What host calls on a stream work on.
pub(crate) struct StreamInner {
    exchange: SharedExchange,
    legs: [Leg; 2],
    /// A response is on its way through this plugin: `response.code` and the like are there.
    pub(crate) response_began: bool,
    /// The request's headers came.
    pub(crate) request_began: bool,
    /// The guest sent its local response.
    responded: bool,
    /// It was not taken by the embedder yet.
    local_response: Option<LocalResponse>,
    pub(crate) closed: bool,
    lost: bool,
    /// Calls out made for this stream so far.
    pub(crate) calls: u32,
}

impl StreamInner {
    pub(crate) fn leg(&mut self, direction: Direction) -> &mut Leg {
        let [request, response] = &mut self.legs;
        match direction {
            Direction::Request => request,
            Direction::Response => response,
        }
    }

    pub(crate) fn has_map(&mut self, map: HeaderMap) -> bool {
        let leg = self.leg(map.direction());
        match map {
            HeaderMap::Request | HeaderMap::Response => leg.headers,
            HeaderMap::RequestTrailers | HeaderMap::ResponseTrailers => leg.trailers,
        }
    }

    pub(crate) fn with_exchange<R>(&self, act: impl FnOnce(&mut dyn Exchange) -> R) -> R {
        let mut exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut *exchange)
    }
}

/// A stream context as its guest's host calls find it.
pub(crate) struct StreamState {
    pub(crate) id: u32,
    inner: Mutex<StreamInner>,
    bell: Arc<Bell>,
}

/// `proxy_action_t`: `PAUSE`.
const PAUSE: u32 = 1;

/// What a callback is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Headers,
    Body,
    Trailers,
}

impl StreamState {
    pub(crate) fn new(id: u32, exchange: SharedExchange, bell: Arc<Bell>) -> Arc<Self> {
        let inner = StreamInner {
            exchange,
            legs: [Leg::default(), Leg::default()],
            response_began: false,
            request_began: false,
            responded: false,
            local_response: None,
            closed: false,
            lost: false,
            calls: 0,
        };
        Arc::new(Self { id, inner: Mutex::new(inner), bell })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, StreamInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn respond(&self, response: LocalResponse) {
        let mut inner = self.lock();
        if !inner.responded {
            inner.responded = true;
            inner.local_response = Some(response);
            drop(inner);
            self.bell.ring();
        }
    }

    /// `proxy_continue_stream`. Resuming what is not held does nothing.
    pub(crate) fn resume(&self, direction: Direction) {
        let mut inner = self.lock();
        let leg = inner.leg(direction);
        leg.release();
        leg.resumed = true;
        drop(inner);
        self.bell.ring();
    }

    /// `proxy_close_stream`.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.bell.ring();
    }

    /// The instance is gone.
    pub(crate) fn lose(&self) {
        self.lock().lost = true;
        self.bell.ring();
    }

    /// Gives the guest what its callback is about.
    pub(crate) fn enter(&self, direction: Direction, part: Part) {
        let mut inner = self.lock();
        match direction {
            Direction::Request => inner.request_began = true,
            Direction::Response => inner.response_began = true,
        }
        let leg = inner.leg(direction);
        leg.resumed = false;
        match part {
            Part::Headers => leg.headers = true,
            Part::Body => leg.body_open = true,
            Part::Trailers => leg.trailers = true,
        }
    }

    /// What the callback led to.
    pub(crate) fn leave(&self, direction: Direction, raw: u32) -> Outcome {
        let mut inner = self.lock();
        let local_response = inner.local_response.take();
        let closed = inner.closed;
        let ended = local_response.is_some() || closed;
        let leg = inner.leg(direction);
        // Numbers that are no action go on, as in Envoy.
        if (raw != PAUSE || leg.resumed) && !ended {
            leg.release();
            return Outcome { action: Action::Continue, local_response, closed, body: leg.body.take() };
        }
        leg.held = true;
        Outcome { action: Action::Pause, local_response, closed, body: Bytes::new() }
    }
}

/// One request's stream context in one instance of a plugin.
///
/// Each method is one callback, or one end of life: it runs on the calling thread, without awaiting, and returns
/// when the guest does or is cut off. The context can move between threads and be held across awaits between calls.
/// [`Chain`](crate::Chain) drives the streams of all of a request's plugins; this is what it drives.
///
/// After an error the instance is gone; every later call answers [`StreamError::InstanceLost`] and does nothing.
/// Dropping a context that was not [`close`](Self::close)d ends it in the guest without `proxy_on_log`.
pub struct StreamContext {
    plugin: Plugin,
    lease: Lease,
    state: Arc<StreamState>,
    open: bool,
}

/// What happened to a stream since its last callback.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing that ends it.
    Alive,
    Responded(LocalResponse),
    Closed,
    /// Its instance is gone.
    Lost,
}

impl StreamContext {
    pub(crate) fn new(plugin: Plugin, lease: Lease, state: Arc<StreamState>) -> Self {
        Self { plugin, lease, state, open: true }
    }

    /// The plugin it belongs to.
    #[must_use]
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Runs the callback for a part of a message.
    pub(crate) fn on(&mut self, direction: Direction, part: Item) -> Result<Outcome, StreamError> {
        match part {
            Item::Headers { end } => self.on_headers(direction, end),
            Item::Data { bytes, end } => self.on_body(direction, bytes, end),
            Item::Trailers => self.on_trailers(direction),
        }
    }

    /// Runs `proxy_on_request_headers` or `proxy_on_response_headers`; the latter for local responses too, this
    /// plugin's own included. `end_of_stream`: there is no body.
    ///
    /// # Errors
    /// The guest trapped in this callback or, in another stream's, before.
    pub fn on_headers(&mut self, direction: Direction, end_of_stream: bool) -> Result<Outcome, StreamError> {
        self.lease.with(|instance| instance.on_headers(&self.state, direction, end_of_stream))
    }

    /// Runs `proxy_on_request_body` or `proxy_on_response_body` with `bytes` after what the guest holds back already.
    /// Where it goes on, what is to be forwarded is in [`Outcome::body`].
    ///
    /// # Errors
    /// The guest trapped in this callback or, in another stream's, before; or it holds back more than
    /// [`Limits::body_bytes`](crate::Limits::body_bytes).
    pub fn on_body(
        &mut self,
        direction: Direction,
        bytes: Bytes,
        end_of_stream: bool,
    ) -> Result<Outcome, StreamError> {
        let limit = self.plugin.limits().body_bytes;
        let mut inner = self.state.lock();
        let leg = inner.leg(direction);
        // What is only passed through needs no room.
        if leg.held && leg.body.len() + bytes.len() > limit {
            return Err(self.body_too_large(limit));
        }
        leg.body.push(bytes);
        drop(inner);
        if !self.plugin.has_body_callback(direction) {
            let mut inner = self.state.lock();
            let body = inner.leg(direction).body.take();
            return Ok(Outcome { action: Action::Continue, local_response: None, closed: false, body });
        }
        let outcome = self.lease.with(|instance| instance.on_body(&self.state, direction, end_of_stream))?;
        let held = self.state.lock().leg(direction).body.len();
        if outcome.action == Action::Pause && held > limit {
            return Err(self.body_too_large(limit));
        }
        Ok(outcome)
    }

    fn body_too_large(&self, limit: usize) -> StreamError {
        self.plugin.crossed(Budget::BodyBytes);
        StreamError::BodyTooLarge { plugin: self.plugin.shared_name(), limit }
    }

    /// Runs `proxy_on_request_trailers` or `proxy_on_response_trailers`. What was held of the body is in
    /// [`Outcome::body`] where the guest goes on.
    ///
    /// # Errors
    /// The guest trapped in this callback or, in another stream's, before.
    pub fn on_trailers(&mut self, direction: Direction) -> Result<Outcome, StreamError> {
        self.lease.with(|instance| instance.on_trailers(&self.state, direction))
    }

    /// Has something done with the stream in `slot`: on this thread, or, where its plugin lately took too long, on that for
    /// such plugins. It is still there when it did not get its turn, and gone only after a panic. Not cancellation safe:
    /// where nobody waits any more the stream ends there.
    pub(crate) async fn run<T: Send + 'static>(
        slot: &mut Option<Self>,
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> Option<Result<T, StreamError>> {
        let stream = slot.as_mut()?;
        if !stream.is_apart() {
            return Some(Ok(work(stream)));
        }
        let (scope, plugin) = (Arc::clone(stream.lease.scope()), stream.plugin.clone());
        let lent = Arc::new(Mutex::new(slot.take()));
        let borrowed = Arc::clone(&lent);
        let job = move || {
            let mut stream = take(&borrowed)?;
            let done = work(&mut stream);
            *borrowed.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
            Some(done)
        };
        let done = scope.plugin.threads.run(Worker::Slow(&scope), job).await;
        *slot = take(&lent);
        Some(done.ok().flatten().ok_or_else(|| plugin.busy()))
    }

    /// As [`close`](Self::close), on the thread for slow plugins where it belongs there; `failed` is told of an error.
    pub(crate) fn close_anywhere(self, failed: impl FnOnce(&StreamError) + Send + 'static) {
        if !self.is_apart() {
            if let Err(error) = self.close() {
                failed(&error);
            }
            return;
        }
        let (threads, plugin) = (Arc::clone(&self.lease.scope().plugin.threads), self.plugin.clone());
        let close = move || {
            if let Err(error) = self.close() {
                failed(&error);
            }
        };
        if threads.submit(Worker::SlowEnd, close).is_err() {
            // It ended as one that is dropped.
            drop(plugin.busy());
        }
    }

    /// Adds to what is held of the body, for a callback that did not come.
    pub(crate) fn keep(&self, direction: Direction, bytes: Bytes) {
        self.state.lock().leg(direction).body.push(bytes);
    }

    /// Whether its callbacks run on the thread for slow plugins.
    pub(crate) fn is_apart(&self) -> bool {
        self.lease.scope().is_apart()
    }

    /// Whether the guest holds that half back.
    #[must_use]
    pub fn holds(&self, direction: Direction) -> bool {
        self.state.lock().leg(direction).held
    }

    /// Takes what is held of the body, once it was released.
    pub(crate) fn take_body(&self, direction: Direction) -> Bytes {
        self.state.lock().leg(direction).body.take()
    }

    /// What happened to it meanwhile.
    pub(crate) fn fate(&self) -> Fate {
        let mut inner = self.state.lock();
        match inner.local_response.take() {
            Some(response) => Fate::Responded(response),
            None if inner.closed => Fate::Closed,
            None if inner.lost => Fate::Lost,
            None => Fate::Alive,
        }
    }

    /// Puts another exchange in the place of the one it sees.
    pub(crate) fn set_exchange(&self, exchange: SharedExchange) {
        self.state.lock().exchange = exchange;
    }

    /// Ends the stream: `proxy_on_log`, `proxy_on_done`, `proxy_on_delete`, in Envoy's order. To be called when the
    /// response is complete; a trap here leaves the response alone.
    ///
    /// # Errors
    /// The guest trapped in one of them or before.
    pub fn close(mut self) -> Result<(), StreamError> {
        self.open = false;
        self.lease.with(|instance| instance.end_stream(&self.state, true))
    }
}

impl Drop for StreamContext {
    fn drop(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let scope = self.lease.scope();
        if scope.is_apart() && !is_slow_one() {
            let (lease, state) = (self.lease.again(), Arc::clone(&self.state));
            let end = move || end_abandoned(&lease, &state);
            if scope.plugin.threads.submit(Worker::SlowEnd, end).is_err() {
                // Its guest cannot be told, and would believe in the stream for ever.
                self.lease.abandon();
            }
            return;
        }
        end_abandoned(&self.lease, &self.state);
    }
}

fn end_abandoned(lease: &Lease, state: &Arc<StreamState>) {
    match lease.with(|instance| instance.end_stream(state, false)) {
        Ok(()) | Err(StreamError::InstanceLost { .. }) => {}
        Err(error) => tracing::warn!(%error, "a plugin failed while an abandoned stream was deleted"),
    }
}

fn take(lent: &Mutex<Option<StreamContext>>) -> Option<StreamContext> {
    lent.lock().unwrap_or_else(PoisonError::into_inner).take()
}
