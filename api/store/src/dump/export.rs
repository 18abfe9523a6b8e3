//! A store's rows as an export, in pieces.

use std::collections::VecDeque;

use bytes::Bytes;

use super::format::{Encoder, Header, Summary};
use super::source::Rows;
use super::{Progress, left_out};
use crate::error::StoreError;
use crate::keyspace::{KeySpan, Keyspace};
use crate::store::Store;

/// An export being made. It holds a page of rows and the blocks they fill, a few MiB.
pub struct Export {
    rows: Rows,
    encoder: Option<Encoder>,
    ready: VecDeque<Bytes>,
    /// The length of the root prefix.
    root: usize,
    left_out: Vec<KeySpan>,
    progress: Progress,
    done: Option<Exported>,
}

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// What stands at the end of the file.
    pub summary: Summary,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Export {
    /// Starts to export everything under the key space's root; `now` is in Unix milliseconds.
    ///
    /// Where the backend can, all rows are of this moment ([`Store::long_snapshot`]); elsewhere a long export
    /// goes on in newer snapshots, and rows that belong together may be of different moments.
    pub fn start(store: &Store, keys: &Keyspace, now: i64) -> Result<Self, StoreError> {
        let rows = Rows::of(store, keys.span())?;
        let header = Header { created_at: now, one_snapshot: rows.is_one_snapshot() };
        let (encoder, begin) = Encoder::start(header);
        Ok(Self {
            rows,
            encoder: Some(encoder),
            ready: VecDeque::from([begin]),
            root: keys.root().len(),
            left_out: left_out(keys),
            progress: Progress::new("exporting"),
            done: None,
        })
    }

    /// The next piece of the file; `None` at its end. Not cancel safe.
    ///
    /// # Errors
    ///
    /// As a read's. What was written so far is no whole export, and its reader will notice.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            let Some(mut encoder) = self.encoder.take() else { return Ok(None) };
            let Some(page) = self.rows.next_page().await? else {
                let (end, summary) = encoder.finish(self.rows.snapshots());
                self.done = Some(Exported { summary, bytes: self.progress.bytes });
                self.ready.push_back(end);
                continue;
            };
            for row in page {
                if self.left_out.iter().any(|span| span.contains(&row.key)) {
                    continue;
                }
                let key = row.key.get(self.root..).unwrap_or_default();
                self.progress.add(key, &row.value);
                self.ready.extend(encoder.push(key, &row.value));
            }
            self.encoder = Some(encoder);
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What was exported, once [`Export::next_chunk`] has returned `None`.
    pub fn exported(&self) -> Option<Exported> {
        self.done
    }
}
