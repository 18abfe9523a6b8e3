//! A backend that fails, over any other: as told, or as a seed says.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::{
    Backend, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Version, Watch,
};
use coditect_store::{Embedded, EmbeddedOptions, StoreError, SystemMonotonicClock};
use tokio::sync::Notify;

/// What becomes of a commit that has writes.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// What the backend makes of it.
    Fine,
    /// It is carried out or refused, and its caller is not told which.
    AnswerLost,
    /// It is never carried out, and its caller is not told so.
    RequestLost,
    /// It is refused for this reason.
    Refused(StoreError),
    /// Its caller is told that the result is unknown while it is still on its way: it is carried out after the
    /// next commit that is. Both backends may do that where a commit is waited for no longer.
    Late,
}

impl Fate {
    /// The fates of the next commits: the digits of a plan to the base of [`Fate::KINDS`], lowest first.
    pub(crate) fn plan(mut plan: u32) -> Vec<Self> {
        let mut fates = Vec::new();
        while plan > 0 {
            fates.push(match plan % Self::KINDS {
                0 => Self::Fine,
                1 => Self::AnswerLost,
                2 => Self::RequestLost,
                3 => Self::Refused(StoreError::Conflict),
                _ => Self::Late,
            });
            plan /= Self::KINDS;
        }
        fates
    }

    pub(crate) const KINDS: u32 = 5;
}

/// How often what happens, in 256 times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) answer_lost: u8,
    pub(crate) request_lost: u8,
    pub(crate) refused: u8,
    pub(crate) late: u8,
    /// Transactions of which one of the first reads fails, and with it all they do later.
    pub(crate) failed_read: u8,
    /// Reads and commits that let others go first.
    pub(crate) delayed: u8,
}

/// More trouble than any backend will ever make: with every fourth commit, and the reads of every tenth transaction.
pub(crate) const ROUGH: Rates =
    Rates { answer_lost: 16, request_lost: 16, refused: 24, late: 8, failed_read: 24, delayed: 64 };
/// A read that fails is one of the first of its transaction.
const FIRST_READS: u8 = 6;

/// What goes wrong. It can be changed at any time.
#[derive(Default)]
pub(crate) struct Faults {
    source: Mutex<Source>,
    /// Commits on their way.
    late: Mutex<Vec<Arc<dyn BackendTransaction>>>,
    /// Commits on their way stay there until [`Faults::stop`].
    pub(crate) withheld: AtomicBool,
    /// Watches never end by themselves.
    pub(crate) deaf: AtomicBool,
    /// Every read fails.
    pub(crate) down: AtomicBool,
    /// The next commit waits to be released.
    pub(crate) hold: AtomicBool,
    /// A commit is being held.
    pub(crate) held: Notify,
    /// Lets it go.
    pub(crate) release: Notify,
    injected: AtomicUsize,
}

#[derive(Default)]
enum Source {
    #[default]
    Nothing,
    Plan(VecDeque<Fate>),
    Seed(Box<SeededEntropy>, Rates),
}

impl Faults {
    /// Decides what becomes of the next commits; those after them are fine.
    pub(crate) fn plan(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.source.lock().unwrap() = Source::Plan(fates.into_iter().collect());
    }

    /// Lets a seed decide.
    pub(crate) fn seed(&self, seed: u64, rates: Rates) {
        *self.source.lock().unwrap() = Source::Seed(Box::new(SeededEntropy::new(seed)), rates);
    }

    /// Ends all trouble: nothing more goes wrong, and what was on its way arrives.
    pub(crate) async fn stop(&self) {
        *self.source.lock().unwrap() = Source::Nothing;
        self.withheld.store(false, Ordering::SeqCst);
        self.deliver().await;
    }

    /// How much has gone wrong.
    pub(crate) fn injected(&self) -> usize {
        self.injected.load(Ordering::SeqCst)
    }

    /// Carries out the commits that were on their way.
    async fn deliver(&self) {
        if self.withheld.load(Ordering::SeqCst) {
            return;
        }
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        for transaction in late {
            // Nobody waits for the answer any more.
            drop(transaction.commit().await);
        }
    }

    fn fate(&self) -> Fate {
        let fate = match &mut *self.source.lock().unwrap() {
            Source::Nothing => Fate::Fine,
            Source::Plan(fates) => fates.pop_front().unwrap_or(Fate::Fine),
            Source::Seed(entropy, rates) => {
                let Rates { answer_lost, request_lost, refused, late, .. } = *rates;
                let fates = [
                    (answer_lost, Fate::AnswerLost),
                    (request_lost, Fate::RequestLost),
                    (refused, Fate::Refused(reason(entropy))),
                    (late, Fate::Late),
                ];
                let mut drawn = byte(entropy);
                let drawn = fates.into_iter().find(|(rate, _)| match drawn.checked_sub(*rate) {
                    Some(left) => {
                        drawn = left;
                        false
                    }
                    None => true,
                });
                drawn.map_or(Fate::Fine, |(_, fate)| fate)
            }
        };
        self.injected.fetch_add(usize::from(!matches!(fate, Fate::Fine)), Ordering::SeqCst);
        fate
    }

    /// Which read of a new transaction fails, if one does.
    fn failing_read(&self) -> Option<u8> {
        match &mut *self.source.lock().unwrap() {
            Source::Seed(entropy, rates) if byte(entropy) < rates.failed_read => {
                Some(byte(entropy) % FIRST_READS)
            }
            _ => None,
        }
    }

    /// Why a read fails.
    fn failed_read(&self) -> StoreError {
        self.injected.fetch_add(1, Ordering::SeqCst);
        let Source::Seed(entropy, _) = &*self.source.lock().unwrap() else { return StoreError::TimedOut };
        match byte(entropy) % 3 {
            0 => StoreError::TooOld,
            1 => StoreError::TimedOut,
            _ => StoreError::Unavailable { source: Arc::new(std::io::Error::other("recovering")) },
        }
    }

    /// Lets others go first, at times.
    async fn delay(&self) {
        let turns = match &mut *self.source.lock().unwrap() {
            Source::Seed(entropy, rates) if byte(entropy) < rates.delayed => 1 + byte(entropy) % 5,
            _ => 0,
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

fn byte(entropy: &SeededEntropy) -> u8 {
    let mut byte = [0];
    entropy.fill(&mut byte);
    byte[0]
}

/// Why a commit is refused without having happened.
fn reason(entropy: &SeededEntropy) -> StoreError {
    match byte(entropy) % 4 {
        0 => StoreError::TooOld,
        1 => StoreError::Overloaded,
        _ => StoreError::Conflict,
    }
}

/// The backend.
pub(crate) struct Faulty {
    inner: Arc<dyn Backend>,
    faults: Arc<Faults>,
}

impl Faulty {
    pub(crate) fn over(inner: Arc<dyn Backend>) -> (Self, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        (Self { inner, faults: Arc::clone(&faults) }, faults)
    }

    /// Over a new embedded store.
    pub(crate) fn open(path: PathBuf) -> (Self, Arc<Faults>) {
        let clock = Arc::new(SystemMonotonicClock::new());
        Self::over(Arc::new(Embedded::open(&EmbeddedOptions::new(path), clock).unwrap()))
    }
}

#[async_trait]
impl Backend for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        Box::new(FaultyTransaction {
            inner: Arc::from(self.inner.begin()),
            faults: Arc::clone(&self.faults),
            wrote: AtomicBool::new(false),
            failing_read: Mutex::new(self.faults.failing_read()),
            over: Mutex::new(None),
        })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

struct FaultyTransaction {
    inner: Arc<dyn BackendTransaction>,
    faults: Arc<Faults>,
    wrote: AtomicBool,
    /// How many reads it has left, if one of them fails.
    failing_read: Mutex<Option<u8>>,
    /// Why it can do nothing more.
    over: Mutex<Option<StoreError>>,
}

impl FaultyTransaction {
    fn check(&self) -> Result<(), StoreError> {
        self.over.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    /// Before a read: a transaction that failed once stays failed.
    async fn before_read(&self) -> Result<(), StoreError> {
        self.check()?;
        if self.faults.down.load(Ordering::SeqCst) {
            let source = Arc::new(std::io::Error::other("down"));
            return Err(StoreError::Backend { doing: "read", source });
        }
        self.faults.delay().await;
        match &mut *self.failing_read.lock().unwrap() {
            Some(0) => {}
            Some(left) => {
                *left -= 1;
                return Ok(());
            }
            None => return Ok(()),
        }
        let error = self.faults.failed_read();
        *self.over.lock().unwrap() = Some(error.clone());
        Err(error)
    }
}

#[async_trait]
impl BackendTransaction for FaultyTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        self.before_read().await?;
        self.inner.read_version().await
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        self.before_read().await?;
        self.inner.get(key, mode).await
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        self.before_read().await?;
        self.inner.range(read).await
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        self.check()?;
        self.wrote.store(true, Ordering::SeqCst);
        self.inner.mutate(mutation)
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.check()?;
        self.inner.add_read_conflict(begin, end)
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        self.before_read().await?;
        match self.faults.deaf.load(Ordering::SeqCst) {
            true => Ok(Watch::new(std::future::pending())),
            false => self.inner.watch(key).await,
        }
    }

    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        self.check()?;
        *self.over.lock().unwrap() = Some(StoreError::Used);
        if self.faults.hold.swap(false, Ordering::SeqCst) {
            self.faults.held.notify_one();
            self.faults.release.notified().await;
        }
        self.faults.delay().await;
        let fate = if self.wrote.load(Ordering::SeqCst) { self.faults.fate() } else { Fate::Fine };
        match fate {
            Fate::Refused(reason) => Err(reason),
            Fate::RequestLost => Err(StoreError::Unknown),
            Fate::Late => {
                // What is on its way has its read version.
                self.inner.read_version().await?;
                self.faults.late.lock().unwrap().push(Arc::clone(&self.inner));
                Err(StoreError::Unknown)
            }
            Fate::AnswerLost => {
                drop(self.inner.commit().await);
                self.faults.deliver().await;
                Err(StoreError::Unknown)
            }
            Fate::Fine => {
                let result = self.inner.commit().await;
                self.faults.deliver().await;
                result
            }
        }
    }
}
