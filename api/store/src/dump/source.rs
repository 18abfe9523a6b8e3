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
    /// What is read after the span that is being read, the last one first.
    rest: Vec<KeySpan>,
    store: Option<Store>,
    /// Of scans that have ended.
    snapshots: u32,
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
        Self::of_spans(store, vec![span])
    }

    /// Starts to read several spans one after the other.
    pub(crate) fn of_spans(store: &Store, mut spans: Vec<KeySpan>) -> Result<Self, StoreError> {
        spans.reverse();
        let first = spans.pop().unwrap_or(KeySpan { begin: Vec::new(), end: Vec::new() });
        let rows = match store.long_snapshot()? {
            Some(rows) => Self::of_snapshot(rows, first),
            None => Self {
                source: Source::Scan(store.scan(first)),
                rest: Vec::new(),
                store: Some(store.clone()),
                snapshots: 0,
            },
        };
        Ok(Self { rest: spans, ..rows })
    }

    /// Starts to read a span of a snapshot.
    pub(crate) fn of_snapshot(rows: Box<dyn SnapshotRows>, span: KeySpan) -> Self {
        let source = Source::Snapshot { rows, begin: Some(span.begin), end: span.end };
        Self { source, rest: Vec::new(), store: None, snapshots: 0 }
    }

    /// True if all rows are of one moment, whatever happens.
    pub(crate) fn is_one_snapshot(&self) -> bool {
        matches!(self.source, Source::Snapshot { .. })
    }

    /// How many moments the rows so far were of.
    pub(crate) fn snapshots(&self) -> u32 {
        match &self.source {
            Source::Snapshot { .. } => 1,
            Source::Scan(scan) => self.snapshots.saturating_add(scan.snapshots()),
        }
    }

    /// The next rows, at least one; `None` at the end. Cancel safe.
    pub(crate) async fn next_page(&mut self) -> Result<Option<Vec<Row>>, StoreError> {
        loop {
            if let Some(rows) = self.next_of_span().await? {
                return Ok(Some(rows));
            }
            let Some(span) = self.rest.pop() else { return Ok(None) };
            match (&mut self.source, &self.store) {
                (Source::Snapshot { begin, end, .. }, _) => (*begin, *end) = (Some(span.begin), span.end),
                (Source::Scan(scan), Some(store)) => {
                    self.snapshots = self.snapshots.saturating_add(scan.snapshots());
                    *scan = store.scan(span);
                }
                // Only a scan that was made with its store has more spans.
                (Source::Scan(_), None) => return Ok(None),
            }
        }
    }

    async fn next_of_span(&mut self) -> Result<Option<Vec<Row>>, StoreError> {
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
