//! Transactions that really race: tasks on several threads, one store. Nobody can say which of them must be
//! refused, but the history must be serializable.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::SeededEntropy;
use coditect_store::contract::{
    Backend, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Version, Watch,
};
use coditect_store::{Embedded, EmbeddedOptions, Store, StoreError, SystemMonotonicClock};

use super::history::{Key, Moments, Record, Recorded};
use super::random::{Choices, Step};
use super::serializability::{self, Violation};
use crate::seeds::{reproduce, seeds};

/// Races of one run, unless `STORE_SEEDS` says otherwise.
const SEEDS: u64 = 60;

/// How much races.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Races {
    pub(crate) tasks: u64,
    /// Transactions of each task.
    pub(crate) each: usize,
    /// Few keys make many conflicts.
    pub(crate) keys: Key,
}

const RACES: Races = Races { tasks: 8, each: 12, keys: 6 };

/// Lets tasks race on the keys below `prefix`, which must be empty, and returns the history. The seed decides
/// what they do, not when.
pub(crate) async fn race(
    store: &Store,
    prefix: &[u8],
    races: Races,
    seed: u64,
) -> Result<Vec<Record>, StoreError> {
    let moments = Arc::new(Moments::default());
    let tasks: Vec<_> = (0..races.tasks)
        .map(|task| {
            let (store, prefix, moments) = (store.clone(), prefix.to_vec(), Arc::clone(&moments));
            let choices = Choices::new(seed.wrapping_mul(races.tasks) + task);
            tokio::spawn(async move {
                let mut records = Vec::new();
                for _ in 0..races.each {
                    let mut transaction = Recorded::begin(&store, &prefix, &moments);
                    for _ in 0..1 + choices.below(5) {
                        step(&mut transaction, choices.step(races.keys, |_| None)).await?;
                        if choices.below(2) == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    records.push(transaction.commit(&moments).await?.0);
                }
                Ok(records)
            })
        })
        .collect();
    let mut history = Vec::new();
    for task in tasks {
        history.extend(task.await.unwrap()?);
    }
    Ok(history)
}

async fn step(transaction: &mut Recorded, step: Step) -> Result<(), StoreError> {
    match step {
        Step::Get(key, mode) => transaction.get(key, mode).await.map(|_| ()),
        Step::Range(read) => transaction.range(read).await.map(|_| ()),
        Step::Write(key, write) => transaction.write(key, write),
        Step::ClearRange(low, high) => transaction.clear_range(low, high),
        Step::AddReadConflict(low, high) => transaction.add_read_conflict(low, high),
    }
}

/// Checks a history that began with nothing.
pub(crate) fn check(history: &[Record]) -> Result<(), Violation> {
    serializability::check(&BTreeMap::new(), history)
}

fn embedded() -> (tempfile::TempDir, Embedded) {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::new(dir.path().join("races.redb"));
    let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    (dir, backend)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_transactions_are_serializable() {
    let (_dir, backend) = embedded();
    let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
    let (mut committed, mut refused) = (0, 0);
    let seeds = seeds(SEEDS);
    for &seed in &seeds {
        let history = race(&store, &seed.to_be_bytes(), RACES, seed).await.unwrap();
        committed += history.iter().filter(|record| record.committed.is_some()).count();
        refused += history.iter().filter(|record| record.committed.is_none()).count();
        if let Err(violation) = check(&history) {
            panic!("{violation}, {}\n{history:#?}", reproduce(seed, "model::"));
        }
    }
    println!("{committed} committed, {refused} refused");
    assert!(committed > 0 && (refused > 0 || seeds.len() == 1), "nothing raced");
}

/// A backend that checks nothing it read: snapshot isolation at best.
struct Unchecked(Embedded);

struct UncheckedTransaction(Box<dyn BackendTransaction>);

#[async_trait]
impl Backend for Unchecked {
    fn name(&self) -> &'static str {
        "unchecked"
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        Box::new(UncheckedTransaction(self.0.begin()))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }
}

#[async_trait]
impl BackendTransaction for UncheckedTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        self.0.read_version().await
    }

    async fn get(&self, key: &[u8], _: ReadMode) -> Result<Option<Bytes>, StoreError> {
        self.0.get(key, ReadMode::Snapshot).await
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        self.0.range(read.snapshot()).await
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        self.0.mutate(mutation)
    }

    fn add_read_conflict(&self, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        self.0.watch(key).await
    }

    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        self.0.commit().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_checks_nothing_is_found_out() {
    let (_dir, backend) = embedded();
    let store = Store::new(Arc::new(Unchecked(backend)), Arc::new(SeededEntropy::new(1)));
    for seed in 0..SEEDS {
        let history = race(&store, &seed.to_be_bytes(), RACES, seed).await.unwrap();
        match check(&history) {
            Ok(()) => {}
            Err(Violation::Cycle(_)) => return,
            Err(other) => panic!("its reads are of one snapshot all the same: {other}"),
        }
    }
    panic!("{SEEDS} histories without a check of reads, and no cycle in any");
}
