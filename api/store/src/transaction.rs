//! The transaction handle callers use: the backend's transaction plus the limits of [`crate::limits`].

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::contract::{
    AtomicOp, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Version, Watch,
};
use crate::error::StoreError;
use crate::{limits, measure};

/// A transaction in progress. Clones are handles to the same transaction.
///
/// A call that breaks a limit returns the error and spoils the transaction: its commit fails with the same
/// error, so that half a transaction can never be committed by ignoring a result.
#[derive(Clone)]
pub struct Transaction {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Box<dyn BackendTransaction>,
    meter: Mutex<Meter>,
}

#[derive(Default)]
struct Meter {
    bytes: usize,
    writes: bool,
    /// How many of its keys carry a versionstamp and a number.
    numbered: u16,
    /// What the first read that failed did so with.
    failed_read: Option<StoreError>,
    spoiled: Option<StoreError>,
}

impl Transaction {
    pub(crate) fn new(backend: Box<dyn BackendTransaction>) -> Self {
        Self { inner: Arc::new(Inner { backend, meter: Mutex::new(Meter::default()) }) }
    }

    /// The version this transaction reads at.
    pub async fn read_version(&self) -> Result<Version, StoreError> {
        self.inner.backend.read_version().await
    }

    /// The value of a key; checked at commit.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, StoreError> {
        let key = key.as_ref();
        self.account(measure::check_key(key).map(|()| measure::point_bytes(key)))?;
        self.noted(self.inner.backend.get(key, ReadMode::Serializable).await)
    }

    /// The value of a key; not checked at commit.
    pub async fn get_snapshot(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, StoreError> {
        let key = key.as_ref();
        self.account(measure::check_key(key).map(|()| 0))?;
        self.noted(self.inner.backend.get(key, ReadMode::Snapshot).await)
    }

    /// One page of a range.
    pub async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        let checked = read.mode == ReadMode::Serializable;
        let bytes = if checked { measure::range_bytes(&read.begin, &read.end) } else { 0 };
        self.account(measure::check_range(&read.begin, &read.end).map(|()| bytes))?;
        let page = self.noted(self.inner.backend.range(read).await)?;
        if checked
            && page.more
            && let Some(last) = page.rows.last()
        {
            // The part that was read ends at this key, which may be longer than the bound asked for.
            self.account(Ok(last.key.len() + 1))?;
        }
        Ok(page)
    }

    /// Buffers any write.
    pub fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        self.account(measure::check_mutation(&mutation))?;
        self.meter().writes = true;
        self.inner.backend.mutate(mutation)
    }

    /// Sets a key to a value.
    pub fn set(&self, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Result<(), StoreError> {
        self.mutate(Mutation::Set { key: key.into(), value: value.into() })
    }

    /// Removes a key if it is there.
    pub fn clear(&self, key: impl Into<Vec<u8>>) -> Result<(), StoreError> {
        self.mutate(Mutation::Clear { key: key.into() })
    }

    /// Removes every key from `begin` up to, but without, `end`.
    pub fn clear_range(&self, begin: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Result<(), StoreError> {
        self.mutate(Mutation::ClearRange { begin: begin.into(), end: end.into() })
    }

    /// Changes a value without reading it; see [`AtomicOp`].
    pub fn atomic(
        &self,
        op: AtomicOp,
        key: impl Into<Vec<u8>>,
        operand: impl Into<Bytes>,
    ) -> Result<(), StoreError> {
        self.mutate(Mutation::Atomic { key: key.into(), op, operand: operand.into() })
    }

    /// Adds to a counter of 8 bytes, little-endian.
    pub fn add(&self, key: impl Into<Vec<u8>>, count: i64) -> Result<(), StoreError> {
        self.atomic(AtomicOp::Add, key, Bytes::copy_from_slice(&count.to_le_bytes()))
    }

    /// Watches a key from the value it has now; counts as a read of it. See [`Watch`].
    pub async fn watch(&self, key: impl AsRef<[u8]>) -> Result<Watch, StoreError> {
        let key = key.as_ref();
        self.account(measure::check_key(key).map(|()| measure::point_bytes(key)))?;
        self.noted(self.inner.backend.watch(key).await)
    }

    /// Adds a range to what is checked at commit, as if it had been read: without what this transaction has set
    /// or cleared itself before.
    pub fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.account(measure::check_range(begin, end).map(|()| measure::range_bytes(begin, end)))?;
        self.inner.backend.add_read_conflict(begin, end)
    }

    /// Commits; returns when the writes are durable. `None` if there was nothing to write.
    ///
    /// Not cancel safe: once polled, dropping the future leaves the result unknown.
    pub async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        {
            let meter = self.meter();
            if let Some(error) = &meter.spoiled {
                return Err(error.clone());
            }
            if let Some(error) = &meter.failed_read {
                return Err(error.clone());
            }
        }
        self.inner.backend.commit().await
    }

    /// The transaction's size so far in bytes, as [`crate::limits`] counts it: for work that commits in parts.
    pub fn size_bytes(&self) -> usize {
        self.meter().bytes
    }

    /// Numbers the keys of this transaction that carry its versionstamp, so that none replaces another.
    pub(crate) fn next_number(&self) -> Result<u16, StoreError> {
        let mut meter = self.meter();
        let number = meter.numbered;
        meter.numbered =
            number.checked_add(1).ok_or(StoreError::TransactionTooLarge { size: meter.bytes })?;
        Ok(number)
    }

    /// True if there is something to commit.
    pub(crate) fn has_writes(&self) -> bool {
        self.meter().writes
    }

    /// Passes on what a read returned. After one that was unreadable nothing commits: so it is on FoundationDB,
    /// whose commit waits for every read and fails as they do.
    fn noted<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &read {
            self.meter().failed_read.get_or_insert_with(|| error.clone());
        }
        read
    }

    fn meter(&self) -> std::sync::MutexGuard<'_, Meter> {
        self.inner.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the bytes a call costs, or spoils the transaction with its error.
    fn account(&self, cost: Result<usize, StoreError>) -> Result<(), StoreError> {
        let mut meter = self.meter();
        if let Some(error) = &meter.spoiled {
            return Err(error.clone());
        }
        let error = match cost {
            Ok(bytes) => {
                meter.bytes += bytes;
                if meter.bytes <= limits::MAX_TRANSACTION_BYTES {
                    return Ok(());
                }
                StoreError::TransactionTooLarge { size: meter.bytes }
            }
            Err(error) => error,
        };
        meter.spoiled = Some(error.clone());
        Err(error)
    }
}
