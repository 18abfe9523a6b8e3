//! Random transactions, several open at a time: against a model that says what each of them must see and
//! whether it must be refused, and through a check that the history is serializable.
//!
//! `STORE_SEED=<n>` runs one seed, see [`crate::seeds`].

mod anomalies;
mod history;
mod racing;
mod random;
mod reference;
mod serializability;
mod values;

use std::sync::Arc;

use coditect_store::Store;
use coditect_store::contract::{RangeRead, ReadMode};
use futures::{StreamExt, stream};

use self::history::{Key, Moments, Record, Recorded};
pub(crate) use self::racing::{Races, check, race};
use self::random::{Choices, Step};
use self::reference::{Database, Open};
use crate::seeds::{reproduce, seeds};
use crate::support::Fixture;

/// Seeds of one run, unless `STORE_SEEDS` says otherwise.
const SEEDS: u64 = 5000;
/// Seeds that share a store; its conflict history is not pruned, since its clock stands still.
const SEEDS_PER_STORE: usize = 1000;
/// Seeds at work at a time: their commits share fsyncs.
const SEEDS_AT_ONCE: usize = 100;
/// Transactions open at a time.
const SLOTS: u8 = 4;
const STEPS: usize = 120;
const KEYS: Key = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_transactions_behave_as_the_model_says() {
    let seeds = seeds(SEEDS);
    let mut total = Tally::default();
    for some in seeds.chunks(SEEDS_PER_STORE) {
        let f = Fixture::new();
        let mut running = stream::iter(some.iter().copied())
            .map(|seed| tokio::spawn(Run::new(f.store.clone(), seed).finish()))
            .buffer_unordered(SEEDS_AT_ONCE);
        while let Some(tally) = running.next().await {
            let tally = tally.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
            total.committed += tally.committed;
            total.refused += tally.refused;
        }
    }
    println!("{} seeds: {total:?}", seeds.len());
    let expected = if seeds.len() == 1 { 0 } else { seeds.len() };
    assert!(total.committed >= 5 * expected && total.refused >= expected, "it did almost nothing");
}

/// What became of transactions that wrote.
#[derive(Debug, Default)]
struct Tally {
    committed: usize,
    refused: usize,
}

/// One seed's transactions, on keys of their own.
struct Run {
    store: Store,
    prefix: Vec<u8>,
    choices: Choices,
    seed: u64,
    database: Database,
    moments: Arc<Moments>,
    history: Vec<Record>,
    refused: usize,
}

impl Run {
    fn new(store: Store, seed: u64) -> Self {
        Self {
            store,
            prefix: seed.to_be_bytes().to_vec(),
            choices: Choices::new(seed),
            seed,
            database: Database::default(),
            moments: Arc::default(),
            history: Vec::new(),
            refused: 0,
        }
    }

    fn begin(&self) -> (Recorded, Open) {
        (Recorded::begin(&self.store, &self.prefix, &self.moments), Open::default())
    }

    async fn finish(mut self) -> Tally {
        let mut open: Vec<_> = (0..SLOTS).map(|_| self.begin()).collect();
        for step in 0..STEPS {
            let context = format!("step {step} of {}", reproduce(self.seed, "model::"));
            let slot = usize::from(self.choices.below(SLOTS));
            if self.choices.below(6) == 0 {
                let (transaction, expected) = std::mem::replace(&mut open[slot], self.begin());
                self.commit(transaction, expected, &context).await;
            } else {
                let (transaction, expected) = &mut open[slot];
                self.step(transaction, expected, &context).await;
            }
        }
        assert_eq!(self.stored().await, self.database.map, "in the end, {}", reproduce(self.seed, "model::"));
        if let Err(violation) = serializability::check(&Default::default(), &self.history) {
            panic!("{violation}, {}", reproduce(self.seed, "model::"));
        }
        Tally { committed: self.database.commits(), refused: self.refused }
    }

    async fn step(&self, transaction: &mut Recorded, expected: &mut Open, context: &str) {
        match self.choices.step(KEYS, |key| self.database.map.get(&key).cloned()) {
            Step::Get(key, mode) => {
                expected.take_snapshot(&self.database);
                let found = transaction.get(key, mode).await.unwrap();
                assert_eq!(found, expected.value(key), "key {key} at {context}");
                if mode == ReadMode::Serializable {
                    expected.has_read(key);
                }
            }
            Step::Range(read) => {
                expected.take_snapshot(&self.database);
                let rows = transaction.range(read).await.unwrap();
                assert_eq!(rows, expected.rows(&read), "{read:?} at {context}");
                if read.mode == ReadMode::Serializable {
                    expected.has_read_rows(&read, &rows);
                }
            }
            Step::Write(key, write) => {
                transaction.write(key, write.clone()).unwrap();
                expected.write(key, write);
            }
            Step::ClearRange(low, high) => {
                transaction.clear_range(low, high).unwrap();
                expected.clear_range(low, high);
            }
            Step::AddReadConflict(low, high) => {
                transaction.add_read_conflict(low, high).unwrap();
                expected.has_read_all(low, high);
            }
        }
    }

    async fn commit(&mut self, transaction: Recorded, expected: Open, context: &str) {
        let conflicts = expected.conflicts(&self.database);
        let (record, committed) = transaction.commit(&self.moments).await.unwrap();
        let refused = record.committed.is_none();
        assert_eq!(refused, conflicts, "refused: {refused}, must be: {conflicts}, {context}");
        assert_eq!(committed.is_some(), !refused && expected.has_writes(), "{context}");
        self.history.push(record);
        if refused {
            self.refused += 1;
        } else if expected.has_writes() {
            expected.apply(&mut self.database);
        }
    }

    async fn stored(&self) -> reference::Map {
        let (begin, end) = (history::key_below(&self.prefix, 0), history::key_below(&self.prefix, KEYS));
        let page = self.store.begin().range(RangeRead::new(begin, end, 1000)).await.unwrap();
        page.rows.iter().map(history::row).collect()
    }
}
