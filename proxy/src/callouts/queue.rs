//! Messages of a gRPC call on their way from the guest to the upstream.
//!
//! The guest writes in the middle of its callback, so nothing here waits; the call's task takes out what the upstream
//! has room for. A guest that writes faster is refused.

use super::budget::{Budget, Held};
use bytes::Bytes;
use coditect_proxy_wasm::{CallRefused, GrpcHandle};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Messages of one call that wait to be sent.
const MAX_MESSAGES: usize = 256;
/// Their bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// One call's messages.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    cancelled: CancellationToken,
    budget: Arc<Budget>,
    tenant: Arc<str>,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<(Bytes, Held)>,
    bytes: usize,
    ended: bool,
}

/// What is to be sent next.
#[derive(Debug)]
pub(super) enum Next {
    /// A message, the room it takes, and whether it is the last thing to be sent.
    Message(Bytes, Held, bool),
    /// There is nothing more.
    End,
}

impl Queue {
    /// For a call of this tenant, whose budget the messages take from.
    pub(super) fn new(budget: Arc<Budget>, tenant: Arc<str>) -> Self {
        let (changed, cancelled) = (Notify::new(), CancellationToken::new());
        Self { state: Mutex::default(), changed, cancelled, budget, tenant }
    }

    /// Closes it once that is dropped: with the call's task, however that ends.
    pub(super) fn closed_at_end(self: &Arc<Self>) -> Closed {
        Closed(Arc::clone(self))
    }

    /// The call is over: nothing is kept that cannot be sent any more, whatever its guest goes on to write.
    fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { ended: true, ..State::default() };
    }

    /// What is to be sent next, once there is something. For one task; cancellation safe.
    pub(super) async fn next(&self) -> Next {
        loop {
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((message, held)) = state.messages.pop_front() {
                    state.bytes -= message.len();
                    let last = state.ended && state.messages.is_empty();
                    return Next::Message(message, held, last);
                }
                if state.ended {
                    return Next::End;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Resolves once the call is given up.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Adds a message.
    ///
    /// # Errors
    /// There is no room, or nothing may follow.
    pub(super) fn push(&self, message: Bytes, end: bool) -> Result<(), CallRefused> {
        let held = self.budget.hold(&self.tenant, message.len()).map_err(|_| CallRefused::Busy)?;
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let full = state.messages.len() >= MAX_MESSAGES || message.len() > MAX_BYTES - state.bytes;
            if full || state.ended || self.cancelled.is_cancelled() {
                return Err(CallRefused::Busy);
            }
            state.bytes += message.len();
            state.messages.push_back((message, held));
            state.ended = end;
        }
        self.changed.notify_one();
        Ok(())
    }

    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.changed.notify_one();
    }
}

/// See [`Queue::closed_at_end`].
pub(super) struct Closed(Arc<Queue>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The guest's end of a call.
#[derive(Debug)]
pub(super) struct CallHandle(pub(super) Arc<Queue>);

impl GrpcHandle for CallHandle {
    fn send(&self, message: Bytes, end_stream: bool) -> Result<(), CallRefused> {
        self.0.push(message, end_stream)
    }

    fn close_local(&self) {
        self.0.end();
    }

    fn cancel(&self) {
        self.0.cancelled.cancel();
    }
}

impl Drop for CallHandle {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn messages_wait_in_order_up_to_the_bounds() {
        let budget = Arc::new(Budget::default());
        let queue = Arc::new(Queue::new(Arc::clone(&budget), "tenant".into()));
        let handle = CallHandle(Arc::clone(&queue));
        for n in 0..MAX_MESSAGES {
            handle.send(n.to_string().into(), false).unwrap();
        }
        assert_eq!(handle.send(Bytes::new(), false), Err(CallRefused::Busy), "too many");
        assert!(matches!(queue.next().await, Next::Message(message, _, false) if message == "0"));
        assert_eq!(
            handle.send(vec![0; MAX_BYTES].into(), false),
            Err(CallRefused::Busy),
            "too large together"
        );
        handle.send("last".into(), true).unwrap();
        assert_eq!(handle.send(Bytes::new(), false), Err(CallRefused::Busy), "after the end");
        for n in 1..MAX_MESSAGES {
            assert!(
                matches!(queue.next().await, Next::Message(message, _, false) if message == n.to_string())
            );
        }
        assert!(matches!(queue.next().await, Next::Message(message, _, true) if message == "last"));
        assert!(matches!(queue.next().await, Next::End));
        assert_eq!(budget.held(), 0);
        drop(handle);
        queue.cancelled().await;
    }

    #[tokio::test]
    async fn a_call_that_is_over_holds_nothing() {
        let budget = Arc::new(Budget::default());
        let queue = Arc::new(Queue::new(Arc::clone(&budget), "tenant".into()));
        let handle = CallHandle(Arc::clone(&queue));
        handle.send("kept".into(), false).unwrap();
        drop(queue.closed_at_end());
        assert_eq!(budget.held(), 0);
        assert_eq!(handle.send("late".into(), false), Err(CallRefused::Busy));
        assert_eq!(budget.held(), 0);
    }
}
