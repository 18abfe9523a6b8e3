//! Watches of FoundationDB: a future of the client library, ended with the store and counted against the limit.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use foundationdb::FdbResult;
use tokio::sync::watch::Receiver;

use super::errors::{Doing, Fault};
use crate::contract::Watch;
use crate::error::StoreError;
use crate::limits::MAX_WATCHES;

/// A watch's share of [`MAX_WATCHES`]; given back when it is dropped.
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// Takes one of the slots that `open` counts.
    pub(super) fn take(open: &Arc<AtomicUsize>) -> Result<Self, StoreError> {
        let one_more = |count| (count < MAX_WATCHES).then_some(count + 1);
        match open.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(Self(Arc::clone(open))),
            Err(_) => Err(StoreError::TooManyWatches),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A watch in force once `committed` is true. Dropping it cancels `changed`, and with it the cluster's part.
pub(super) fn watch(
    changed: impl Future<Output = FdbResult<()>> + Send + 'static,
    slot: Slot,
    committed: Arc<AtomicBool>,
    mut closed: Receiver<bool>,
) -> Watch {
    Watch::new(async move {
        let _slot = slot;
        tokio::select! {
            biased;
            result = changed => match result {
                Ok(()) => Ok(()),
                // FoundationDB ends a watch with whatever its transaction failed with.
                Err(_) if !committed.load(Ordering::Acquire) => Err(StoreError::Cancelled),
                Err(error) => Err(Fault::from(error).during(Doing::Watch)),
            },
            // An error means that the store is gone altogether.
            _ = closed.wait_for(|closed| *closed) => Err(StoreError::Closed),
        }
    })
}
