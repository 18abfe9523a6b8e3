//! Work that must not happen twice, and records that must agree, over a backend that fails.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use coditect_auth::{Entropy, ManualClock, SeededEntropy};
use coditect_store::contract::Backend;
use coditect_store::{
    Client, Embedded, EmbeddedOptions, Keyspace, RegistrationError, Repositories, RetryPolicy, Rotated,
    Store, StoreError, SystemMonotonicClock, Transaction,
};
use futures::future::join_all;
use futures::{StreamExt, stream};

use crate::faulty::{Fate, Faults, Faulty, ROUGH};
use crate::repositories;
use crate::seeds::{reproduce, seeds};
use crate::support::{NOW, login, registration, value};
use crate::workload;

/// Plans or seeds at work at a time: their commits share fsyncs.
const AT_ONCE: usize = 32;
/// Checks at work at a time, where each has a store of its own and so shares no fsync: enough to use two cores
/// while some wait for their disk, and few enough that none gets so slow that its retries run out of time.
const STORES_AT_ONCE: usize = 4;

/// One embedded store, and any number of faulty ways to it.
struct Rig {
    _dir: tempfile::TempDir,
    backend: Arc<dyn Backend>,
    entropy: Arc<SeededEntropy>,
    /// Without faults.
    store: Store,
}

/// One faulty way.
struct Way {
    store: Store,
    faults: Arc<Faults>,
    keys: Keyspace,
    repositories: Repositories,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::new(dir.path().join("s.redb"));
        let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
        let backend: Arc<dyn Backend> = Arc::new(backend);
        let entropy = Arc::new(SeededEntropy::new(3));
        let store = Store::new(Arc::clone(&backend), entropy.clone());
        Self { _dir: dir, backend, entropy, store }
    }

    /// A way with repositories of its own, below `root`.
    fn way(&self, root: &str) -> Way {
        let (backend, faults) = Faulty::over(Arc::clone(&self.backend));
        let store = Store::new(Arc::new(backend), self.entropy.clone());
        let keys = Keyspace::new(root);
        let clock = Arc::new(ManualClock::new(NOW));
        let repositories = Repositories::new(store.clone(), keys.clone(), clock, self.entropy.clone());
        Way { store, faults, keys, repositories }
    }

    /// Fails if records and indexes disagree anywhere below a root.
    async fn assert_clean(&self, keys: &Keyspace, context: &str) {
        let report = self.store.verify(keys, |_| ()).await.unwrap();
        assert!(report.is_clean(), "{:#?}, {context}", report.problems);
    }
}

impl Way {
    async fn once<T, F>(&self, rig: &Rig, work: impl Fn(Transaction) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let policy = RetryPolicy { first_backoff: std::time::Duration::ZERO, ..RetryPolicy::default() };
        let marker = self.keys.marker(NOW * 1000, rig.entropy.uuid());
        self.store.run_once(&policy, &marker, work).await
    }
}

/// Adds one to a number, with a read.
async fn count(t: Transaction, key: &str) -> Result<u64, StoreError> {
    let n = number(t.get(key).await?) + 1;
    t.set(key, Bytes::copy_from_slice(&n.to_le_bytes()))?;
    Ok(n)
}

fn number(value: Option<Bytes>) -> u64 {
    value.map_or(0, |bytes| u64::from_le_bytes(bytes.as_ref().try_into().unwrap()))
}

/// Every sequence of four fates.
const PLANS: u32 = Fate::KINDS.pow(4);

#[tokio::test]
async fn a_counter_counts_once_whatever_happens_to_the_commits() {
    let rig = &Rig::new();
    let plans = stream::iter(0..PLANS);
    plans
        .for_each_concurrent(AT_ONCE, |plan| async move {
            let way = rig.way("test");
            let (fates, key) = (Fate::plan(plan), &format!("n{plan}"));
            way.faults.plan(fates.clone());
            let counted = way.once(rig, |t| count(t, key)).await.unwrap();
            assert_eq!(counted, 1, "the value of the attempt that committed, {fates:?}");
            way.faults.stop().await;
            assert_eq!(number(rig.store.begin().get(key).await.unwrap()), 1, "{fates:?}");
        })
        .await;
}

/// Nothing but the marker makes these attempts conflict with each other.
#[tokio::test]
async fn a_counter_that_is_not_read_counts_once_too() {
    let rig = &Rig::new();
    let plans = stream::iter(0..PLANS);
    plans
        .for_each_concurrent(AT_ONCE, |plan| async move {
            let way = rig.way("test");
            let (fates, key) = (Fate::plan(plan), &format!("n{plan}"));
            way.faults.plan(fates.clone());
            way.once(rig, |t| async move { t.add(key.as_str(), 1) }).await.unwrap();
            way.faults.stop().await;
            assert_eq!(number(rig.store.begin().get(key).await.unwrap()), 1, "{fates:?}");
        })
        .await;
}

#[tokio::test]
async fn counters_count_once_on_a_rough_backend() {
    const TASKS: usize = 3;
    const EACH: usize = 8;
    let rig = &Rig::new();
    let seeds = seeds(200);
    let injected = stream::iter(&seeds)
        .map(|&seed| async move {
            let way = &rig.way("test");
            let (read, blind) = (&format!("read{seed}"), &format!("blind{seed}"));
            way.faults.seed(seed, ROUGH);
            let tasks = (0..TASKS).map(|_| async move {
                for _ in 0..EACH {
                    way.once(rig, |t| count(t, read)).await.unwrap();
                    way.once(rig, |t| async move { t.add(blind.as_str(), 1) }).await.unwrap();
                }
            });
            join_all(tasks).await;
            way.faults.stop().await;
            for key in [read, blind] {
                let counted = number(rig.store.begin().get(key).await.unwrap());
                assert_eq!(counted, (TASKS * EACH) as u64, "{key}, {}", reproduce(seed, "faults::"));
            }
            way.faults.injected()
        })
        .buffer_unordered(AT_ONCE)
        .fold(0, |sum, injected| async move { sum + injected })
        .await;
    println!("{} seeds, {injected} faults", seeds.len());
    assert!(injected > seeds.len(), "it was not rough");
}

#[tokio::test]
async fn an_unknown_result_is_reported_where_nothing_makes_a_retry_safe() {
    let rig = Rig::new();
    let way = rig.way("test");
    way.faults.plan([Fate::AnswerLost]);
    let result: Result<(), StoreError> =
        way.store.run(&RetryPolicy::default(), |t| async move { t.set("k", "v") }).await;
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Unknown) && error.maybe_committed());
    assert_eq!(value(&rig.store, "k").await.as_deref(), Some("v"));
}

/// A commit that is on its way while a later attempt has nothing more to write, or ends in an error of its own: what
/// the caller is told stays true.
#[tokio::test]
async fn nothing_arrives_after_a_later_attempt_came_to_another_end() {
    let rig = &Rig::new();
    for plan in 0..2 * Fate::KINDS.pow(3) {
        let (way, refuses, key) = (rig.way("test"), plan % 2 == 0, &format!("n{plan}"));
        let fates: Vec<_> = [Fate::Late].into_iter().chain(Fate::plan(plan / 2)).collect();
        way.faults.plan(fates.clone());
        let attempts = &AtomicU32::new(0);
        let marker = way.keys.marker(NOW * 1000, rig.entropy.uuid());
        let told: Result<u64, RegistrationError> = way
            .store
            .run_once(&RetryPolicy::default(), &marker, |t| async move {
                match attempts.fetch_add(1, Ordering::SeqCst) {
                    0 => Ok(t.add(key.as_str(), 1).map(|()| 1)?),
                    _ if refuses => Err(RegistrationError::EmailTaken),
                    _ => Ok(0),
                }
            })
            .await;
        way.faults.stop().await;
        let happened = number(rig.store.begin().get(key).await.unwrap());
        match told {
            Ok(told) => assert_eq!(told, happened, "{fates:?}"),
            Err(RegistrationError::EmailTaken) => assert_eq!(happened, 0, "{fates:?}"),
            Err(error) => panic!("{error}, {fates:?}"),
        }
    }
}

#[tokio::test]
async fn a_lost_fate_is_reported_when_attempts_run_out() {
    let rig = Rig::new();
    let way = rig.way("test");
    let marker = way.keys.marker(NOW * 1000, rig.entropy.uuid());
    let policy = RetryPolicy { max_attempts: 2, ..RetryPolicy::default() };
    way.faults.plan([Fate::RequestLost, Fate::Refused(StoreError::Conflict)]);
    let result: Result<(), StoreError> =
        way.store.run_once(&policy, &marker, |t| async move { t.set("k", "v") }).await;
    assert!(matches!(result, Err(StoreError::Unknown)), "{result:?}");
}

#[tokio::test]
async fn registration_and_rotation_happen_once() {
    let rig = Rig::new();
    let way = rig.way("test");
    let (users, auth) = (way.repositories.users(), way.repositories.auth_sessions());
    for plan in 0..Fate::KINDS.pow(3) {
        let fates = Fate::plan(plan);
        let address = format!("u{plan}@example.com");
        let new = registration(&*rig.entropy, &address);
        way.faults.plan(fates.clone());
        users.register(&new).await.unwrap();
        let second = users.register(&registration(&*rig.entropy, &address)).await;
        assert!(matches!(second, Err(RegistrationError::EmailTaken)), "{fates:?}");

        way.faults.plan(fates.clone());
        let first = new.auth_session.id;
        let rotated = auth.rotate(first, 10, NOW + 1, &Client::default()).await.unwrap();
        way.faults.stop().await;
        let Rotated::Issued(next) = rotated else { panic!("{fates:?}: {rotated:?}") };
        let (old, family) = auth.find(first).await.unwrap().unwrap();
        assert_eq!(old.rotated.unwrap().successor, next.id, "{fates:?}");
        assert!(auth.find(next.id).await.unwrap().unwrap().0.rotated.is_none());
        assert_eq!(family.revoked_at, None);
    }
    rig.assert_clean(&way.keys, "in the end").await;
}

#[tokio::test]
async fn a_login_whose_answer_was_lost_is_one_login() {
    let rig = Rig::new();
    let way = rig.way("test");
    let session = login(&*rig.entropy, rig.entropy.uuid(), rig.entropy.uuid());
    way.faults.plan([Fate::AnswerLost, Fate::Refused(StoreError::Conflict), Fate::AnswerLost]);
    let auth = way.repositories.auth_sessions();
    auth.create(&session, NOW).await.unwrap();
    assert_eq!(auth.find(session.id).await.unwrap().unwrap().0, session);
}

#[tokio::test]
async fn no_user_is_registered_twice_on_a_rough_backend() {
    const ADDRESSES: usize = 3;
    let rig = &Rig::new();
    stream::iter(seeds(100))
        .for_each_concurrent(AT_ONCE, |seed| async move {
            let context = &reproduce(seed, "faults::");
            let way = &rig.way(&format!("seed{seed}"));
            way.faults.seed(seed, ROUGH);
            let attempts = (0..ADDRESSES * 3).map(|attempt| async move {
                let address = format!("u{}@example.com", attempt % ADDRESSES);
                let new = registration(&*rig.entropy, &address);
                match way.repositories.users().register(&new).await {
                    Ok(()) => Some((address, new.user.id)),
                    Err(RegistrationError::EmailTaken) => None,
                    Err(error) => panic!("{error}, {context}"),
                }
            });
            let won: Vec<_> = join_all(attempts).await.into_iter().flatten().collect();
            way.faults.stop().await;
            let addresses: HashSet<_> = won.iter().map(|(address, _)| address).collect();
            assert_eq!((addresses.len(), won.len()), (ADDRESSES, ADDRESSES), "{context}");
            for (address, id) in &won {
                let found = way.repositories.users().by_email(address).await.unwrap().unwrap();
                assert_eq!(found.id, *id, "{context}");
            }
            let report = rig.store.verify(&way.keys, |_| ()).await.unwrap();
            assert!(report.is_clean(), "{:#?}, {context}", report.problems);
            assert_eq!(report.families["users"], ADDRESSES as u64, "{context}");
        })
        .await;
}

#[tokio::test]
async fn no_index_is_orphaned_on_a_rough_backend() {
    let rig = &Rig::new();
    let seeds = seeds(100);
    stream::iter(&seeds)
        .for_each_concurrent(AT_ONCE, |&seed| async move {
            let context = reproduce(seed, "faults::");
            let way = &rig.way(&format!("seed{seed}"));
            way.faults.seed(seed, ROUGH);
            let done = workload::run(&way.repositories, seed).await;
            assert!(done > 20, "only {done} steps did anything, {context}");
            assert!(way.faults.injected() > 0, "it was not rough, {context}");
            way.faults.stop().await;
            rig.assert_clean(&way.keys, &context).await;
        })
        .await;
}

/// Each repository's own tests, with nothing to rely on but its promises. What they look at behind the
/// repositories' back is read without faults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_repositories_keep_their_promises_on_a_rough_backend() {
    let seeds = seeds(4);
    let checks = repositories::all();
    let runs: Vec<_> = seeds
        .iter()
        .flat_map(|&seed| checks.iter().map(move |(name, check)| (seed, *name, *check)))
        .collect();
    let injected = stream::iter(runs)
        .map(|(seed, name, check)| async move {
            let rig = Rig::new();
            let way = rig.way("test");
            way.faults.seed(seed, ROUGH);
            let mut data = repositories::Data::on(rig.store.clone(), Arc::clone(&rig.entropy));
            data.repositories = way.repositories.clone();
            let ended = tokio::spawn(check(data)).await;
            assert!(ended.is_ok(), "{name} failed, {}", reproduce(seed, "faults::"));
            way.faults.stop().await;
            way.faults.injected()
        })
        .buffer_unordered(STORES_AT_ONCE)
        .fold(0, |sum, injected| async move { sum + injected })
        .await;
    println!("{} checks with {} seeds, {injected} faults", checks.len(), seeds.len());
    assert!(injected > checks.len(), "it was not rough");
}
