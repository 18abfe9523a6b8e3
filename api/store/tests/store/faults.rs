//! Work that must not happen twice, over a backend whose commits lose their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::{
    Backend, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Version, Watch,
};
use coditect_store::{
    Client, Embedded, EmbeddedOptions, Keyspace, RegistrationError, RetryPolicy, Rotated, Store, StoreError,
    SystemMonotonicClock,
};

use crate::support::{NOW, login, registration, repositories, value};

/// What happens to the next commits, two bits each: 0 nothing, 1 lost after it happened, 2 lost and did not
/// happen, 3 a conflict.
struct Faulty {
    inner: Embedded,
    plan: Arc<AtomicU32>,
}

struct FaultyTransaction {
    inner: Box<dyn BackendTransaction>,
    plan: Arc<AtomicU32>,
}

#[async_trait]
impl Backend for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        Box::new(FaultyTransaction { inner: self.inner.begin(), plan: Arc::clone(&self.plan) })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

#[async_trait]
impl BackendTransaction for FaultyTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        self.inner.read_version().await
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key, mode).await
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        self.inner.range(read).await
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        self.inner.mutate(mutation)
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.inner.add_read_conflict(begin, end)
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        self.inner.watch(key).await
    }

    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        let plan = self.plan.load(Ordering::SeqCst);
        self.plan.store(plan >> 2, Ordering::SeqCst);
        match plan & 3 {
            1 => {
                self.inner.commit().await?;
                Err(StoreError::Unknown)
            }
            2 => Err(StoreError::Unknown),
            3 => Err(StoreError::Conflict),
            _ => self.inner.commit().await,
        }
    }
}

struct Rig {
    _dir: tempfile::TempDir,
    store: Store,
    plan: Arc<AtomicU32>,
    entropy: Arc<SeededEntropy>,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::new(dir.path().join("s.redb"));
    let inner = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    let plan = Arc::new(AtomicU32::new(0));
    let entropy = Arc::new(SeededEntropy::new(3));
    let backend = Faulty { inner, plan: Arc::clone(&plan) };
    Rig { _dir: dir, store: Store::new(Arc::new(backend), entropy.clone()), plan, entropy }
}

/// Every sequence of four faults.
const PLANS: u32 = 256;

#[tokio::test]
async fn a_counter_counts_once_whatever_happens_to_the_commits() {
    let r = rig();
    let keys = Keyspace::new("test");
    let policy = RetryPolicy { first_backoff: std::time::Duration::ZERO, ..RetryPolicy::default() };
    for plan in 0..PLANS {
        let marker = keys.marker(NOW * 1000, r.entropy.uuid());
        r.plan.store(plan, Ordering::SeqCst);
        let counted = r
            .store
            .run_once(&policy, &marker, |t| async move {
                let n: u32 = match t.get("n").await? {
                    Some(bytes) => std::str::from_utf8(&bytes).unwrap().parse().unwrap(),
                    None => 0,
                };
                t.set("n", (n + 1).to_string())?;
                Ok::<_, StoreError>(n + 1)
            })
            .await
            .unwrap();
        r.plan.store(0, Ordering::SeqCst);
        assert_eq!(counted, plan + 1, "the value of the attempt that committed, plan {plan:08b}");
        assert_eq!(value(&r.store, "n").await.unwrap(), (plan + 1).to_string(), "plan {plan:08b}");
    }
}

#[tokio::test]
async fn an_unknown_result_is_reported_where_nothing_makes_a_retry_safe() {
    let r = rig();
    r.plan.store(1, Ordering::SeqCst);
    let result: Result<(), StoreError> =
        r.store.run(&RetryPolicy::default(), |t| async move { t.set("k", "v") }).await;
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Unknown) && error.maybe_committed());
    assert_eq!(value(&r.store, "k").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_lost_fate_is_reported_when_attempts_run_out() {
    let r = rig();
    let marker = Keyspace::new("test").marker(NOW * 1000, r.entropy.uuid());
    let policy = RetryPolicy { max_attempts: 2, ..RetryPolicy::default() };
    r.plan.store(0b11_10, Ordering::SeqCst);
    let result: Result<(), StoreError> =
        r.store.run_once(&policy, &marker, |t| async move { t.set("k", "v") }).await;
    assert!(matches!(result, Err(StoreError::Unknown)), "{result:?}");
}

#[tokio::test]
async fn registration_and_rotation_happen_once() {
    let r = rig();
    let repositories = repositories(r.store.clone(), &r.entropy);
    for plan in 0..64 {
        let registration = registration(&*r.entropy, &format!("u{plan}@example.com"));
        r.plan.store(plan, Ordering::SeqCst);
        repositories.users().register(&registration).await.unwrap();
        let again = crate::support::registration(&*r.entropy, &format!("u{plan}@example.com"));
        let second = repositories.users().register(&again).await;
        assert!(matches!(second, Err(RegistrationError::EmailTaken)), "plan {plan:06b}");

        r.plan.store(plan, Ordering::SeqCst);
        let first = registration.auth_session.id;
        let auth = repositories.auth_sessions();
        let rotated = auth.rotate(first, 10, NOW + 1, &Client::default()).await.unwrap();
        r.plan.store(0, Ordering::SeqCst);
        let Rotated::Issued(next) = rotated else { panic!("plan {plan:06b}: {rotated:?}") };
        let (old, family) = auth.find(first).await.unwrap().unwrap();
        assert_eq!(old.rotated.unwrap().successor, next.id, "plan {plan:06b}");
        assert!(auth.find(next.id).await.unwrap().unwrap().0.rotated.is_none());
        assert_eq!(family.revoked_at, None);
    }
}

#[tokio::test]
async fn a_login_whose_answer_was_lost_is_one_login() {
    let r = rig();
    let repositories = repositories(r.store.clone(), &r.entropy);
    let session = login(&*r.entropy, r.entropy.uuid(), r.entropy.uuid());
    r.plan.store(0b01_11_01, Ordering::SeqCst);
    repositories.auth_sessions().create(&session, NOW).await.unwrap();
    assert_eq!(repositories.auth_sessions().find(session.id).await.unwrap().unwrap().0, session);
}
