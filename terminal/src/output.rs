//! What a terminal has written: a bounded log with a position ("seq", bytes since the terminal's start) for each byte,
//! read by any number of viewers, each at its own pace.
//!
//! The shell is held back for the viewer that is furthest, so that a burst reaches a viewer that keeps up without a
//! gap. It is not held back for the others, nor for one that takes nothing at all ([`OutputLog::give_up`]): what they
//! have not taken when the log is full is lost to them, and they are told so.

mod ring;

use bytes::Bytes;
use ring::Ring;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// The log of one terminal.
#[derive(Debug)]
pub(crate) struct OutputLog {
    state: Mutex<State>,
    /// The position after the last byte.
    head: watch::Sender<u64>,
    /// A viewer has taken output, come or gone.
    moved: Notify,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    viewers: HashMap<u64, Place>,
    next_viewer: u64,
}

/// Where a viewer stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    next: u64,
    /// It has taken nothing while the shell was held back for it.
    given_up: bool,
}

/// What there is for a viewer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The bytes at its place, which it has now passed.
    Output(Bytes),
    /// It was moved on to the oldest bytes kept, over this many.
    Lost(u64),
    /// Nothing yet.
    Nothing,
}

impl OutputLog {
    /// A log that keeps the last `limit` bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let state = State { ring: Ring::new(limit), viewers: HashMap::new(), next_viewer: 0 };
        Arc::new(Self { state: Mutex::new(state), head: watch::Sender::new(0), moved: Notify::new() })
    }

    /// Adds what the shell wrote.
    pub(crate) fn append(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.ring.append(bytes);
        let end = state.ring.end();
        drop(state);
        self.head.send_replace(end);
    }

    /// The most that may be added at once, in bytes, for a viewer that is waited for not to lose any of it.
    pub(crate) fn burst(&self) -> usize {
        usize::try_from(self.state().ring.limit() / 2).unwrap_or(usize::MAX).max(1)
    }

    /// A viewer that starts at the oldest bytes kept.
    pub(crate) fn view(self: &Arc<Self>) -> View {
        let mut state = self.state();
        let id = state.next_viewer;
        state.next_viewer += 1;
        let next = state.ring.clean_start();
        state.viewers.insert(id, Place { next, given_up: false });
        drop(state);
        self.moved.notify_waiters();
        View { log: Arc::clone(self), id, start: next, head: self.head.subscribe() }
    }

    /// Whether to hold the shell back: there are viewers, and even the one that is furthest is behind by half the log.
    pub(crate) fn is_congested(&self) -> bool {
        let state = self.state();
        let waited_for = state.viewers.values().filter(|place| !place.given_up);
        match waited_for.map(|place| place.next).max() {
            Some(furthest) => state.ring.end().saturating_sub(furthest) > state.ring.limit() / 2,
            None => false,
        }
    }

    /// Waits until the log is not congested. Cancellation safe.
    pub(crate) async fn relieved(&self) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if !self.is_congested() {
                return;
            }
            moved.await;
        }
    }

    /// Stops waiting for the viewers there are; one that takes output again is waited for again.
    pub(crate) fn give_up(&self) {
        for place in self.state().viewers.values_mut() {
            place.given_up = true;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A viewer's place in a log; dropped, the viewer is gone.
#[derive(Debug)]
pub(crate) struct View {
    log: Arc<OutputLog>,
    id: u64,
    start: u64,
    head: watch::Receiver<u64>,
}

impl View {
    /// The position this viewer began at.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Takes up to `limit` bytes, or learns that some are lost.
    pub(crate) fn next(&mut self, limit: usize) -> Next {
        let head = *self.head.borrow_and_update();
        let mut state = self.log.state();
        let State { ring, viewers, .. } = &mut *state;
        let Some(place) = viewers.get_mut(&self.id) else { return Next::Nothing };
        let next = if place.next < ring.start() {
            let kept = ring.clean_start();
            let lost = kept - place.next;
            place.next = kept;
            Next::Lost(lost)
        } else if place.next >= head || limit == 0 {
            return Next::Nothing;
        } else {
            let bytes = ring.read(place.next, limit);
            place.next += bytes.len() as u64;
            Next::Output(bytes)
        };
        place.given_up = false;
        drop(state);
        self.log.moved.notify_waiters();
        next
    }

    /// Moves to the end of the log; the number of bytes passed over.
    pub(crate) fn skip(&mut self) -> u64 {
        let mut state = self.log.state();
        let end = state.ring.end();
        let skipped =
            state.viewers.get_mut(&self.id).map(|place| end - std::mem::replace(&mut place.next, end));
        drop(state);
        self.log.moved.notify_waiters();
        skipped.unwrap_or(0)
    }

    /// Waits for output after the last [`next`](Self::next). Cancellation safe.
    pub(crate) async fn more(&mut self) {
        if self.head.changed().await.is_err() {
            // The sender lives in the log this view holds on to.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.log.state().viewers.remove(&self.id);
        self.log.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::time::Duration;

    fn output(bytes: &'static [u8]) -> Next {
        Next::Output(Bytes::from_static(bytes))
    }

    #[test]
    fn each_viewer_reads_everything_at_its_own_pace() {
        let log = OutputLog::new(100);
        let mut early = log.view();
        log.append(b"one");
        let mut late = log.view();
        assert_eq!(early.next(2), output(b"on"));
        log.append(b"two");
        assert_eq!(early.next(100), output(b"etwo"));
        assert_eq!(late.next(100), output(b"onetwo"));
        assert_eq!(late.next(100), Next::Nothing);
        assert_eq!(early.next(100), Next::Nothing);
    }

    #[test]
    fn a_viewer_behind_the_log_is_told_what_it_lost() {
        let log = OutputLog::new(10);
        let mut view = log.view();
        log.append(b"0123456789");
        assert_eq!(view.next(4), output(b"0123"));
        log.append(b"abcdefg");
        assert_eq!(view.next(100), Next::Lost(3));
        assert_eq!(view.next(100), output(b"789abcdefg"));
    }

    #[test]
    fn the_shell_waits_for_the_furthest_viewer_only() {
        let log = OutputLog::new(10);
        log.append(b"nobody sees this, nobody is waited for");
        assert!(!log.is_congested());
        let mut fast = log.view();
        let _silent = log.view();
        assert!(log.is_congested());
        fast.next(100);
        assert!(!log.is_congested());
        log.append(b"123456");
        assert!(log.is_congested());
        drop(fast);
        log.give_up();
        assert!(!log.is_congested());
    }

    #[tokio::test]
    async fn relief_wakes_who_waits_for_it() {
        let log = OutputLog::new(10);
        let mut view = log.view();
        log.append(b"0123456789");
        let waiting = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.relieved().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        view.next(100);
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn output_that_came_before_the_wait_ends_it() {
        let log = OutputLog::new(10);
        let mut view = log.view();
        assert_eq!(view.next(1), Next::Nothing);
        log.append(b"x");
        tokio::time::timeout(Duration::from_secs(5), view.more()).await.unwrap();
        assert_eq!(view.next(1), output(b"x"));
    }
}
