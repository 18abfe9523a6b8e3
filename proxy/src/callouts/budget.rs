//! What all calls out of a process may take together. What one plugin may take of it is the host's to bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls at once, over all plugins and upstreams. An HTTP/1.1 call has a connection, which is a descriptor.
const MAX_CALLS: usize = 2048;
/// Calls at once to one upstream, so that one that hangs leaves room for the others.
pub(super) const MAX_CALLS_PER_UPSTREAM: usize = 512;
/// Bytes of bodies and messages held for calls, over all plugins and upstreams.
const MAX_BYTES: usize = 128 * 1024 * 1024;

/// The process's budget.
#[derive(Debug)]
pub(super) struct Budget {
    calls: Arc<Semaphore>,
    bytes: Arc<Store>,
}

/// Room for bytes.
#[derive(Debug)]
struct Store {
    used: AtomicUsize,
    most: usize,
}

/// The place of one call; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _upstream: OwnedSemaphorePermit,
}

/// Bytes that are held; free again when dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: usize,
    store: Arc<Store>,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Default for Budget {
    fn default() -> Self {
        Self::new(MAX_CALLS, MAX_BYTES)
    }
}

impl Budget {
    pub(super) fn new(calls: usize, bytes: usize) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(calls)),
            bytes: Arc::new(Store { used: AtomicUsize::new(0), most: bytes }),
        }
    }

    /// A place for one more call to the upstream with these places.
    pub(super) fn place(&self, upstream: &Arc<Semaphore>) -> Result<Place, Full> {
        let all = Arc::clone(&self.calls).try_acquire_owned().map_err(|_| Full)?;
        let upstream = Arc::clone(upstream).try_acquire_owned().map_err(|_| Full)?;
        Ok(Place { _all: all, _upstream: upstream })
    }

    /// Holds `bytes`.
    pub(super) fn hold(&self, bytes: usize) -> Result<Held, Full> {
        let mut held = Held { bytes: 0, store: Arc::clone(&self.bytes) };
        held.set(bytes)?;
        Ok(held)
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.used.load(Ordering::Acquire)
    }
}

impl Held {
    /// Holds `bytes` in place of what it held. Where there is no room nothing changes.
    pub(super) fn set(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes <= self.bytes {
            self.store.used.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
        } else {
            let more = bytes - self.bytes;
            let most = self.store.most;
            let grown = |used: usize| used.checked_add(more).filter(|used| *used <= most);
            self.store.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown).map_err(|_| Full)?;
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_are_held_up_to_the_bound_and_given_back() {
        let budget = Budget::new(1, 10);
        let mut first = budget.hold(4).unwrap();
        let second = budget.hold(6).unwrap();
        assert_eq!(first.set(5), Err(Full));
        assert_eq!(budget.held(), 10);
        first.set(1).unwrap();
        assert_eq!(budget.held(), 7);
        drop(second);
        first.set(10).unwrap();
        assert_eq!(budget.hold(1).unwrap_err(), Full);
        drop(first);
        assert_eq!(budget.held(), 0);
        assert_eq!(budget.hold(usize::MAX).unwrap_err(), Full);
    }

    #[test]
    fn places_end_for_one_upstream_and_for_all() {
        let budget = Budget::new(2, 0);
        let (a, b) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(5)));
        let first = budget.place(&a).unwrap();
        assert_eq!(budget.place(&a).unwrap_err(), Full, "the upstream's");
        let _second = budget.place(&b).unwrap();
        assert_eq!(budget.place(&b).unwrap_err(), Full, "the process's");
        drop(first);
        assert!(budget.place(&a).is_ok());
    }
}
