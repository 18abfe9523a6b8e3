//! The engine's count of live instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many instances may live at once, and how many do.
pub(crate) struct Capacity {
    limit: u32,
    live: AtomicU32,
}

/// One instance's place; dropping it gives it back.
pub(crate) struct Place(Arc<Capacity>);

impl Capacity {
    pub(crate) fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { limit, live: AtomicU32::new(0) })
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn live(&self) -> u32 {
        self.live.load(Ordering::Relaxed)
    }

    /// A place, or none where all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let below = |live: u32| (live < self.limit).then_some(live + 1);
        self.live.fetch_update(Ordering::AcqRel, Ordering::Relaxed, below).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::AcqRel);
    }
}
