//! The state as a file: exports, which go into any backend, and backups, which are a copy of the embedded
//! store's own file.
//!
//! What an export leaves out: idempotency markers, which matter for minutes, and the change feed, whose
//! versionstamps order commits of the store they were made in and would be out of order in another one.

mod backup;
mod export;
mod format;
mod import;
mod source;

use crate::keyspace::{GlobalFamily, KeySpan, Keyspace};
pub(crate) use source::Rows;

pub use backup::{Backup, BackupError, backup};
pub use export::{Export, Exported};
pub use format::{Decoder, Encoder, FormatError, Header, MAX_BLOCK_BYTES, Summary};
pub use import::{ImportError, Imported, import, unfinished_import};

/// Families that mean something only in the store they were written in.
const LEFT_OUT: [GlobalFamily; 5] = [
    GlobalFamily::Idempotency,
    GlobalFamily::Changes,
    GlobalFamily::ChangesHead,
    GlobalFamily::ChangesHorizon,
    GlobalFamily::Import,
];

/// How far a long operation has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it does now, as a participle: `checking`, `writing`.
    pub doing: &'static str,
    /// Rows done in that step.
    pub rows: u64,
    /// Bytes of keys and values done in that step.
    pub bytes: u64,
}

impl Progress {
    /// A step that has just begun.
    pub(crate) fn new(doing: &'static str) -> Self {
        Self { doing, rows: 0, bytes: 0 }
    }

    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// What takes [`Progress`] reports: called after each page of rows, so it must be quick.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// The keys of [`LEFT_OUT`], in key order.
fn left_out(keys: &Keyspace) -> Vec<KeySpan> {
    let mut spans: Vec<_> = LEFT_OUT.iter().map(|family| keys.global_family(*family)).collect();
    spans.sort_by(|a, b| a.begin.cmp(&b.begin));
    spans
}
