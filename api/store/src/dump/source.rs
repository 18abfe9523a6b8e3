//! All rows of a span, from one snapshot where the backend can hold one.

use crate::contract::{RangeRead, Row, SnapshotRows};
use crate::error::StoreError;
use crate::keyspace::KeySpan;
use crate::scan::Scan;
use crate::store::Store;

/// The most rows asked for at once; a page also ends at about 1 MiB.
const PAGE_ROWS: usize = 10_000;

/// Rows being read, page by page.
pub(crate) struct Rows {
    source: Source,
}

enum Source {
    /// One moment, however long it takes; `begin` moves on, `None` at the end.
    Snapshot {
        rows: Box<dyn SnapshotRows>,
        begin: Option<Vec<u8>>,
        end: Vec<u8>,
    },
    Scan(Scan),
}

impl Rows {
    /// Starts to read a span as it is now.
    pub(crate) fn of(store: &Store, span: KeySpan) -> Result<Self, StoreError> {
        Ok(match store.long_snapshot()? {
            Some(rows) => Self::of_snapshot(rows, span),
            None => Self { source: Source::Scan(store.scan(span)) },
        })
    }

    /// Starts to read a span of a snapshot.
    pub(crate) fn of_snapshot(rows: Box<dyn SnapshotRows>, span: KeySpan) -> Self {
        Self { source: Source::Snapshot { rows, begin: Some(span.begin), end: span.end } }
    }

    /// True if all rows are of one moment, whatever happens.
    pub(crate) fn is_one_snapshot(&self) -> bool {
        matches!(self.source, Source::Snapshot { .. })
    }

    /// How many moments the rows so far were of.
    pub(crate) fn snapshots(&self) -> u32 {
        match &self.source {
            Source::Snapshot { .. } => 1,
            Source::Scan(scan) => scan.snapshots(),
        }
    }

    /// The next rows, at least one; `None` at the end. Cancel safe.
    pub(crate) async fn next_page(&mut self) -> Result<Option<Vec<Row>>, StoreError> {
        match &mut self.source {
            Source::Scan(scan) => scan.next_page().await,
            Source::Snapshot { rows, begin, end } => {
                let Some(from) = begin.clone() else { return Ok(None) };
                let page = rows.range(RangeRead::new(from, end.clone(), PAGE_ROWS).snapshot()).await?;
                *begin = page.rows.last().filter(|_| page.more).map(|last| {
                    let mut next = last.key.clone();
                    next.push(0);
                    next
                });
                Ok(if page.rows.is_empty() { None } else { Some(page.rows) })
            }
        }
    }
}
