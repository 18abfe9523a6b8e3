//! The same random transaction on both backends: every read, every refusal, the commit and what is there afterwards
//! must be the same. Runs with the feature `foundationdb`, on the cluster that `FDB_CLUSTER_FILE` names.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::{AtomicOp, Mutation, RangeRead, VERSIONSTAMP_BYTES, Versionstamp};
use coditect_store::{
    Embedded, EmbeddedOptions, FoundationDb, FoundationDbOptions, RetryPolicy, Store, StoreError,
    SystemMonotonicClock, Transaction,
};

use crate::seeds::{reproduce, seeds};

const SEEDS: u64 = 300;
const MAX_STEPS: usize = 12;
const MAX_ROWS: usize = 8;

/// One step of the transaction, or what another one does meanwhile.
#[derive(Debug, Clone)]
enum Step {
    Get { key: Vec<u8>, snapshot: bool },
    Range { begin: Vec<u8>, end: Vec<u8>, limit: usize, reverse: bool, snapshot: bool },
    Write(Mutation),
    AddReadConflict(Vec<u8>, Vec<u8>),
    ReadVersion,
    Watch(Vec<u8>),
    Other(Vec<Mutation>),
}

/// Makes steps from a seed. There are few keys, some of which begin like others or like stamped ones.
struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes) as usize % bound
    }

    fn even(&self) -> bool {
        self.below(2) == 0
    }

    fn key(&self) -> Vec<u8> {
        let letter = if self.even() { b'a' } else { b'b' };
        match self.below(12) {
            0 => vec![letter, 0],
            1 => vec![letter, 0, 0],
            2 => vec![letter, 0xff],
            3 => [b"s".as_slice(), &[0; VERSIONSTAMP_BYTES]].concat(),
            4 => vec![b's'],
            _ => vec![letter],
        }
    }

    fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let bound = || match self.below(6) {
            0 => vec![b't'],
            1 => vec![b's', 0, 0, 0x7f],
            _ => self.key(),
        };
        let (one, other) = (bound(), bound());
        (one.clone().min(other.clone()), one.max(other))
    }

    fn value(&self) -> Vec<u8> {
        (0..self.below(4)).map(|_| [0, 127, 254][self.below(3)]).collect()
    }

    fn write(&self, stamps: bool) -> Mutation {
        match self.below(if stamps { 12 } else { 10 }) {
            0..3 => Mutation::Set { key: self.key(), value: self.value().into() },
            3 | 4 => Mutation::Clear { key: self.key() },
            5 => {
                let (begin, end) = self.bounds();
                Mutation::ClearRange { begin, end }
            }
            6..10 => {
                let op = [AtomicOp::Add, AtomicOp::Min, AtomicOp::Max, AtomicOp::CompareAndClear];
                Mutation::Atomic { key: self.key(), op: op[self.below(4)], operand: self.value().into() }
            }
            10 => {
                let filler = u8::from(self.even());
                let mut key = [b"s".as_slice(), &[filler; VERSIONSTAMP_BYTES]].concat();
                if self.even() {
                    key.push(filler + 1);
                }
                Mutation::SetVersionstampedKey { key, offset: 1, value: self.value().into() }
            }
            _ => {
                let value = vec![0; VERSIONSTAMP_BYTES + self.below(2)];
                Mutation::SetVersionstampedValue { key: self.key(), value, offset: 0 }
            }
        }
    }

    fn step(&self, stamps: bool) -> Step {
        match self.below(20) {
            0..4 => Step::Get { key: self.key(), snapshot: self.even() },
            4..8 => {
                let (begin, end) = self.bounds();
                let limit = if self.below(30) == 0 { usize::MAX } else { 1 + self.below(4) };
                Step::Range { begin, end, limit, reverse: self.even(), snapshot: self.even() }
            }
            8 => {
                let (begin, end) = self.bounds();
                Step::AddReadConflict(begin, end)
            }
            9 if self.even() => Step::ReadVersion,
            9 => Step::Watch(self.key()),
            10 | 11 => Step::Other((0..1 + self.below(2)).map(|_| self.write(false)).collect()),
            _ => Step::Write(self.write(stamps)),
        }
    }
}

/// A backend, and the keys that are this test's.
struct Side {
    store: Store,
    prefix: Vec<u8>,
}

impl Side {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), key].concat()
    }

    /// A write at its place below the prefix.
    fn placed(&self, mutation: &Mutation) -> Mutation {
        let mut mutation = mutation.clone();
        match &mut mutation {
            Mutation::ClearRange { begin, end } => {
                *begin = self.key(begin);
                *end = self.key(end);
            }
            Mutation::SetVersionstampedKey { key, offset, .. } => {
                *key = self.key(key);
                *offset += self.prefix.len();
            }
            Mutation::Set { key, .. }
            | Mutation::Clear { key }
            | Mutation::Atomic { key, .. }
            | Mutation::SetVersionstampedValue { key, .. } => *key = self.key(key),
        }
        mutation
    }

    /// Writes in a transaction of their own, without reading.
    async fn write(&self, mutations: &[Mutation]) {
        let attempt = async |transaction: Transaction| {
            mutations.iter().try_for_each(|mutation| transaction.mutate(self.placed(mutation)))
        };
        let policy = RetryPolicy::idempotent();
        self.store.run::<_, StoreError, _, _>(&policy, attempt).await.unwrap();
    }

    async fn begin_with(&self, rows: &[(Vec<u8>, Vec<u8>)]) {
        let mut writes = vec![Mutation::ClearRange { begin: Vec::new(), end: vec![0xff] }];
        writes.extend(
            rows.iter()
                .map(|(key, value)| Mutation::Set { key: key.clone(), value: Bytes::copy_from_slice(value) }),
        );
        self.write(&writes).await;
    }

    async fn take(&self, transaction: &Transaction, step: &Step) -> String {
        let t = transaction;
        match step {
            Step::Get { key, snapshot: true } => shown(t.get_snapshot(self.key(key)).await),
            Step::Get { key, snapshot: false } => shown(t.get(self.key(key)).await),
            Step::Range { begin, end, limit, reverse, snapshot } => {
                let mut read = RangeRead::new(self.key(begin), self.key(end), *limit);
                read.reverse = *reverse;
                let read = if *snapshot { read.snapshot() } else { read };
                shown(t.range(read).await.map(|page| {
                    let rows = page.rows.into_iter();
                    let rows = rows.map(|row| (row.key[self.prefix.len()..].to_vec(), row.value));
                    (rows.collect::<Vec<_>>(), page.more)
                }))
            }
            Step::Write(mutation) => shown(t.mutate(self.placed(mutation))),
            Step::AddReadConflict(begin, end) => shown(t.add_read_conflict(&self.key(begin), &self.key(end))),
            Step::ReadVersion => shown(t.read_version().await.map(|_| ())),
            Step::Watch(key) => shown(t.watch(self.key(key)).await.map(|_| ())),
            Step::Other(mutations) => {
                self.write(mutations).await;
                String::new()
            }
        }
    }

    /// What the transaction sees, step by step, how it ends, and what is there then.
    async fn play(&self, rows: &[(Vec<u8>, Vec<u8>)], steps: &[Step]) -> Vec<String> {
        self.begin_with(rows).await;
        let transaction = self.store.begin();
        let mut seen = Vec::new();
        for step in steps {
            seen.push(self.take(&transaction, step).await);
        }
        let commit = transaction.commit().await;
        let stamp = commit.as_ref().ok().and_then(|committed| committed.map(|c| c.versionstamp));
        seen.push(shown(commit.map(|committed| committed.is_some())));
        let all = RangeRead::new(self.key(b""), self.key(b"\xff"), 1000);
        for row in self.store.begin().range(all).await.unwrap().rows {
            let row = (row.key[self.prefix.len()..].to_vec(), row.value.to_vec());
            seen.push(format!("{:?}", (unstamped(row.0, stamp), unstamped(row.1, stamp))));
        }
        self.begin_with(&[]).await;
        seen
    }
}

fn shown<T: Debug>(result: Result<T, StoreError>) -> String {
    format!("{result:?}")
}

/// The stamp replaced by something that is the same on both sides.
fn unstamped(mut bytes: Vec<u8>, stamp: Option<Versionstamp>) -> Vec<u8> {
    if let Some(stamp) = stamp
        && let Some(at) = bytes.windows(VERSIONSTAMP_BYTES).position(|window| window == stamp.0)
    {
        bytes[at..at + VERSIONSTAMP_BYTES].copy_from_slice(b"STAMPSTAMP");
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_backends_do_the_same() {
    let Some(cluster) = std::env::var_os("FDB_CLUSTER_FILE") else { return };
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::new(directory.path().join("s.redb"));
    let embedded = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    let foundationdb = FoundationDb::open(&FoundationDbOptions::new(cluster)).unwrap();
    let entropy = Arc::new(SeededEntropy::new(1));
    let embedded = Store::new(Arc::new(embedded), entropy.clone());
    let foundationdb = Store::new(Arc::new(foundationdb), entropy);
    for seed in seeds(SEEDS) {
        let dice = Dice(SeededEntropy::new(seed));
        let stamps = dice.even();
        let rows: Vec<_> = (0..dice.below(MAX_ROWS)).map(|_| (dice.key(), dice.value())).collect();
        let steps: Vec<_> = (0..1 + dice.below(MAX_STEPS)).map(|_| dice.step(stamps)).collect();
        let prefix = format!("differential/{seed}/").into_bytes();
        let [ours, theirs] = [&embedded, &foundationdb].map(|store| {
            let side = Side { store: store.clone(), prefix: prefix.clone() };
            let (rows, steps) = (&rows, &steps);
            async move { side.play(rows, steps).await }
        });
        let again = reproduce(seed, "differential --features foundationdb");
        assert_eq!(ours.await, theirs.await, "embedded and FoundationDB, after {steps:#?}, {again}");
    }
    foundationdb.close().await.unwrap();
}
