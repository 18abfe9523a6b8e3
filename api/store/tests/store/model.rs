//! Random transactions, several open at a time, against a map that knows what serializability demands.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::RangeRead;
use coditect_store::{StoreError, Transaction};

use crate::support::Fixture;

const KEYS: u8 = 12;
const SEEDS: u64 = 40;
const STEPS: usize = 250;

/// A place in the key space: `2n` is key n, `2n + 1` everything between it and key n + 1. Ranges touch the
/// places between the keys as well, and may conflict there.
type Place = u16;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// An open transaction and what the model knows about it.
struct Open {
    transaction: Transaction,
    /// The database as it was at the first read, with the transaction's own writes.
    view: Map,
    /// Number of commits when the snapshot was taken; `None` before.
    since: Option<usize>,
    /// What it wrote or cleared itself.
    own: BTreeSet<Place>,
    read: BTreeSet<Place>,
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

struct Model {
    database: Map,
    /// What each commit wrote.
    commits: Vec<BTreeSet<Place>>,
}

fn pick(entropy: &SeededEntropy, below: u8) -> u8 {
    let mut byte = [0];
    entropy.fill(&mut byte);
    byte[0] % below
}

fn place(n: u8) -> Place {
    2 * Place::from(n)
}

fn key(n: u8) -> Vec<u8> {
    vec![b'k', n]
}

impl Open {
    fn new(transaction: Transaction) -> Self {
        Self {
            transaction,
            view: Map::new(),
            since: None,
            own: BTreeSet::new(),
            read: BTreeSet::new(),
            writes: Vec::new(),
        }
    }

    /// Takes the model's snapshot when the store takes its own.
    fn snapshot(&mut self, model: &Model) {
        if self.since.is_some() {
            return;
        }
        self.since = Some(model.commits.len());
        self.view = model.database.clone();
        for (key, value) in self.writes.clone() {
            apply(&mut self.view, key, value);
        }
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.own.insert(place(key[1]));
        self.writes.push((key.clone(), value.clone()));
        apply(&mut self.view, key, value);
    }

    async fn step(&mut self, model: &Model, entropy: &SeededEntropy, context: &str) {
        let (a, b) = (pick(entropy, KEYS), pick(entropy, KEYS));
        let (low, high) = (a.min(b), a.max(b));
        match pick(entropy, 10) {
            0..=2 => {
                self.snapshot(model);
                let found = self.transaction.get(key(a)).await.unwrap();
                assert_eq!(found.map(|v| v.to_vec()), self.view.get(&key(a)).cloned(), "{context}");
                if !self.own.contains(&place(a)) {
                    self.read.insert(place(a));
                }
            }
            3..=4 => {
                self.snapshot(model);
                let reverse = pick(entropy, 2) == 0;
                let limit = usize::from(1 + pick(entropy, 6));
                let mut read = RangeRead::new(key(low), key(high), limit);
                read.reverse = reverse;
                let page = self.transaction.range(read).await.unwrap();
                let rows: Vec<_> = page.rows.into_iter().map(|row| (row.key, row.value.to_vec())).collect();
                let in_range = self.view.range(key(low)..key(high)).map(|(k, v)| (k.clone(), v.clone()));
                let expected: Vec<_> = if reverse {
                    in_range.rev().take(limit).collect()
                } else {
                    in_range.take(limit).collect()
                };
                assert_eq!(rows, expected, "{context}");
                let (first, last) = match rows.last() {
                    Some((k, _)) if rows.len() == limit && reverse => (place(k[1]), place(high)),
                    Some((k, _)) if rows.len() == limit => (place(low), place(k[1]) + 1),
                    _ => (place(low), place(high)),
                };
                self.read.extend((first..last).filter(|place| !self.own.contains(place)));
            }
            5..=7 => {
                let value = vec![pick(entropy, 255); 3];
                self.transaction.set(key(a), value.clone()).unwrap();
                self.write(key(a), Some(value));
            }
            8 => {
                self.transaction.clear(key(a)).unwrap();
                self.write(key(a), None);
            }
            _ => {
                self.transaction.clear_range(key(low), key(high)).unwrap();
                for n in low..high {
                    self.write(key(n), None);
                }
                self.own.extend(place(low)..place(high));
            }
        }
    }

    async fn commit(self, model: &mut Model, context: &str) {
        let result = self.transaction.commit().await;
        let since = self.since.unwrap_or(model.commits.len());
        let conflict = model.commits[since..].iter().any(|written| !written.is_disjoint(&self.read));
        match result {
            Err(StoreError::Conflict) => {
                assert!(conflict && !self.writes.is_empty(), "{context}: needless conflict")
            }
            Err(error) => panic!("{context}: {error}"),
            Ok(_) if self.writes.is_empty() => {}
            Ok(_) => {
                assert!(!conflict, "{context}: a conflict was missed");
                for (key, value) in self.writes {
                    apply(&mut model.database, key, value);
                }
                model.commits.push(self.own);
            }
        }
    }
}

fn apply(map: &mut Map, key: Vec<u8>, value: Option<Vec<u8>>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// `CODITECT_SEED=<n>` runs one seed.
#[tokio::test]
async fn random_transactions_behave_as_the_model_says() {
    let seeds = match std::env::var("CODITECT_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..SEEDS).collect(),
    };
    for seed in seeds {
        println!("seed {seed}");
        let f = Fixture::new();
        let entropy = SeededEntropy::new(seed);
        let mut model = Model { database: Map::new(), commits: Vec::new() };
        let mut open: Vec<Open> = (0..4).map(|_| Open::new(f.store.begin())).collect();
        for step in 0..STEPS {
            let context = format!("seed {seed}, step {step}");
            let slot = usize::from(pick(&entropy, 4));
            if pick(&entropy, 6) == 0 {
                let done = std::mem::replace(&mut open[slot], Open::new(f.store.begin()));
                done.commit(&mut model, &context).await;
            } else {
                open[slot].step(&model, &entropy, &context).await;
            }
        }
        let page = f.store.begin().range(RangeRead::new([0], [0xff], 1000)).await.unwrap();
        let stored: Map = page.rows.into_iter().map(|row| (row.key, row.value.to_vec())).collect();
        assert_eq!(stored, model.database, "seed {seed}");
        assert!(model.commits.len() > 10, "seed {seed} committed almost nothing");
    }
}
