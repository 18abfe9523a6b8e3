//! The power fails: what was not synced is kept, lost, torn between sectors or kept out of order, at any moment.
//! What was acknowledged must be there all the same, and nothing by halves.
//!
//! A workload runs once on a disk that records what it is asked to do. Then, for cut after cut, the disk is put
//! together again as a power failure at that moment may have left it, and opened. Killing a process shows none of
//! this, since the kernel then still writes what it was given: see `tests/store/crash.rs` for that.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Arc;

use coditect_auth::{Entropy, SeededEntropy};
use futures::future::join_all;

use super::Embedded;
use super::memory::{Done, Faults, MemoryDisk, SECTOR_BYTES};
use super::trouble::PROBE_INTERVAL;
use crate::clock::ManualMonotonicClock;
use crate::contract::{Backend, Version};
use crate::error::StoreError;
use crate::store::Store;
use crate::transaction::Transaction;

/// Workloads.
const SEEDS: u64 = 6;
/// Steps of a workload, each of one commit or several at once.
const STEPS: usize = 40;
/// Cuts of a workload.
const CUTS: usize = 500;
/// Every so many cuts the power fails again while the database is repaired.
const SECOND_CUT: usize = 5;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;
/// Keys with their new values; `None` removes one.
type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    /// The commit's result is unknown.
    Unknown,
    /// The commit has certainly not happened.
    Refused,
}

/// A commit that was tried: what the store then holds, and between which operations of the disk.
struct Attempt {
    begun: usize,
    ended: usize,
    outcome: Outcome,
    content: Content,
}

struct Random(SeededEntropy);

impl Random {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % bound as u64).unwrap()
    }

    fn coin(&self) -> bool {
        self.below(2) == 0
    }
}

/// A running workload.
struct Workload {
    disk: MemoryDisk,
    clock: Arc<ManualMonotonicClock>,
    backend: Arc<Embedded>,
    store: Store,
    random: Random,
    attempts: Vec<Attempt>,
    /// What the store holds, as far as it was acknowledged.
    content: Content,
    number: usize,
}

fn start(disk: &MemoryDisk, clock: &Arc<ManualMonotonicClock>) -> (Arc<Embedded>, Store) {
    // Little cache, so that pages are written before the commit too.
    let site = disk.site(64 << 10);
    let opened = site.open(Version(0)).unwrap();
    let backend = Arc::new(Embedded::start(site, opened, Arc::clone(clock) as _).unwrap());
    let store = Store::new(Arc::clone(&backend) as _, Arc::new(SeededEntropy::new(1)));
    (backend, store)
}

impl Workload {
    fn new(seed: u64) -> Self {
        let (disk, clock) = (MemoryDisk::default(), Arc::new(ManualMonotonicClock::default()));
        let (backend, store) = start(&disk, &clock);
        Self {
            disk,
            clock,
            backend,
            store,
            random: Random(SeededEntropy::new(seed)),
            attempts: Vec::new(),
            content: Content::new(),
            number: 0,
        }
    }

    fn done(&self) -> usize {
        self.disk.state().done.len()
    }

    /// A transaction that touches several pages, and what it makes of `content`.
    fn transaction(&mut self) -> (Transaction, Writes) {
        self.number += 1;
        let number = self.number;
        let text = |length| format!("{number} ").repeat(length).into_bytes();
        let mut writes = vec![
            (format!("record/{number}").into_bytes(), Some(text(self.random.below(1500)))),
            (format!("index/{}", number * 7919 % 1000).into_bytes(), Some(text(1))),
            (format!("slot/{}", number % 7).into_bytes(), Some(text(self.random.below(100)))),
            (b"count".to_vec(), Some(text(1))),
        ];
        if let Some(old) = number.checked_sub(15) {
            writes.push((format!("record/{old}").into_bytes(), None));
        }
        let transaction = self.store.begin();
        for (key, value) in &writes {
            match value {
                Some(value) => transaction.set(key.clone(), value.clone()).unwrap(),
                None => transaction.clear(key.clone()).unwrap(),
            }
        }
        (transaction, writes)
    }

    /// Commits `together` transactions at once.
    async fn commit(&mut self, together: usize) {
        let begun = self.done();
        let transactions: Vec<_> = (0..together).map(|_| self.transaction()).collect();
        let commits = transactions.into_iter().map(|(transaction, writes)| async move {
            let committed = transaction.commit().await;
            (committed.map(|committed| committed.unwrap().version), writes)
        });
        let mut results = join_all(commits).await;
        let ended = self.done();
        // Refused ones do not build on each other: their order does not matter.
        results.sort_by_key(|(version, _)| version.as_ref().map(|version| version.0).unwrap_or(u64::MAX));
        for (result, writes) in results {
            let outcome = match result {
                Ok(_) => Outcome::Acknowledged,
                Err(StoreError::Unknown) => Outcome::Unknown,
                Err(StoreError::Backend { .. }) => Outcome::Refused,
                Err(error) => panic!("{error:?}"),
            };
            let mut content = self.content.clone();
            for (key, value) in writes {
                match value {
                    Some(value) => drop(content.insert(key, value)),
                    None => drop(content.remove(&key)),
                }
            }
            if outcome == Outcome::Acknowledged {
                self.content = content.clone();
            }
            self.attempts.push(Attempt { begun, ended, outcome, content });
        }
    }

    async fn step(&mut self) {
        match self.random.below(16) {
            0 => {
                self.store.close().await.unwrap();
                (self.backend, self.store) = start(&self.disk, &self.clock);
            }
            1 | 2 => {
                let none = Faults::default();
                let fault = match self.random.below(3) {
                    0 => Faults { sync: true, ..none },
                    1 => Faults { full_from: Some(4096), ..none },
                    _ => Faults { write: true, ..none },
                };
                self.disk.set(fault);
                self.commit(1).await;
                self.disk.set(none);
                self.clock.advance(PROBE_INTERVAL);
                self.commit(1).await;
                self.backend.ping().await.unwrap();
            }
            3..6 => self.commit(3).await,
            _ => self.commit(1).await,
        }
    }
}

/// A disk as a power failure after the first `cut` operations may have left it, given how it was at the begin.
fn image(mut disk: Vec<u8>, done: &[Done], cut: usize, random: &Random) -> Vec<u8> {
    let done = &done[..cut];
    let synced = done.iter().rposition(|done| matches!(done, Done::Sync)).map_or(0, |at| at + 1);
    for done in &done[..synced] {
        apply(&mut disk, done, |_| true);
    }
    // All, none, each operation by itself, or each sector by itself: in this last case a sector may also keep
    // an older one of several writes.
    let how = random.below(8);
    for done in &done[synced..] {
        match how {
            0 => apply(&mut disk, done, |_| true),
            1 => {}
            2 | 3 => {
                if random.coin() {
                    apply(&mut disk, done, |_| true);
                }
            }
            _ => apply(&mut disk, done, |_| random.coin()),
        }
    }
    disk
}

/// Does an operation to the disk; of a write, the sectors that `keep` says.
fn apply(disk: &mut Vec<u8>, done: &Done, mut keep: impl FnMut(usize) -> bool) {
    match done {
        Done::Sync => {}
        Done::SetLen(len) => {
            if keep(0) {
                disk.resize(*len, 0);
            }
        }
        Done::Write { offset, data } => {
            let end = offset + data.len();
            let mut at = *offset;
            while at < end {
                let next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let next = next.min(end);
                if keep(at) {
                    if disk.len() < next {
                        disk.resize(next, 0);
                    }
                    disk[at..next].copy_from_slice(&data[at - offset..next - offset]);
                }
                at = next;
            }
        }
    }
}

/// Opens the disk and reads everything.
fn content(disk: &MemoryDisk) -> Content {
    let opened = disk.site(1 << 20).open(Version(0)).unwrap();
    let rows = opened.snapshot.table.range::<&[u8]>(..).unwrap();
    rows.map(|row| row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).unwrap()).collect()
}

/// What may be found after a cut: the newest acknowledged content or a later one that may have been written.
fn allowed(attempts: &[Attempt], cut: usize) -> Vec<&Content> {
    let acknowledged = |attempt: &Attempt| attempt.outcome == Outcome::Acknowledged && attempt.ended <= cut;
    let first = attempts.iter().rposition(acknowledged).unwrap_or(0);
    let possible = |attempt: &&Attempt| {
        attempt.begun <= cut && !(attempt.outcome == Outcome::Refused && attempt.ended <= cut)
    };
    attempts[first..].iter().filter(possible).map(|attempt| &attempt.content).collect()
}

fn number(content: &Content) -> String {
    String::from_utf8_lossy(content.get(b"count".as_slice()).map_or(b"none", Vec::as_slice)).into_owned()
}

fn assert_allowed(found: &Content, attempts: &[Attempt], cut: usize, context: &str) {
    let allowed = allowed(attempts, cut);
    let numbers: Vec<_> = allowed.iter().map(|content| number(content)).collect();
    assert!(allowed.contains(&found), "{context}: found {}, allowed are {numbers:?}", number(found));
}

#[tokio::test]
async fn an_acknowledged_write_survives_every_power_failure() {
    let mut found_newer = 0;
    for seed in 0..SEEDS {
        let mut workload = Workload::new(seed);
        // The first acknowledged state is where the cuts begin.
        workload.commit(1).await;
        let begin = {
            let mut state = workload.disk.state();
            state.recording = true;
            state.bytes.clone()
        };
        workload.attempts[0].ended = 0;
        for _ in 0..STEPS {
            workload.step().await;
        }
        let done = std::mem::take(&mut workload.disk.state().done);
        let (attempts, random) = (&workload.attempts, &workload.random);
        for number in 0..CUTS {
            let cut = random.below(done.len() + 1);
            let context = format!("seed {seed}, cut {number} after {cut} of {} operations", done.len());
            let torn = image(begin.clone(), &done, cut, random);
            let disk = MemoryDisk::with(torn.clone());
            disk.state().recording = true;
            let found = content(&disk);
            assert_allowed(&found, attempts, cut, &context);
            found_newer += usize::from(found != *allowed(attempts, cut)[0]);
            assert_eq!(content(&disk), found, "{context}: opened twice");
            if number % SECOND_CUT == 0 {
                let repair = std::mem::take(&mut disk.state().done);
                let second = random.below(repair.len() + 1);
                let found = content(&MemoryDisk::with(image(torn, &repair, second, random)));
                assert_allowed(&found, attempts, cut, &format!("{context}, then {second} of the repair"));
            }
        }
        println!("seed {seed}: {CUTS} cuts of {} operations", done.len());
    }
    assert!(found_newer > 0, "no cut ever kept an unacknowledged commit: the cuts are too tame");
}
