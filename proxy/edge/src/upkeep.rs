//! What keeps the store small and settled, now and then: blobs nobody needs, abandoned uploads, old versions of files, old
//! changes and requests that clients can no longer repeat are removed; copies and removals of workspaces that a crash cut
//! off are brought to their end, and so are removals of tenants and users, at once.

use std::sync::Arc;
use std::time::Duration;

use coditect_auth::{Clock, Entropy};
use coditect_store::blobs::Collector;
use coditect_store::{Keyspace, Repositories, StoreError, VersionPruner, changes};
use tokio::time::sleep;

/// The shortest time between two rounds; up to as much again is added at random, so that replicas take turns.
const INTERVAL: Duration = Duration::from_secs(60);
/// The shortest time between two walks over all tenants, in milliseconds: 1 h.
const WALK_MILLIS: i64 = 60 * 60 * 1000;

/// A copy of a workspace that was begun longer ago counts as cut off. It does no harm to take one for that which is not.
const FORK_ABANDONED: Duration = Duration::from_secs(60);

/// The periodic work of one replica. Several at once do no harm.
pub(crate) struct Upkeep {
    repositories: Repositories,
    keys: Keyspace,
    /// When the last walk over all tenants ended, in Unix milliseconds.
    walked: Option<i64>,
    collector: Collector,
    pruner: VersionPruner,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Upkeep {
    pub(crate) fn new(
        repositories: Repositories,
        keys: Keyspace,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let collector = repositories.blobs().collector();
        let pruner = repositories.version_pruner();
        Self { repositories, keys, walked: None, collector, pruner, clock, entropy }
    }

    /// Works until it is dropped or the store is closed.
    pub(crate) async fn run(mut self) {
        // What a process that ended has left half removed.
        let mut done = self.removals().await;
        loop {
            match done {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the store's upkeep failed; it is tried again in its time")
                }
            }
            let removals = self.repositories.removals();
            let begun = tokio::select! {
                () = sleep(self.pause()) => false,
                () = removals.begun() => true,
            };
            done = if begun { self.removals().await } else { self.round().await };
        }
    }

    async fn removals(&self) -> Result<(), StoreError> {
        let left = self.repositories.removals().run_all(self.clock.now_millis()).await?;
        tracing::debug!(left, "removals of tenants and users");
        Ok(())
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        self.removals().await?;
        self.settle_workspaces().await?;
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
        let removed = changes::trim(self.repositories.store(), &self.keys, self.clock.now_millis()).await?;
        tracing::debug!(removed, "old changes removed");
        let now = self.clock.now_millis();
        if self.walked.is_none_or(|walked| now.saturating_sub(walked) >= WALK_MILLIS) {
            let forgotten = self.repositories.requests().sweep(now).await?;
            tracing::debug!(forgotten, "old requests forgotten");
            self.walked = Some(now);
        }
        Ok(())
    }

    async fn settle_workspaces(&self) -> Result<(), StoreError> {
        let sessions = self.repositories.sessions();
        let age = i64::try_from(FORK_ABANDONED.as_millis()).unwrap_or(i64::MAX);
        let begun_before = self.clock.now_millis().saturating_sub(age);
        let mut after = None;
        loop {
            let some = sessions.unsettled(after).await?;
            let Some(last) = some.last().copied() else { return Ok(()) };
            for unsettled in some {
                match sessions.settle(unsettled, begun_before).await {
                    Ok(true) => tracing::info!(?unsettled, "a workspace that was left unfinished is settled"),
                    Ok(false) => {}
                    Err(StoreError::Closed) => return Err(StoreError::Closed),
                    // One that cannot be settled must not keep the others from it.
                    Err(error) => tracing::warn!(?unsettled, %error, "a workspace is left unfinished"),
                }
            }
            after = Some(last);
        }
    }

    fn pause(&self) -> Duration {
        let mut random = [0; 2];
        self.entropy.fill(&mut random);
        INTERVAL + INTERVAL.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use coditect_auth::{ManualClock, SeededEntropy};
    use coditect_store::records::{FIRST_VERSION, Session, SessionStatus};
    use coditect_store::{Embedded, EmbeddedOptions, Fork, Store, SystemMonotonicClock};

    /// Unix seconds.
    const NOW: i64 = 1_800_000_000;

    #[tokio::test]
    async fn a_copy_that_a_crash_cut_off_is_finished_once_it_is_old_enough() {
        let directory = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::new(directory.path().join("s.redb"));
        let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let clock = Arc::new(ManualClock::new(NOW));
        let store = Store::new(Arc::new(backend), Arc::clone(&entropy));
        let keys = Keyspace::new("test");
        let repositories = Repositories::new(store, keys.clone(), clock.clone(), Arc::clone(&entropy));
        let (tenant, user, source, copy) = (entropy.uuid(), entropy.uuid(), entropy.uuid(), entropy.uuid());
        let now = clock.now_millis();
        let sessions = repositories.sessions();
        let session = Session {
            id: source,
            name: "a".into(),
            tenant_id: tenant,
            user_id: user,
            workspace_path: None,
            r#type: Default::default(),
            settings: Default::default(),
            status: SessionStatus::Active,
            conversation_id: None,
            forked_from: None,
            created_at: now,
            updated_at: now,
            last_accessed_at: now,
            version: FIRST_VERSION,
        };
        sessions.create(&session).await.unwrap();
        sessions.fork(tenant, user, source, &Fork { id: copy, name: None, limit: 10, now }).await.unwrap();

        let mut upkeep = Upkeep::new(repositories.clone(), keys, clock.clone(), entropy);
        let status = async || sessions.get(tenant, user, copy).await.unwrap().unwrap().status;
        upkeep.round().await.unwrap();
        assert_eq!(status().await, SessionStatus::Forking, "somebody may be at it");
        clock.advance(61);
        upkeep.round().await.unwrap();
        assert_eq!(status().await, SessionStatus::Active);
    }
}
