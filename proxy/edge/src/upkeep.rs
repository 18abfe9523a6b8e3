//! What keeps the store small: blobs nobody needs, abandoned uploads, old changes and requests that clients can no longer
//! repeat are removed now and then.

use std::sync::Arc;
use std::time::Duration;

use coditect_auth::{Clock, Entropy};
use coditect_store::blobs::{Blobs, Collector};
use coditect_store::{Keyspace, Repositories, Store, StoreError, changes};
use tokio::time::sleep;

/// The shortest time between two rounds; up to as much again is added at random, so that replicas take turns.
const INTERVAL: Duration = Duration::from_secs(60);
/// The shortest time between two walks over all tenants, in milliseconds: 1 h.
const WALK_MILLIS: i64 = 60 * 60 * 1000;

/// The periodic work of one replica. Several at once do no harm.
pub(crate) struct Upkeep {
    store: Store,
    keys: Keyspace,
    repositories: Repositories,
    /// When the last walk over all tenants ended, in Unix milliseconds.
    walked: Option<i64>,
    collector: Collector,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Upkeep {
    pub(crate) fn new(
        store: Store,
        keys: Keyspace,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let blobs = Blobs::new(store.clone(), keys.clone(), Arc::clone(&clock), Arc::clone(&entropy));
        let repositories =
            Repositories::new(store.clone(), keys.clone(), Arc::clone(&clock), Arc::clone(&entropy));
        Self { store, keys, repositories, walked: None, collector: blobs.collector(), clock, entropy }
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
        let now = self.clock.now_millis();
        if self.walked.is_none_or(|walked| now.saturating_sub(walked) >= WALK_MILLIS) {
            let forgotten = self.repositories.requests().sweep(now).await?;
            tracing::debug!(forgotten, "old requests forgotten");
            self.walked = Some(now);
        }
        Ok(())
    }

    fn pause(&self) -> Duration {
        let mut random = [0; 2];
        self.entropy.fill(&mut random);
        INTERVAL + INTERVAL.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
    }
}
