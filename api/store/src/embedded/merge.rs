//! Range reads: the snapshot's rows with the transaction's own writes laid over them.

use std::cmp::Ordering;
use std::collections::btree_map;
use std::ops::Bound;

use bytes::Bytes;

use super::Snapshot;
use super::ranges::{KeyRange, successor};
use super::writes::{self, Own, Writes};
use crate::contract::{RangePage, RangeRead, Row};
use crate::error::StoreError;

/// A page ends with the row that makes it at least this large, in bytes.
const PAGE_BYTES: usize = 1 << 20;
/// What errors say was being done.
pub(super) const READING: &str = "read a range";

/// Reads one page.
pub(super) fn page(snapshot: &Snapshot, writes: &Writes, read: &RangeRead) -> Result<RangePage, StoreError> {
    let mut page = RangePage { rows: Vec::new(), more: false };
    if read.begin >= read.end {
        return Ok(page);
    }
    let mut rows = Merged::open(snapshot, writes, read)?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += row.key.len() + row.value.len();
        page.rows.push(row);
        if page.rows.len() >= read.limit || bytes >= PAGE_BYTES {
            page.more = true;
            break;
        }
    }
    let told = covered(read.clone(), &page);
    if writes.is_unreadable(&told.begin, &told.end) {
        return Err(StoreError::Unreadable);
    }
    Ok(page)
}

/// Stored and own rows, in the order asked for.
struct Merged<'a> {
    stored: Stored<'a>,
    own: OwnRows<'a>,
    next_stored: Option<Row>,
    next_own: Option<Row>,
    reverse: bool,
}

impl<'a> Merged<'a> {
    fn open(snapshot: &'a Snapshot, writes: &'a Writes, read: &RangeRead) -> Result<Self, StoreError> {
        let mut stored = Stored::open(snapshot, writes, read)?;
        let mut own = OwnRows::open(snapshot, writes, read);
        let (next_stored, next_own) = (stored.next()?, own.next()?);
        Ok(Self { stored, own, next_stored, next_own, reverse: read.reverse })
    }

    fn next(&mut self) -> Result<Option<Row>, StoreError> {
        // Stored rows that have an own write are skipped already, so the two never carry the same key.
        let own_first = match (&self.next_stored, &self.next_own) {
            (None, None) => return Ok(None),
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some(stored), Some(own)) => {
                let first = if self.reverse { Ordering::Greater } else { Ordering::Less };
                own.key.cmp(&stored.key) == first
            }
        };
        Ok(if own_first {
            std::mem::replace(&mut self.next_own, self.own.next()?)
        } else {
            std::mem::replace(&mut self.next_stored, self.stored.next()?)
        })
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
            let (key, value) = entry.map_err(|error| self.snapshot.failed(READING, error))?;
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
    snapshot.table.range::<&[u8]>(begin..end).map_err(|error| snapshot.failed(READING, error))
}

/// The transaction's own rows in the range.
struct OwnRows<'a> {
    snapshot: &'a Snapshot,
    rows: btree_map::Range<'a, Vec<u8>, Own>,
    reverse: bool,
}

impl<'a> OwnRows<'a> {
    fn open(snapshot: &'a Snapshot, writes: &'a Writes, read: &RangeRead) -> Self {
        let bounds = (Bound::Included(read.begin.as_slice()), Bound::Excluded(read.end.as_slice()));
        Self { snapshot, rows: writes.set.range::<[u8], _>(bounds), reverse: read.reverse }
    }

    fn next(&mut self) -> Result<Option<Row>, StoreError> {
        loop {
            let next = if self.reverse { self.rows.next_back() } else { self.rows.next() };
            let Some((key, own)) = next else { return Ok(None) };
            let value = match own {
                Own::Value(value) => Some(value.clone()),
                Own::Steps(steps) => {
                    let stored = self.snapshot.get(key)?;
                    writes::outcome(steps, stored.as_deref(), None)
                }
            };
            if let Some(value) = value {
                return Ok(Some(Row { key: key.clone(), value }));
            }
        }
    }
}
