//! A transaction of the embedded backend: a snapshot, buffered writes, and what was read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::contain::contained;
use super::merge;
use super::ranges::{KeyRange, RangeSet};
use super::request::{Reads, Request};
use super::watches;
use super::writes::{self, Known, Writes};
use super::{QUEUE_UNIT_BYTES, Shared, Snapshot};
use crate::contract::{
    BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Version, Versionstamp, Watch,
};
use crate::error::StoreError;
use crate::limits::MAX_TRANSACTION_AGE;

/// How long a queued commit is waited for before its result is called unknown: a disk this slow is broken.
const COMMIT_WAIT: Duration = Duration::from_secs(30);

pub(super) struct EmbeddedTransaction {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The snapshot, and when it was taken.
    snapshot: Option<(Arc<Snapshot>, Duration)>,
    reads: RangeSet,
    writes: Writes,
    watches: Vec<watches::Pending>,
    /// Bytes of the buffered writes, roughly.
    bytes: usize,
    used: bool,
}

/// What is left to do when a transaction ends.
struct Ending {
    /// Absent if it only read.
    commit: Option<Commit>,
    watches: Vec<watches::Pending>,
}

/// What a transaction has to commit.
struct Commit {
    reads: Option<Reads>,
    writes: Writes,
    bytes: usize,
}

impl EmbeddedTransaction {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, state: Mutex::new(State::default()) }
    }

    /// The state, unless the transaction was already committed.
    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.used {
            return Err(StoreError::Used);
        }
        Ok(state)
    }

    /// The snapshot, taken now if this is the first read.
    fn snapshot(&self, state: &mut State) -> Result<Arc<Snapshot>, StoreError> {
        self.shared.check_open()?;
        let now = self.shared.clock.elapsed();
        if let Some((snapshot, since)) = &state.snapshot {
            if now.saturating_sub(*since) > MAX_TRANSACTION_AGE {
                return Err(StoreError::TooOld);
            }
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = self.shared.snapshot()?;
        state.snapshot = Some((Arc::clone(&snapshot), now));
        Ok(snapshot)
    }

    /// Ends the transaction and takes out what there is to do.
    fn finish(&self) -> Result<Ending, StoreError> {
        let mut state = self.state()?;
        state.used = true;
        let watches = std::mem::take(&mut state.watches);
        if state.snapshot.is_some() {
            // Not too old, whatever of it was read.
            self.snapshot(&mut state)?;
        }
        if state.writes.is_empty() {
            return Ok(Ending { commit: None, watches });
        }
        let reads = if state.reads.is_empty() {
            None
        } else {
            let version = self.snapshot(&mut state)?.version;
            let since = state.snapshot.take().map_or(Duration::ZERO, |(_, at)| at);
            Some(Reads { version, since, ranges: std::mem::take(&mut state.reads).into_vec() })
        };
        state.snapshot = None;
        let checked = reads.iter().flat_map(|reads| &reads.ranges);
        let bytes = state.bytes + checked.map(|range| range.begin.len() + range.end.len()).sum::<usize>();
        let commit = Commit { reads, writes: std::mem::take(&mut state.writes), bytes };
        Ok(Ending { commit: Some(commit), watches })
    }

    /// Queues a commit and waits for what becomes of it.
    async fn submit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let Commit { reads, writes, bytes } = commit;
        let queue = self.shared.queue()?;
        let (reply, answer) = oneshot::channel();
        let enqueue = async {
            let units = u32::try_from(1 + bytes / QUEUE_UNIT_BYTES).unwrap_or(u32::MAX);
            let _units = Arc::clone(&self.shared.queue_units)
                .acquire_many_owned(units)
                .await
                .map_err(|_| StoreError::Closed)?;
            let request = Request { reads, writes, reply, _units };
            queue.send(request).await.map_err(|_| StoreError::Closed)
        };
        tokio::time::timeout(MAX_TRANSACTION_AGE, enqueue).await.map_err(|_| StoreError::Overloaded)??;
        drop(queue);
        let version = match tokio::time::timeout(COMMIT_WAIT, answer).await {
            Ok(Ok(result)) => result?,
            // The committer ended or hangs with our request in its hands.
            Ok(Err(_)) | Err(_) => return Err(StoreError::Unknown),
        };
        Ok(Committed { version, versionstamp: Versionstamp::new(version, 0) })
    }
}

#[async_trait]
impl BackendTransaction for EmbeddedTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        let mut state = self.state()?;
        Ok(self.snapshot(&mut state)?.version)
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        let mut state = self.state()?;
        let snapshot = self.snapshot(&mut state)?;
        let steps = match state.writes.lookup(key) {
            Some(Known::Value(value)) => return Ok(Some(value.clone())),
            Some(Known::Absent) => return Ok(None),
            Some(Known::Unreadable) => return Err(StoreError::Unreadable),
            Some(Known::Steps(steps)) => Some(steps.to_vec()),
            None => None,
        };
        if mode == ReadMode::Serializable {
            state.reads.insert(KeyRange::point(key));
        }
        drop(state);
        let stored = snapshot.get(key)?;
        Ok(match steps {
            Some(steps) => writes::outcome(&steps, stored.as_deref(), None),
            None => stored,
        })
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        let mut state = self.state()?;
        let snapshot = self.snapshot(&mut state)?;
        let page = contained(|| merge::page(&snapshot, &state.writes, &read))
            .map_err(|damage| snapshot.failed(merge::READING, damage))??;
        if read.mode == ReadMode::Serializable {
            for part in state.writes.unknown_parts(merge::covered(read, &page)) {
                state.reads.insert(part);
            }
        }
        Ok(page)
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        let mut state = self.state()?;
        state.bytes += match &mutation {
            Mutation::Set { key, value } => key.len() + value.len(),
            Mutation::Clear { key } => key.len(),
            Mutation::ClearRange { begin, end } => begin.len() + end.len(),
            Mutation::Atomic { key, operand, .. } => key.len() + operand.len(),
            Mutation::SetVersionstampedKey { key, value, .. } => key.len() + value.len(),
            Mutation::SetVersionstampedValue { key, value, .. } => key.len() + value.len(),
        };
        let read_version = state.snapshot.as_ref().map(|(snapshot, _)| snapshot.version);
        state.writes.apply(mutation, read_version);
        Ok(())
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state()?;
        for part in state.writes.unknown_parts(KeyRange::new(begin, end)) {
            state.reads.insert(part);
        }
        Ok(())
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        let seen = self.get(key, ReadMode::Serializable).await?;
        let (watch, pending) = watches::pair(&self.shared.watches, key, seen)?;
        self.state()?.watches.push(pending);
        Ok(watch)
    }

    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        let Ending { commit, watches } = self.finish()?;
        let committed = match commit {
            Some(commit) => Some(self.submit(commit).await?),
            None => None,
        };
        self.shared.watches.arm(watches, || self.shared.snapshot());
        Ok(committed)
    }
}
