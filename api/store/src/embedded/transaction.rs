//! A transaction of the embedded backend: a snapshot, buffered writes, and what was read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::committer::{Reads, Request};
use super::contain::contained;
use super::merge;
use super::ranges::{KeyRange, Known, RangeSet, Writes};
use super::{QUEUE_UNIT_BYTES, Shared, Snapshot};
use crate::contract::{BackendTransaction, Mutation, RangePage, RangeRead, ReadMode, Version};
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
    /// Bytes of the buffered writes, roughly.
    bytes: usize,
    used: bool,
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

    /// Ends the transaction and takes out what there is to commit; `None` if it only read.
    fn finish(&self) -> Result<Option<(Option<Reads>, Writes, usize)>, StoreError> {
        let mut state = self.state()?;
        state.used = true;
        if state.writes.is_empty() {
            return Ok(None);
        }
        let reads = if state.reads.is_empty() {
            None
        } else {
            let version = self.snapshot(&mut state)?.version;
            let since = state.snapshot.take().map_or(Duration::ZERO, |(_, at)| at);
            Some(Reads { version, since, ranges: std::mem::take(&mut state.reads).into_vec() })
        };
        state.snapshot = None;
        Ok(Some((reads, std::mem::take(&mut state.writes), state.bytes)))
    }
}

#[async_trait]
impl BackendTransaction for EmbeddedTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        let mut state = self.state()?;
        Ok(self.snapshot(&mut state)?.version)
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        let snapshot = {
            let mut state = self.state()?;
            let snapshot = self.snapshot(&mut state)?;
            match state.writes.lookup(key) {
                Some(Known::Value(value)) => return Ok(Some(value)),
                Some(Known::Absent) => return Ok(None),
                None => {}
            }
            if mode == ReadMode::Serializable {
                state.reads.insert(KeyRange::point(key));
            }
            snapshot
        };
        let found =
            contained(|| Ok(snapshot.table.get(key)?.map(|guard| Bytes::copy_from_slice(guard.value()))));
        found
            .map_err(|damage| StoreError::backend("read a key", damage))?
            .map_err(|error: redb::StorageError| StoreError::backend("read a key", error))
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        let mut state = self.state()?;
        let snapshot = self.snapshot(&mut state)?;
        let page = contained(|| merge::page(&snapshot, &state.writes, &read))
            .map_err(|damage| StoreError::backend("read a range", damage))??;
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
        };
        state.writes.apply(mutation);
        Ok(())
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.state()?.reads.insert(KeyRange::new(begin, end));
        Ok(())
    }

    async fn commit(&self) -> Result<Option<Version>, StoreError> {
        let Some((reads, writes, bytes)) = self.finish()? else {
            return Ok(None);
        };
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
        match tokio::time::timeout(COMMIT_WAIT, answer).await {
            Ok(Ok(result)) => result.map(Some),
            // The committer ended or hangs with our request in its hands.
            Ok(Err(_)) | Err(_) => Err(StoreError::Unknown),
        }
    }
}
