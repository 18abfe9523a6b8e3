//! Reading a range of any size: page by page, going on in a new transaction where one has grown too old.

use std::collections::VecDeque;

use crate::contract::{RangeRead, ReadMode, Row};
use crate::error::StoreError;
use crate::keyspace::KeySpan;
use crate::store::{Retries, RetryPolicy, Store};
use crate::transaction::Transaction;

/// The most rows asked for at once.
const PAGE_ROWS: usize = 1000;

/// A range being read, a page at a time. Made by [`Store::scan`].
///
/// Pages come from one snapshot for as long as a transaction may live (5 s); a scan that takes longer goes on
/// after the last row in a newer one, so that the rows of a long scan need not all have been there at one
/// moment: see [`Scan::snapshots`]. Nothing is checked at commit, there is none.
///
/// Cancel safe: a dropped call loses no rows, the next one reads them again.
pub struct Scan {
    store: Store,
    policy: RetryPolicy,
    begin: Vec<u8>,
    end: Vec<u8>,
    reverse: bool,
    transaction: Option<Transaction>,
    snapshots: u32,
    done: bool,
}

impl Store {
    /// Reads all of a span in key order.
    pub fn scan(&self, span: KeySpan) -> Scan {
        self.scan_with(span, false)
    }

    /// Reads all of a span from its end.
    pub fn scan_reversed(&self, span: KeySpan) -> Scan {
        self.scan_with(span, true)
    }

    fn scan_with(&self, span: KeySpan, reverse: bool) -> Scan {
        Scan {
            store: self.clone(),
            policy: RetryPolicy::default(),
            begin: span.begin,
            end: span.end,
            reverse,
            transaction: None,
            snapshots: 0,
            done: false,
        }
    }
}

impl Scan {
    /// The next rows, at least one, up to about 1 MiB; `None` at the range's end.
    ///
    /// # Errors
    ///
    /// As a read's, once retries did not help. The scan may be gone on with.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Row>>, StoreError> {
        let policy = self.policy.clone();
        let mut retries = Retries::new(&policy);
        while !self.done {
            let begun = self.transaction.is_some();
            match self.read().await {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => return Ok(Some(rows)),
                Err(error) => {
                    self.transaction = None;
                    // That a transaction which had read before is too old is no fault: a new one goes on.
                    if !begun || !matches!(error, StoreError::TooOld) {
                        self.store.pause(&mut retries, error).await?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// All remaining rows. For ranges known to be small.
    pub async fn rows(mut self) -> Result<Vec<Row>, StoreError> {
        let mut rows = VecDeque::new();
        while let Some(page) = self.next_page().await? {
            rows.extend(page);
        }
        Ok(rows.into())
    }

    /// How many snapshots the rows so far came from.
    pub fn snapshots(&self) -> u32 {
        self.snapshots
    }

    async fn read(&mut self) -> Result<Vec<Row>, StoreError> {
        let fresh = self.transaction.is_none();
        let transaction = self.transaction.get_or_insert_with(|| self.store.begin()).clone();
        let page = transaction
            .range(RangeRead {
                begin: self.begin.clone(),
                end: self.end.clone(),
                limit: PAGE_ROWS,
                reverse: self.reverse,
                mode: ReadMode::Snapshot,
            })
            .await?;
        self.snapshots += u32::from(fresh);
        self.done = !page.more;
        if let Some(last) = page.rows.last() {
            if self.reverse {
                self.end.clone_from(&last.key);
            } else {
                self.begin.clone_from(&last.key);
                self.begin.push(0);
            }
        }
        Ok(page.rows)
    }
}
