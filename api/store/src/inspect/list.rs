//! Keys by their paths, a level at a time or all of them.

use bytes::Bytes;

use crate::contract::{RangeRead, Row};
use crate::error::StoreError;
use crate::keyspace::Keyspace;
use crate::keyspace::element::split;
use crate::keyspace::path::to_path;
use crate::store::{RetryPolicy, Store};

/// Rows read at once. A level is read in such steps, jumping over what lies below each of its elements.
const PAGE_ROWS: usize = 500;

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A key.
    Key {
        /// Its path.
        path: String,
        /// The key itself.
        key: Vec<u8>,
        /// Its value.
        value: Bytes,
    },
    /// Keys that have more elements after these.
    Level {
        /// The path of the elements they share.
        path: String,
    },
}

/// A listing in progress, in key order. Each page is of a moment of its own.
pub struct List<'a> {
    store: &'a Store,
    prefix: Vec<u8>,
    recursive: bool,
    begin: Vec<u8>,
    end: Vec<u8>,
    done: bool,
}

impl<'a> List<'a> {
    /// Lists what lies at and below `prefix`, whole key elements; nothing outside the key space's root.
    pub fn new(store: &'a Store, keys: &Keyspace, prefix: &[u8], recursive: bool) -> Self {
        let span = keys.span();
        let begin = span.begin.max(prefix.to_vec());
        let end = span.end.min([prefix, &[0xff]].concat());
        let done = begin >= end;
        Self { store, prefix: prefix.to_vec(), recursive, begin, end, done }
    }

    /// The next entries; `None` at the end. Cancel safe.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, StoreError> {
        let policy = RetryPolicy::idempotent();
        while !self.done {
            let read = RangeRead::new(self.begin.clone(), self.end.clone(), PAGE_ROWS).snapshot();
            let page = self.store.run(&policy, |transaction| {
                let read = read.clone();
                async move { transaction.range(read).await }
            });
            let page = page.await?;
            self.done = !page.more;
            let mut entries = Vec::new();
            for row in page.rows {
                // The rest of a level that was jumped over.
                if row.key >= self.begin {
                    entries.push(self.entry(row));
                }
            }
            self.done |= self.begin >= self.end;
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
        Ok(None)
    }

    /// The entry a row belongs to; the listing goes on behind that.
    fn entry(&mut self, row: Row) -> Entry {
        if !self.recursive
            && let Some(level) = self.level(&row.key)
            && level.len() < row.key.len()
        {
            let path = to_path(&level);
            self.begin = level;
            self.begin.push(0xff);
            return Entry::Level { path };
        }
        self.begin = row.key.clone();
        self.begin.push(0);
        Entry::Key { path: to_path(&row.key), key: row.key, value: row.value }
    }

    /// The part of a key up to the first element below the prefix.
    fn level(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (elements, _) = split(key.get(self.prefix.len()..)?);
        let mut level = self.prefix.clone();
        elements.first()?.append_to(&mut level);
        Some(level)
    }
}
