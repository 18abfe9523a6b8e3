//! What transactions did, as the store told it to them: the material of the serializability check.

use std::sync::atomic::{AtomicU64, Ordering};

use coditect_store::contract::{Committed, RangeRead, ReadMode, Row, Version, Versionstamp};
use coditect_store::{Store, StoreError, Transaction};

use super::values::Write;

/// A key of a history: its place among them.
pub(crate) type Key = u8;

/// One thing a transaction did.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Read { key: Key, value: Option<Vec<u8>>, mode: ReadMode },
    Write { key: Key, write: Write },
}

/// One transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// In the order they happened.
    pub(crate) events: Vec<Event>,
    /// As the store says; absent if it read nothing.
    pub(crate) read_version: Option<Version>,
    /// `None` if it was refused. A committed one that wrote nothing has no stamp.
    pub(crate) committed: Option<Option<Versionstamp>>,
    /// Moments in real time, of which only the order counts.
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

/// Gives out moments.
#[derive(Debug, Default)]
pub(crate) struct Moments(AtomicU64);

impl Moments {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A stretch of keys to read: from `low` up to, but without, `high`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) low: Key,
    pub(crate) high: Key,
    pub(crate) limit: usize,
    pub(crate) reverse: bool,
    pub(crate) mode: ReadMode,
}

/// A transaction whose doings are written down.
pub(crate) struct Recorded {
    transaction: Transaction,
    prefix: Vec<u8>,
    record: Record,
}

impl Recorded {
    /// Begins a transaction on the keys below `prefix`.
    pub(crate) fn begin(store: &Store, prefix: &[u8], moments: &Moments) -> Self {
        let record = Record { began: moments.next(), ..Record::default() };
        Self { transaction: store.begin(), prefix: prefix.to_vec(), record }
    }

    fn key(&self, key: Key) -> Vec<u8> {
        key_below(&self.prefix, key)
    }

    pub(crate) async fn get(&mut self, key: Key, mode: ReadMode) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.key(key);
        let value = match mode {
            ReadMode::Serializable => self.transaction.get(bytes).await?,
            ReadMode::Snapshot => self.transaction.get_snapshot(bytes).await?,
        };
        let value = value.map(|value| value.to_vec());
        self.record.events.push(Event::Read { key, value: value.clone(), mode });
        Ok(value)
    }

    /// Reads one page. Every key it tells about counts as read, whether it is there or not.
    pub(crate) async fn range(&mut self, read: Stretch) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        let Stretch { low, high, limit, reverse, mode } = read;
        let (begin, end) = (self.key(low), self.key(high));
        let page = self.transaction.range(RangeRead { begin, end, limit, reverse, mode }).await?;
        let rows: Vec<_> = page.rows.iter().map(row).collect();
        let told = match rows.last() {
            Some((last, _)) if page.more && reverse => *last..high,
            Some((last, _)) if page.more => low..last + 1,
            _ => low..high,
        };
        for key in told {
            let value = rows.iter().find(|(found, _)| *found == key).map(|(_, value)| value.clone());
            self.record.events.push(Event::Read { key, value, mode });
        }
        Ok(rows)
    }

    pub(crate) fn write(&mut self, key: Key, write: Write) -> Result<(), StoreError> {
        let bytes = self.key(key);
        match &write {
            Write::Set(value) => self.transaction.set(bytes, value.clone())?,
            Write::Clear => self.transaction.clear(bytes)?,
            Write::Atomic(op, operand) => self.transaction.atomic(*op, bytes, operand.clone())?,
        }
        self.record.events.push(Event::Write { key, write });
        Ok(())
    }

    pub(crate) fn clear_range(&mut self, low: Key, high: Key) -> Result<(), StoreError> {
        self.transaction.clear_range(self.key(low), self.key(high))?;
        let clears = (low..high).map(|key| Event::Write { key, write: Write::Clear });
        self.record.events.extend(clears);
        Ok(())
    }

    pub(crate) fn add_read_conflict(&self, low: Key, high: Key) -> Result<(), StoreError> {
        self.transaction.add_read_conflict(&self.key(low), &self.key(high))
    }

    /// Commits, and hands out what was written down.
    pub(crate) async fn commit(
        mut self,
        moments: &Moments,
    ) -> Result<(Record, Option<Committed>), StoreError> {
        if self.record.events.iter().any(|event| matches!(event, Event::Read { .. })) {
            self.record.read_version = Some(self.transaction.read_version().await?);
        }
        let result = self.transaction.commit().await;
        self.record.ended = moments.next();
        let committed = match result {
            Ok(committed) => {
                self.record.committed = Some(committed.map(|committed| committed.versionstamp));
                committed
            }
            Err(StoreError::Conflict) => None,
            Err(error) => return Err(error),
        };
        Ok((self.record, committed))
    }
}

/// The bytes of a key.
pub(crate) fn key_below(prefix: &[u8], key: Key) -> Vec<u8> {
    [prefix, &[b'k', key]].concat()
}

/// A row without its prefix.
pub(crate) fn row(row: &Row) -> (Key, Vec<u8>) {
    (*row.key.last().unwrap(), row.value.to_vec())
}
