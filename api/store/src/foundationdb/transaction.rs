//! A transaction of FoundationDB: the client library buffers its writes, merges them into its reads and keeps
//! what it read for the check at commit.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use foundationdb::options::{ConflictRangeType, MutationType, StreamingMode, TransactionOption};
use foundationdb::{FdbError, FdbResult, RangeOption, Transaction};

use super::database::Shared;
use super::errors::{Doing, Fault};
use super::watches::{self, Slot};
use crate::contract::{
    AtomicOp, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Row,
    VERSIONSTAMP_BYTES, Version, Versionstamp, Watch,
};
use crate::error::StoreError;

/// A page ends about where its keys and values make up this many bytes.
const PAGE_BYTES: usize = 1 << 20;

pub(super) struct FoundationDbTransaction {
    shared: Arc<Shared>,
    phase: Mutex<Phase>,
    /// Whether the cluster has answered a read: then there is a snapshot, which ages.
    answered: AtomicBool,
    /// Whether the commit succeeded, for the watches.
    committed: Arc<AtomicBool>,
}

enum Phase {
    /// Not used yet, and so nothing of the client library.
    New,
    Open(Open),
    Used,
}

struct Open {
    transaction: Transaction,
    since: Instant,
    /// When the time limit began to run: with the first read, or else with the commit.
    limited: Option<Instant>,
    wrote: bool,
}

impl Open {
    /// Starts the client library's time limit, unless it runs.
    fn limit(&mut self, timeout: Duration) -> Result<(), StoreError> {
        if self.limited.is_none() {
            // The library counts from the transaction's beginning. 0 would mean no limit.
            let limit = (self.since.elapsed() + timeout).as_millis().max(1);
            let limit = TransactionOption::Timeout(i32::try_from(limit).unwrap_or(i32::MAX));
            self.transaction.set_option(limit).map_err(|error| Fault::from(error).during(Doing::Begin))?;
            self.limited = Some(Instant::now());
        }
        Ok(())
    }
}

impl FoundationDbTransaction {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            phase: Mutex::new(Phase::New),
            answered: AtomicBool::new(false),
            committed: Arc::new(AtomicBool::new(false)),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the client library's transaction, which is begun now if this is its first use.
    ///
    /// The library's futures do not borrow the transaction, so they are made in here and waited for outside:
    /// that is how reads run concurrently and how a commit can take the transaction while they do.
    fn with<T>(&self, act: impl FnOnce(&mut Open) -> T) -> Result<T, StoreError> {
        let mut phase = self.phase();
        if matches!(*phase, Phase::New) {
            let transaction = self.shared.begin()?;
            let since = Instant::now();
            *phase = Phase::Open(Open { transaction, since, limited: None, wrote: false });
        }
        match &mut *phase {
            Phase::Open(open) => {
                self.shared.check_open()?;
                self.check_age(open)?;
                Ok(act(open))
            }
            Phase::New | Phase::Used => Err(StoreError::Used),
        }
    }

    /// Refuses a transaction past its time limit, which the client library has ended by then. Known before
    /// asking, so that a transaction that idled too long is not mistaken for a cluster that is silent.
    fn check_age(&self, open: &Open) -> Result<(), StoreError> {
        if open.limited.is_none_or(|at| at.elapsed() < self.shared.timeout) {
            return Ok(());
        }
        Err(if self.answered.load(Ordering::Acquire) { StoreError::TooOld } else { StoreError::TimedOut })
    }

    /// Begins a read and waits for what it returns.
    ///
    /// The first one takes the snapshot, whatever it reads: the client library would not yet do so for what the
    /// transaction has written itself. Elsewhere it costs nothing, as the library asks for a version only once.
    async fn read<T, F: Future<Output = FdbResult<T>>>(
        &self,
        doing: Doing,
        begin: impl FnOnce(&Transaction) -> F,
    ) -> Result<T, StoreError> {
        let (version, future) = self.with(|open| {
            let first = open.limited.is_none();
            open.limit(self.shared.timeout)?;
            let version = first.then(|| open.transaction.get_read_version());
            Ok::<_, StoreError>((version, begin(&open.transaction)))
        })??;
        if let Some(version) = version {
            within(self.shared.patience(), doing, version).await?;
        }
        let answer = within(self.shared.patience(), doing, future).await?;
        self.answered.store(true, Ordering::Release);
        Ok(answer)
    }
}

/// Waits for the client library, but not for ever: it should keep the time limit itself, and cannot if its
/// network thread has ended.
pub(super) async fn within<T, E: Into<FdbError>>(
    limit: Duration,
    doing: Doing,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, future).await {
        Ok(answer) => answer.map_err(|error| Fault::from(error.into()).during(doing)),
        Err(_) => Err(doing.unanswered()),
    }
}

#[async_trait]
impl BackendTransaction for FoundationDbTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        version(self.read(Doing::ReadVersion, Transaction::get_read_version).await?)
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        let snapshot = mode == ReadMode::Snapshot;
        let value = self.read(Doing::ReadKey, |transaction| transaction.get(key, snapshot)).await?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        let RangeRead { mut begin, mut end, limit, reverse, mode } = read.clone();
        if begin >= end {
            // Nothing to read, but it is a read.
            self.read_version().await?;
        }
        // Up to 7.1 at least, the client library counts all of a range as read backwards, even where it stopped
        // at a limit. So it shall count nothing, and is told afterwards.
        let snapshot = mode == ReadMode::Snapshot || reverse;
        let mut page = RangePage { rows: Vec::new(), more: false };
        let mut bytes = 0;
        // A page takes one round but for answers that the client library ends early.
        while begin < end {
            let option = RangeOption {
                limit: Some(limit.saturating_sub(page.rows.len()).max(1)),
                target_bytes: PAGE_BYTES - bytes,
                // Both limits as given, and the client library fetches until one is met.
                mode: StreamingMode::Exact,
                reverse,
                ..RangeOption::from((begin.as_slice(), end.as_slice()))
            };
            let values = self
                .read(Doing::ReadRange, |transaction| transaction.get_range(&option, 1, snapshot))
                .await?;
            for value in values.iter() {
                bytes += value.key().len() + value.value().len();
                page.rows
                    .push(Row { key: value.key().to_vec(), value: Bytes::copy_from_slice(value.value()) });
            }
            if page.rows.len() >= limit || bytes >= PAGE_BYTES {
                page.more = true;
                break;
            }
            if !values.more() {
                break;
            }
            let last = values.last().ok_or_else(|| {
                let empty =
                    std::io::Error::other("the client library returned no rows, and that there are more");
                StoreError::backend("read a range", empty)
            })?;
            if reverse {
                end = last.key().to_vec();
            } else {
                begin = [last.key(), &[0]].concat();
            }
        }
        if reverse && mode == ReadMode::Serializable {
            let last = page.rows.last().filter(|_| page.more);
            self.add_read_conflict(last.map_or(&read.begin, |row| &row.key), &read.end)?;
        }
        Ok(page)
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        self.with(|open| {
            open.wrote = true;
            write(&open.transaction, mutation);
        })
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.with(|open| open.transaction.add_conflict_range(begin, end, ConflictRangeType::Read))?
            .map_err(|error| Fault::from(error).during(Doing::AddReadConflict))
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        // The client library reads the key by itself, but would tell only the watch what is wrong with it.
        self.get(key, ReadMode::Serializable).await?;
        let slot = Slot::take(&self.shared.watches)?;
        let changed = self.with(|open| open.transaction.watch(key))?;
        Ok(watches::watch(changed, slot, Arc::clone(&self.committed), self.shared.closed.subscribe()))
    }

    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        let mut open = match std::mem::replace(&mut *self.phase(), Phase::Used) {
            Phase::Used => return Err(StoreError::Used),
            Phase::New => return Ok(None),
            Phase::Open(open) => open,
        };
        // Held until the end: closing the store waits for it.
        let _commits = self.shared.commits.try_read().map_err(|_| StoreError::Closed)?;
        self.shared.check_open()?;
        self.check_age(&open)?;
        open.limit(self.shared.timeout)?;
        let Open { transaction, wrote, .. } = open;
        let doing = if wrote { Doing::Commit } else { Doing::CommitReads };
        // It must be asked for before the commit, and is answered after.
        let stamp = wrote.then(|| transaction.get_versionstamp());
        let committed = within(self.shared.patience(), doing, transaction.commit()).await?;
        self.committed.store(true, Ordering::Release);
        let at = committed.committed_version().map_err(|error| Fault::from(error).during(doing))?;
        let Some(stamp) = stamp.filter(|_| at >= 0) else {
            // Nothing was written in the end, such as where an empty range was cleared.
            return Ok(None);
        };
        let stamp = within(self.shared.patience(), doing, stamp).await?;
        // Whatever is wrong with the answer, the commit did happen.
        let versionstamp = <[u8; VERSIONSTAMP_BYTES]>::try_from(&*stamp).map_err(|_| StoreError::Unknown)?;
        Ok(Some(Committed { version: version(at)?, versionstamp: Versionstamp(versionstamp) }))
    }
}

/// Puts a write into the client library's buffer, which never fails: what it minds it says at the commit.
fn write(transaction: &Transaction, mutation: Mutation) {
    match mutation {
        Mutation::Set { key, value } => transaction.set(&key, &value),
        Mutation::Clear { key } => transaction.clear(&key),
        Mutation::ClearRange { begin, end } => transaction.clear_range(&begin, &end),
        Mutation::Atomic { key, op, operand } => {
            let op = match op {
                AtomicOp::Add => MutationType::Add,
                AtomicOp::Min => MutationType::Min,
                AtomicOp::Max => MutationType::Max,
                AtomicOp::CompareAndClear => MutationType::CompareAndClear,
            };
            transaction.atomic_op(&key, &operand, op);
        }
        Mutation::SetVersionstampedKey { key, offset, value } => {
            transaction.atomic_op(&stamped(key, offset), &value, MutationType::SetVersionstampedKey);
        }
        Mutation::SetVersionstampedValue { key, value, offset } => {
            transaction.atomic_op(&key, &stamped(value, offset), MutationType::SetVersionstampedValue);
        }
    }
}

/// A versionstamped key or value as FoundationDB takes it: the stamp's offset follows in 4 bytes, little-endian.
fn stamped(mut bytes: Vec<u8>, offset: usize) -> Vec<u8> {
    // The limits keep offsets below 100 kB.
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes
}

/// FoundationDB's versions are signed and never negative.
fn version(version: i64) -> Result<Version, StoreError> {
    u64::try_from(version).map(Version).map_err(|error| StoreError::backend("read a version", error))
}
