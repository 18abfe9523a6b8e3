//! What other replicas changed: the store's change feed, acted upon here.
//!
//! A token family that was revoked elsewhere ends here as soon as the feed tells, sockets included. Where the feed
//! cannot tell exactly (after an absence, or by a kind this version does not know), every family is looked up again.

use std::time::Duration;

use coditect_auth::{Families, Recheck};
use coditect_store::changes::{Change, Followed, Follower};
use coditect_store::{Keyspace, Store, StoreError};
use std::sync::Arc;
use tokio::time::{sleep, timeout};

/// The pause after a failure; it doubles with each one more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: while the store is away, no revocation elsewhere can be made either.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// This replica's follower of the feed.
pub(crate) struct Feed {
    store: Store,
    keys: Keyspace,
    families: Arc<Families>,
    /// Whether families are to be looked up again, since changes may have been missed.
    missed: bool,
    pause: Duration,
}

impl Feed {
    pub(crate) fn new(store: Store, keys: Keyspace, families: Arc<Families>) -> Self {
        // Families may be admitted before the follower has its place.
        Self { store, keys, families, missed: true, pause: FIRST_PAUSE }
    }

    /// Follows until it is dropped or the store is closed.
    pub(crate) async fn follow(mut self) {
        let Some(mut follower) = self.begin().await else { return };
        loop {
            if self.missed {
                match self.families.recheck(Recheck::All).await {
                    Ok(ended) => {
                        self.missed = false;
                        self.pause = FIRST_PAUSE;
                        tracing::debug!(ended, "all sign-ins were looked up again");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "sign-ins that may have ended elsewhere: trying again")
                    }
                }
            }
            // What still fails to be looked up must not keep what is known from being done.
            let next = match self.missed {
                true => timeout(self.longer_pause(), follower.next()).await,
                false => Ok(follower.next().await),
            };
            match next {
                Ok(Ok(followed)) => {
                    if !self.missed {
                        self.pause = FIRST_PAUSE;
                    }
                    self.apply(followed).await;
                }
                Ok(Err(error)) if !self.failed(&error).await => return,
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    /// Finds the place to follow from.
    async fn begin(&mut self) -> Option<Follower> {
        loop {
            match Follower::from_now(self.store.clone(), self.keys.clone()).await {
                Ok(follower) => return Some(follower),
                Err(error) if !self.failed(&error).await => return None,
                Err(_) => {}
            }
        }
    }

    async fn apply(&mut self, followed: Followed) {
        let Followed::Changes(changes) = followed else {
            tracing::warn!("the change feed went on without this replica; everything is looked up again");
            self.missed = true;
            return;
        };
        for recorded in changes {
            match recorded.change {
                Change::FamilyRevoked { family, .. } => self.families.revoke(family),
                Change::UserRevoked { tenant, user } => self.recheck(Recheck::User { tenant, user }).await,
                Change::TenantSuspended { tenant } => self.recheck(Recheck::Tenant(tenant)).await,
                // Nothing is cached of these.
                Change::TenantResumed { .. }
                | Change::ConfigurationChanged
                | Change::PluginActivated { .. } => {}
                _ => self.missed = true,
            }
        }
    }

    async fn recheck(&mut self, which: Recheck) {
        if let Err(error) = self.families.recheck(which).await {
            tracing::warn!(%error, "sign-ins that ended elsewhere: trying again");
            self.missed = true;
        }
    }

    /// Waits after a failure; false if there is nothing to wait for.
    async fn failed(&mut self, error: &StoreError) -> bool {
        if matches!(error, StoreError::Closed) {
            return false;
        }
        tracing::warn!(%error, "the change feed cannot be read; trying again");
        sleep(self.longer_pause()).await;
        true
    }

    fn longer_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}
