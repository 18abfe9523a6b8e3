//! The audit log: batches, gaps, its end, and several replicas on one store that fails.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coditect_auth::{ManualClock, SeededEntropy};
use coditect_store::audit::{AuditReport, FLUSH_DEADLINE, verify};
use coditect_store::contract::Backend;
use coditect_store::records::{AuditEntry, AuditObject};
use coditect_store::{
    AuditAction, AuditEvent, AuditLog, Embedded, EmbeddedOptions, Keyspace, OPERATORS, Order, Repositories,
    Store, StoreError, SystemMonotonicClock,
};
use futures::future::join_all;
use serde_json::{Map, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::faulty::{Faults, Faulty, ROUGH};
use crate::seeds::{reproduce, seeds};
use crate::support::NOW;

/// By when what must happen has happened.
const DEADLINE: Duration = Duration::from_secs(20);

/// A replica: a log, the task that writes for it, and what goes wrong with its store.
struct Replica {
    log: AuditLog,
    faults: Arc<Faults>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

fn open(dir: &Path) -> Arc<dyn Backend> {
    let options = EmbeddedOptions::new(dir.join("s.redb"));
    Arc::new(Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap())
}

fn keys() -> Keyspace {
    Keyspace::new("test")
}

fn repositories(backend: Arc<dyn Backend>, seed: u64) -> Repositories {
    let entropy = Arc::new(SeededEntropy::new(seed));
    let store = Store::new(backend, entropy.clone());
    Repositories::new(store, keys(), Arc::new(ManualClock::new(NOW)), entropy)
}

/// A replica without its task.
fn idle(
    backend: &Arc<dyn Backend>,
    seed: u64,
) -> (AuditLog, Arc<Faults>, impl FnOnce(oneshot::Receiver<()>) -> JoinHandle<usize>) {
    let (faulty, faults) = Faulty::over(Arc::clone(backend));
    let entropy = Arc::new(SeededEntropy::new(seed + 1_000_000));
    let clock = Arc::new(ManualClock::new(NOW));
    let (log, writer) = AuditLog::batched(repositories(Arc::new(faulty), seed), clock, entropy);
    let run = move |stopped: oneshot::Receiver<()>| tokio::spawn(writer.run(async { drop(stopped.await) }));
    (log, faults, run)
}

impl Replica {
    fn start(backend: &Arc<dyn Backend>, seed: u64) -> Self {
        let (log, faults, run) = idle(backend, seed);
        let (stop, stopped) = oneshot::channel();
        Self { log, faults, stop, task: run(stopped) }
    }

    async fn end(self) -> usize {
        drop(self.stop);
        self.task.await.unwrap()
    }
}

fn event(tenant: Uuid, number: u64) -> AuditEvent {
    AuditEvent {
        tenant,
        actor: None,
        action: AuditAction::Login,
        object: AuditObject { kind: "family".into(), id: number.to_string() },
        address: None,
        details: Map::from_iter([("n".to_owned(), json!(number))]),
    }
}

/// A tenant's whole trail, read without faults.
async fn trail(backend: &Arc<dyn Backend>, tenant: Uuid) -> Vec<AuditEntry> {
    let repositories = repositories(Arc::clone(backend), 1);
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = repositories.audit().list(tenant, after.as_ref(), Order::OldestFirst, 200).await.unwrap();
        entries.extend(page.items);
        after = page.next;
        if after.is_none() {
            return entries;
        }
    }
}

async fn verified(backend: &Arc<dyn Backend>) -> AuditReport {
    let repositories = repositories(Arc::clone(backend), 2);
    verify(repositories.store(), &keys(), None, &[], |_| ()).await.unwrap()
}

/// Waits until the log's counts are as wanted.
async fn until(log: &AuditLog, what: &str, wanted: impl Fn(coditect_store::audit::AuditCounts) -> bool) {
    let reached = tokio::time::timeout(DEADLINE, async {
        while !wanted(log.counts()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(reached.await.is_ok(), "{what}: {:?}", log.counts());
}

#[tokio::test]
async fn events_that_wait_together_share_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path());
    let replica = Replica::start(&backend, 3);
    let tenant = Uuid::from_u128(1);
    replica.faults.hold.store(true, Ordering::SeqCst);
    let records = join_all((0..150).map(|n| replica.log.record(event(tenant, n))));
    let release = async {
        // The first transaction commits; meanwhile everybody else waits.
        replica.faults.held.notified().await;
        until(&replica.log, "all wait", |counts| counts.waiting == 150).await;
        replica.faults.release.notify_one();
    };
    let (recorded, ()) = tokio::join!(records, release);
    assert!(recorded.iter().all(Result::is_ok), "{recorded:?}");
    let counts = replica.log.counts();
    assert_eq!((counts.written, counts.failed, counts.dropped, counts.waiting), (150, 0, 0, 0));
    assert!((2..=4).contains(&counts.batches), "{counts:?}");
    assert_eq!(replica.end().await, 0);
    assert_eq!(trail(&backend, tenant).await.len(), 150);
    assert!(verified(&backend).await.is_clean());
}

#[tokio::test]
async fn a_log_without_a_writer_writes_while_its_caller_waits() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path());
    let entropy = Arc::new(SeededEntropy::new(5));
    let repositories = repositories(Arc::clone(&backend), 5);
    let log = AuditLog::new(repositories, Arc::new(ManualClock::new(NOW)), entropy);
    log.record(event(OPERATORS, 1)).await.unwrap();
    log.record(event(OPERATORS, 2)).await.unwrap();
    let entries = trail(&backend, OPERATORS).await;
    assert_eq!(entries.iter().map(|e| e.details["n"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(entries[1].action, "login.succeed");
}

#[tokio::test]
async fn a_stop_writes_what_waits_and_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path());
    let (log, _, run) = idle(&backend, 7);
    let tenants: Vec<_> = (1..=20).map(Uuid::from_u128).collect();
    for (n, tenant) in (0..).zip(tenants.iter().cycle().take(200)) {
        log.note(event(*tenant, n));
    }
    let (stop, stopped) = oneshot::channel();
    drop(stop);
    assert_eq!(run(stopped).await.unwrap(), 0, "all were written");
    for tenant in tenants {
        assert_eq!(trail(&backend, tenant).await.len(), 10);
    }
    assert!(matches!(log.record(event(OPERATORS, 1)).await, Err(StoreError::Closed)));
    log.note(event(OPERATORS, 2));
    assert_eq!(log.counts().dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_although_the_store_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path());
    let replica = Replica::start(&backend, 9);
    replica.faults.hold.store(true, Ordering::SeqCst);
    replica.log.note(event(OPERATORS, 1));
    replica.faults.held.notified().await;
    let begun = tokio::time::Instant::now();
    let left = replica.end().await;
    assert_eq!(left, 1, "it says what it left");
    assert!(begun.elapsed() < 2 * FLUSH_DEADLINE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn dropped_notes_leave_a_gap_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path());
    let (log, _, run) = idle(&backend, 11);
    let tenant = Uuid::from_u128(1);
    for n in 0..1030 {
        log.note(event(tenant, n));
    }
    let dropped = log.counts().dropped;
    assert_eq!((dropped, log.counts().waiting), (6, 1024));
    let (stop, stopped) = oneshot::channel();
    let task = run(stopped);
    until(&log, "all that was taken is written", |counts| counts.written == 1025).await;
    drop(stop);
    assert_eq!(task.await.unwrap(), 0);
    let entries = trail(&backend, tenant).await;
    let gaps: Vec<_> = entries.iter().filter(|entry| entry.action == "audit.gap").collect();
    assert_eq!((gaps.len(), gaps[0].details["lost"].as_u64()), (1, Some(6)));
    assert!(verified(&backend).await.is_clean());
}

#[tokio::test]
async fn a_failed_batch_is_told_to_those_who_wait_and_leaves_a_gap_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path());
    let replica = Replica::start(&backend, 13);
    let tenant = Uuid::from_u128(1);
    replica.faults.down.store(true, Ordering::SeqCst);
    let failed = replica.log.record(event(tenant, 1)).await;
    assert!(matches!(failed, Err(StoreError::Backend { .. })), "{failed:?}");
    replica.log.note(event(tenant, 2));
    until(&replica.log, "the note is lost", |counts| counts.dropped == 1).await;
    replica.faults.down.store(false, Ordering::SeqCst);
    replica.log.record(event(tenant, 3)).await.unwrap();
    let entries = trail(&backend, tenant).await;
    assert_eq!(entries.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["audit.gap", "login.succeed"]);
    assert_eq!((&entries[0].details["lost"], &entries[1].details["n"]), (&json!(1), &json!(3)));
    replica.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_on_one_failing_store_keep_one_chain_and_lose_nothing() {
    const EVENTS: u64 = 60;
    let (mut injected, mut runs) = (0, 0);
    for seed in seeds(6) {
        let dir = tempfile::tempdir().unwrap();
        let backend = open(dir.path());
        let context = reproduce(seed, "replicas_on_one_failing_store");
        let replicas = [1, 2].map(|number| Replica::start(&backend, seed * 10 + number));
        for (replica, number) in replicas.iter().zip(1..) {
            replica.faults.seed(seed * 10 + number, ROUGH);
        }
        let tenants = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let events = (0..EVENTS).flat_map(|n| replicas.iter().zip(0..).map(move |(r, at)| (r, n * 2 + at)));
        let recorded = join_all(events.map(|(replica, n)| async move {
            let tenant = tenants[usize::from(n % 3 == 0)];
            (tenant, n, replica.log.record(event(tenant, n)).await)
        }));
        let recorded = tokio::time::timeout(3 * DEADLINE, recorded).await.expect("no record waits for ever");
        for replica in replicas {
            replica.faults.stop().await;
            injected += replica.faults.injected();
            assert_eq!(replica.end().await, 0, "{context}");
        }
        runs += 1;
        let report = verified(&backend).await;
        assert!(report.is_clean(), "{:#?}; {context}", report.problems);
        let mut found: HashMap<Uuid, Vec<u64>> = HashMap::new();
        for tenant in tenants {
            let entries = trail(&backend, tenant).await;
            let places: Vec<_> = entries.iter().map(|entry| entry.link.unwrap().seq).collect();
            assert_eq!(places, (1..=entries.len() as u64).collect::<Vec<_>>(), "{context}");
            found.insert(tenant, entries.iter().map(|e| e.details["n"].as_u64().unwrap()).collect());
        }
        for tenant in tenants {
            let distinct: HashSet<_> = found[&tenant].iter().collect();
            assert_eq!(distinct.len(), found[&tenant].len(), "nothing is there twice; {context}");
        }
        for (tenant, n, result) in recorded {
            let is_there = found[&tenant].contains(&n);
            match result {
                Ok(()) => assert!(is_there, "event {n} was acknowledged and is lost; {context}"),
                Err(StoreError::Unknown) => {}
                Err(error) => assert!(!is_there, "event {n} failed ({error}) and is there; {context}"),
            }
        }
    }
    // A few commits may all be fine; those of all seeds are not.
    assert!(injected > 0 || runs == 1, "nothing went wrong");
}
