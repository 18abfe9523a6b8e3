//! Range reads: the snapshot's rows with the transaction's own writes laid over them.

use std::cmp::Ordering;
use std::collections::btree_map;
use std::ops::Bound;

use bytes::Bytes;

use super::Snapshot;
use super::ranges::{KeyRange, Writes, successor};
use crate::contract::{RangePage, RangeRead, Row};
use crate::error::StoreError;

/// A page ends with the row that makes it at least this large, in bytes.
const PAGE_BYTES: usize = 1 << 20;

/// Reads one page.
pub(super) fn page(snapshot: &Snapshot, writes: &Writes, read: &RangeRead) -> Result<RangePage, StoreError> {
    let mut page = RangePage { rows: Vec::new(), more: false };
    if read.begin >= read.end {
        return Ok(page);
    }
    let mut stored = Stored::open(snapshot, writes, read)?;
    let mut own = Own::open(writes, read);
    let (mut left, mut right) = (stored.next()?, own.next());
    let mut bytes = 0;
    loop {
        // Stored rows that have an own write are skipped already, so the two never carry the same key.
        let own_first = match (&left, &right) {
            (None, None) => return Ok(page),
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some(stored), Some(own)) => {
                let first = if read.reverse { Ordering::Greater } else { Ordering::Less };
                own.key.cmp(&stored.key) == first
            }
        };
        let row = if own_first {
            std::mem::replace(&mut right, own.next())
        } else {
            let next = stored.next()?;
            std::mem::replace(&mut left, next)
        };
        let Some(row) = row else { return Ok(page) };
        bytes += row.key.len() + row.value.len();
        page.rows.push(row);
        if page.rows.len() >= read.limit || bytes >= PAGE_BYTES {
            page.more = true;
            return Ok(page);
        }
    }
}

/// The part of the range that a page tells about.
pub(super) fn covered(read: RangeRead, page: &RangePage) -> KeyRange {
    let mut range = KeyRange { begin: read.begin, end: read.end };
    if page.more
        && let Some(last) = page.rows.last()
    {
        if read.reverse {
            range.begin.clone_from(&last.key);
        } else {
            range.end = successor(&last.key);
        }
    }
    range
}

/// The snapshot's rows that the transaction has neither set nor cleared.
struct Stored<'a> {
    snapshot: &'a Snapshot,
    writes: &'a Writes,
    begin: Vec<u8>,
    end: Vec<u8>,
    reverse: bool,
    rows: redb::Range<'static, &'static [u8], &'static [u8]>,
}

impl<'a> Stored<'a> {
    fn open(snapshot: &'a Snapshot, writes: &'a Writes, read: &RangeRead) -> Result<Self, StoreError> {
        Ok(Self {
            snapshot,
            writes,
            begin: read.begin.clone(),
            end: read.end.clone(),
            reverse: read.reverse,
            rows: seek(snapshot, &read.begin, &read.end)?,
        })
    }

    fn next(&mut self) -> Result<Option<Row>, StoreError> {
        loop {
            let entry = if self.reverse { self.rows.next_back() } else { self.rows.next() };
            let Some(entry) = entry else { return Ok(None) };
            let (key, value) = entry.map_err(read_error)?;
            let key = key.value();
            if let Some((begin, end)) = self.writes.cleared.containing(key) {
                // Jump over the cleared range, however many rows it hides.
                if self.reverse {
                    self.end = begin.to_vec();
                } else {
                    self.begin = end.to_vec();
                }
                if self.begin >= self.end {
                    return Ok(None);
                }
                self.rows = seek(self.snapshot, &self.begin, &self.end)?;
            } else if !self.writes.set.contains_key(key) {
                return Ok(Some(Row { key: key.to_vec(), value: Bytes::copy_from_slice(value.value()) }));
            }
        }
    }
}

fn seek(
    snapshot: &Snapshot,
    begin: &[u8],
    end: &[u8],
) -> Result<redb::Range<'static, &'static [u8], &'static [u8]>, StoreError> {
    snapshot.table.range::<&[u8]>(begin..end).map_err(read_error)
}

fn read_error(error: redb::StorageError) -> StoreError {
    StoreError::backend("read a range", error)
}

/// The transaction's own rows in the range.
struct Own<'a> {
    rows: btree_map::Range<'a, Vec<u8>, Bytes>,
    reverse: bool,
}

impl<'a> Own<'a> {
    fn open(writes: &'a Writes, read: &RangeRead) -> Self {
        let bounds = (Bound::Included(read.begin.as_slice()), Bound::Excluded(read.end.as_slice()));
        Self { rows: writes.set.range::<[u8], _>(bounds), reverse: read.reverse }
    }

    fn next(&mut self) -> Option<Row> {
        let (key, value) = if self.reverse { self.rows.next_back() } else { self.rows.next() }?;
        Some(Row { key: key.clone(), value: value.clone() })
    }
}
