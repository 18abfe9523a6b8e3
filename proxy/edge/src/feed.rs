//! What other replicas changed: the store's change feed, acted upon here.
//!
//! A token family that was revoked elsewhere ends here as soon as the feed tells, sockets included; so do all of a tenant
//! that is suspended or gone, the terminals of whoever is gone, and what runs in a workspace that was paused or removed
//! elsewhere. Plugins that were put to work or out of it are read again. Where the feed cannot tell exactly (after an
//! absence, or by a kind this version does not know), everything is looked up again.

use std::time::Duration;

use crate::running::Running;
use crate::stored_plugins::PluginChanges;
use coditect_auth::{Families, Recheck};
use coditect_store::changes::{Change, Followed, Follower};
use coditect_store::{Keyspace, Store, StoreError};
use std::sync::Arc;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// The pause after a failure; it doubles with each one more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause. Others may reach the store before this replica asks again, and what they revoke must end here
/// within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Told of a tenant, or one of its users, that is gone.
pub(crate) type OnGone = Box<dyn Fn(Uuid, Option<Uuid>) + Send + Sync>;

/// Who is told of changes, beside the sign-ins.
pub(crate) struct Told {
    pub(crate) running: Arc<dyn Running>,
    pub(crate) gone: OnGone,
    pub(crate) plugins: Arc<PluginChanges>,
}

/// This replica's follower of the feed.
pub(crate) struct Feed {
    store: Store,
    keys: Keyspace,
    families: Arc<Families>,
    told: Told,
    /// Whether everything is to be looked up again, since changes may have been missed.
    missed: bool,
    pause: Duration,
}

impl Feed {
    pub(crate) fn new(store: Store, keys: Keyspace, families: Arc<Families>, told: Told) -> Self {
        // Families may be admitted before the follower has its place.
        Self { store, keys, families, told, missed: true, pause: FIRST_PAUSE }
    }

    /// Follows until it is dropped or the store is closed.
    pub(crate) async fn follow(mut self) {
        let Some(mut follower) = self.begin().await else { return };
        // What was read before may have changed before the follower had its place.
        self.told.plugins.note_all();
        loop {
            if self.missed {
                self.catch_up().await;
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

    /// Looks everything up again.
    async fn catch_up(&mut self) {
        let (sign_ins, workspaces) =
            tokio::join!(self.families.recheck(Recheck::All), self.told.running.recheck_all());
        if let Err(error) = &sign_ins {
            tracing::warn!(%error, "sign-ins that may have ended elsewhere: trying again");
        }
        if let Err(error) = &workspaces {
            tracing::warn!(%error, "workspaces that may have ended elsewhere: trying again");
        }
        if let (Ok(ended), Ok(())) = (sign_ins, workspaces) {
            self.missed = false;
            self.pause = FIRST_PAUSE;
            tracing::debug!(ended, "all sign-ins and workspaces were looked up again");
        }
    }

    async fn apply(&mut self, followed: Followed) {
        let Followed::Changes(changes) = followed else {
            tracing::warn!("the change feed went on without this replica; everything is looked up again");
            self.missed = true;
            self.told.plugins.note_all();
            return;
        };
        for recorded in changes {
            match recorded.change {
                Change::FamilyRevoked { family, .. } => self.families.revoke(family),
                Change::UserRevoked { tenant, user } => self.recheck(Recheck::User { tenant, user }).await,
                Change::WorkspaceEnded { tenant, workspace } => {
                    if let Err(error) = self.told.running.recheck(tenant, workspace).await {
                        tracing::warn!(%error, "a workspace that ended elsewhere: trying again");
                        self.missed = true;
                    }
                }
                Change::TenantSuspended { tenant } => {
                    self.families.suspend(tenant);
                    // What its terminals run would go on otherwise.
                    (self.told.gone)(tenant, None);
                }
                Change::TenantResumed { tenant } => self.families.resume(tenant),
                Change::TenantRemoved { tenant } => {
                    self.families.remove_tenant(tenant);
                    self.told.plugins.note(Some(tenant));
                    (self.told.gone)(tenant, None);
                }
                Change::UserRemoved { tenant, user } => {
                    (self.told.gone)(tenant, Some(user));
                    self.recheck(Recheck::User { tenant, user }).await;
                }
                Change::PluginActivated { tenant, .. } | Change::PluginDeactivated { tenant, .. } => {
                    self.told.plugins.note(tenant);
                }
                // Nothing is cached of it.
                Change::ConfigurationChanged => {}
                _ => {
                    self.missed = true;
                    self.told.plugins.note_all();
                }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use coditect_auth::{
        Claims, Family, FamilyEnd, FamilyRecord, FamilySource, ManualClock, SeededEntropy, SourceError,
        TenantState,
    };
    use coditect_store::{Embedded, EmbeddedOptions, RetryPolicy, SystemMonotonicClock, changes};
    use serde_json::json;
    use tokio::sync::Notify;
    use uuid::Uuid;

    use super::*;

    const TENANT: Uuid = Uuid::from_u128(1);
    const USER: Uuid = Uuid::from_u128(2);

    /// Families by id; an auth session has its family's.
    #[derive(Default)]
    struct Source {
        revoked: Mutex<HashMap<Uuid, bool>>,
        down: Mutex<bool>,
    }

    #[async_trait]
    impl FamilySource for Source {
        async fn family_of(&self, _: Uuid, session: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
            if *self.down.lock().unwrap() {
                return Err(SourceError("down".into()));
            }
            Ok(self.revoked.lock().unwrap().get(&session).map(|revoked| FamilyRecord {
                family: session,
                user_id: USER,
                tenant_id: TENANT,
                ends_at: 1000,
                revoked: *revoked,
                tenant: TenantState::Active,
            }))
        }

        async fn family(&self, tenant: Uuid, family: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
            self.family_of(tenant, family).await
        }
    }

    /// What runs in workspaces: all of them have ended, and it is kept which were asked about.
    #[derive(Default)]
    struct Workspaces {
        ended: Mutex<Vec<(Uuid, Uuid)>>,
        all: AtomicUsize,
        /// How many questions fail from now on.
        failing: AtomicUsize,
        asked: Notify,
    }

    impl Workspaces {
        fn answer(&self) -> Result<(), StoreError> {
            let fails = |left: usize| left.checked_sub(1);
            match self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails) {
                Ok(_) => Err(StoreError::TimedOut),
                Err(_) => Ok(()),
            }
        }

        /// Waits until what was asked is so.
        async fn until(&self, wanted: impl Fn(&Self) -> bool) {
            let asked = async {
                while !wanted(self) {
                    self.asked.notified().await;
                }
            };
            timeout(Duration::from_secs(1), asked).await.expect("not within 1 s");
        }
    }

    #[async_trait]
    impl Running for Workspaces {
        async fn recheck(&self, tenant: Uuid, workspace: Uuid) -> Result<(), StoreError> {
            self.answer()?;
            self.ended.lock().unwrap().push((tenant, workspace));
            self.asked.notify_one();
            Ok(())
        }

        async fn recheck_all(&self) -> Result<(), StoreError> {
            self.answer()?;
            self.all.fetch_add(1, Ordering::SeqCst);
            self.asked.notify_one();
            Ok(())
        }
    }

    /// A replica whose feed is followed, and a store into which others write.
    struct Rig {
        _directory: tempfile::TempDir,
        store: Store,
        keys: Keyspace,
        source: Arc<Source>,
        families: Arc<Families>,
        workspaces: Arc<Workspaces>,
        /// Who was said to be gone.
        told: tokio::sync::mpsc::UnboundedReceiver<(Uuid, Option<Uuid>)>,
        following: tokio::task::JoinHandle<()>,
    }

    impl Rig {
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let options = EmbeddedOptions::new(directory.path().join("s.redb"));
            let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
            let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
            let keys = Keyspace::new("test");
            let source = Arc::new(Source::default());
            let families = Arc::new(Families::new(source.clone(), Arc::new(ManualClock::new(1))));
            let workspaces = Arc::new(Workspaces::default());
            let (gone, told) = tokio::sync::mpsc::unbounded_channel();
            let gone: OnGone = Box::new(move |tenant, user| gone.send((tenant, user)).unwrap());
            let others = Told { running: workspaces.clone(), gone, plugins: Arc::default() };
            let feed = Feed::new(store.clone(), keys.clone(), Arc::clone(&families), others);
            let following = tokio::spawn(feed.follow());
            Self { _directory: directory, store, keys, source, families, workspaces, told, following }
        }

        async fn login(&self, number: u128) -> Arc<Family> {
            let id = Uuid::from_u128(number);
            self.source.revoked.lock().unwrap().insert(id, false);
            let claims: Claims = serde_json::from_value(json!({
                "sub": USER, "tenant_id": TENANT, "email": "", "session_id": id, "token_family": id,
                "exp": 900, "iat": 0, "iss": "", "aud": "", "jti": id,
            }))
            .unwrap();
            self.families.admit(&claims).await.unwrap()
        }

        /// Revokes where the feed does not tell which.
        fn revoke_silently(&self, number: u128) {
            self.source.revoked.lock().unwrap().insert(Uuid::from_u128(number), true);
        }

        async fn tell(&self, change: Change) {
            let (keys, change) = (&self.keys, &change);
            self.store
                .run(&RetryPolicy::default(), |t| async move { changes::append(&t, keys, 0, change) })
                .await
                .unwrap();
        }
    }

    async fn ends(family: &Family) {
        timeout(Duration::from_secs(1), family.ended()).await.expect("it did not end within 1 s");
    }

    #[tokio::test]
    async fn a_family_revoked_elsewhere_ends_here_within_a_second_and_no_other() {
        let r = Rig::start();
        let (one, other) = (r.login(10).await, r.login(11).await);
        // It may be told before this replica has found its place: then the first look-up finds it.
        r.revoke_silently(10);
        r.tell(Change::FamilyRevoked { tenant: TENANT, family: one.id() }).await;
        ends(&one).await;
        r.tell(Change::FamilyRevoked { tenant: TENANT, family: one.id() }).await;
        r.tell(Change::FamilyRevoked { tenant: TENANT, family: Uuid::from_u128(99) }).await;
        let last = r.login(12).await;
        r.revoke_silently(12);
        r.tell(Change::FamilyRevoked { tenant: TENANT, family: last.id() }).await;
        ends(&last).await;
        assert!(other.is_live());
        r.following.abort();
    }

    #[tokio::test]
    async fn a_workspace_that_ended_elsewhere_ends_here_within_a_second() {
        let r = Rig::start();
        let all = |count| move |seen: &Workspaces| seen.all.load(Ordering::SeqCst) >= count;
        r.workspaces.until(all(1)).await;
        let ended = |number: u128| (TENANT, Uuid::from_u128(number));
        let tell = |number| r.tell(Change::WorkspaceEnded { tenant: TENANT, workspace: ended(number).1 });
        tell(70).await;
        r.workspaces.until(|seen| *seen.ended.lock().unwrap() == [ended(70)]).await;
        // Whoever cannot find out about one looks at all of them, until that works.
        r.workspaces.failing.store(2, Ordering::SeqCst);
        tell(71).await;
        r.workspaces.until(all(2)).await;
        tell(72).await;
        r.workspaces.until(|seen| *seen.ended.lock().unwrap() == [ended(70), ended(72)]).await;
        r.tell(Change::Unknown).await;
        r.workspaces.until(all(3)).await;
        r.following.abort();
    }

    #[tokio::test]
    async fn what_the_feed_tells_in_general_is_looked_up() {
        let r = Rig::start();
        let changes = [
            Change::UserRevoked { tenant: TENANT, user: USER },
            Change::UserRemoved { tenant: TENANT, user: USER },
            Change::Unknown,
        ];
        let spared = r.login(50).await;
        for (number, change) in (20..).zip(changes) {
            let family = r.login(number).await;
            r.revoke_silently(number);
            r.tell(change).await;
            ends(&family).await;
        }
        assert!(spared.is_live());
        r.following.abort();
    }

    #[tokio::test]
    async fn a_suspension_ends_sockets_and_not_logins_and_a_removal_ends_all() {
        let mut r = Rig::start();
        // Once this has ended, the feed is followed.
        let first = r.login(59).await;
        while first.is_live() {
            r.tell(Change::FamilyRevoked { tenant: TENANT, family: first.id() }).await;
        }
        let before = r.login(60).await;
        r.tell(Change::TenantSuspended { tenant: TENANT }).await;
        let ended = timeout(Duration::from_secs(1), before.ended()).await;
        assert_eq!(ended.expect("it did not end within 1 s"), FamilyEnd::Suspended);
        assert_eq!(r.told.recv().await, Some((TENANT, None)), "its terminals end");
        r.tell(Change::TenantResumed { tenant: TENANT }).await;
        r.tell(Change::UserRemoved { tenant: TENANT, user: USER }).await;
        assert_eq!(r.told.recv().await, Some((TENANT, Some(USER))));
        let again = r.login(60).await;
        assert!(again.is_live(), "the same login");
        r.tell(Change::TenantRemoved { tenant: TENANT }).await;
        ends(&again).await;
        assert_eq!(r.told.recv().await, Some((TENANT, None)));
        r.following.abort();
    }

    #[tokio::test]
    async fn a_look_up_that_failed_is_tried_again_and_holds_up_no_revocation() {
        let r = Rig::start();
        let (silent, told) = (r.login(30).await, r.login(31).await);
        *r.source.down.lock().unwrap() = true;
        r.revoke_silently(30);
        r.tell(Change::Unknown).await;
        r.tell(Change::FamilyRevoked { tenant: TENANT, family: told.id() }).await;
        ends(&told).await;
        assert!(silent.is_live(), "nobody could say");
        *r.source.down.lock().unwrap() = false;
        timeout(Duration::from_secs(10), silent.ended()).await.expect("it was not tried again");
        r.following.abort();
    }

    #[test]
    fn however_long_the_store_was_away_it_is_asked_again_within_a_second() {
        let directory = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::new(directory.path().join("s.redb"));
        let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
        let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
        let source = Arc::new(Source::default());
        let families = Arc::new(Families::new(source, Arc::new(ManualClock::new(1))));
        let running = Arc::new(Workspaces::default());
        let told = Told { running, gone: Box::new(|_, _| ()), plugins: Arc::default() };
        let mut feed = Feed::new(store, Keyspace::new("test"), families, told);
        let longest = (0..20).map(|_| feed.longer_pause()).max().unwrap();
        assert!(longest < Duration::from_secs(1), "{longest:?}");
    }

    #[tokio::test]
    async fn following_ends_with_the_store() {
        let r = Rig::start();
        r.store.close().await.unwrap();
        timeout(Duration::from_secs(5), r.following).await.expect("it goes on").unwrap();
    }
}
