//! What keeps the store small: blobs nobody needs, abandoned uploads, old versions of files and old changes are removed
//! now and then.

use std::sync::Arc;
use std::time::Duration;

use coditect_auth::{Clock, Entropy};
use coditect_store::blobs::{Blobs, Collector};
use coditect_store::{Keyspace, Store, StoreError, VersionPruner, changes};
use tokio::time::sleep;

/// The shortest time between two rounds; up to as much again is added at random, so that replicas take turns.
const INTERVAL: Duration = Duration::from_secs(60);

/// The periodic work of one replica. Several at once do no harm.
pub(crate) struct Upkeep {
    store: Store,
    keys: Keyspace,
    collector: Collector,
    pruner: VersionPruner,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Upkeep {
    pub(crate) fn new(
        store: Store,
        keys: Keyspace,
        pruner: VersionPruner,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let blobs = Blobs::new(store.clone(), keys.clone(), Arc::clone(&clock), Arc::clone(&entropy));
        Self { store, keys, collector: blobs.collector(), pruner, clock, entropy }
    }

    /// Works until it is dropped or the store is closed.
    pub(crate) async fn run(mut self) {
        loop {
            sleep(self.pause()).await;
            match self.round().await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the store's upkeep failed; it is tried again in its time")
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        // A part of them in each round: what is replaced is pruned when it is written, too.
        let pruned = self.pruner.prune(self.clock.now_millis()).await?;
        if pruned.forgotten > 0 {
            tracing::info!(versions = pruned.forgotten, "versions of files forgotten");
        }
        loop {
            let done = self.collector.collect(self.clock.now_millis()).await?;
            if done.blobs + done.contents > 0 {
                tracing::info!(blobs = done.blobs, contents = done.contents, "blobs collected");
            }
            if !done.more {
                break;
            }
            tokio::task::yield_now().await;
        }
        let removed = changes::trim(&self.store, &self.keys, self.clock.now_millis()).await?;
        tracing::debug!(removed, "old changes removed");
        Ok(())
    }

    fn pause(&self) -> Duration {
        let mut random = [0; 2];
        self.entropy.fill(&mut random);
        INTERVAL + INTERVAL.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
    }
}
