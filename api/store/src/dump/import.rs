//! An export's rows into a store.
//!
//! The file is read twice: first all of it is checked, then it is written, a block a transaction. Meanwhile a
//! marker in the store says so, and the store's identity is written last, together with the marker's end: so
//! an import that was cut off leaves a store on which no edge starts, and which the next import replaces.
//!
//! Every transaction reads the marker and stops if it is not its own: two imports never mix.

use std::io::{BufReader, Read, Seek};

use bytes::Bytes;
use coditect_auth::Entropy;
use uuid::Uuid;

use super::format::{Decoder, FormatError, Header, Summary};
use super::{OnProgress, Progress, left_out};
use crate::contract::{RangeRead, Row};
use crate::error::{StoreError, TransactionError};
use crate::identity::{ClaimError, check_format};
use crate::keyspace::{GlobalFamily, Key, KeySpan, Keyspace};
use crate::limits::MAX_KEY_BYTES;
use crate::store::{RetryPolicy, Store};
use crate::transaction::Transaction;

/// The last byte of the marker of an import under way.
const UNDER_WAY: u8 = 0;
/// The last byte of the marker of an import that ended well.
const ENDED: u8 = 1;
/// How much of the file is read at once, in bytes.
const READ_BYTES: usize = 256 << 10;
/// The most rows removed in one transaction.
const CLEAR_ROWS: usize = 10_000;

/// Why an import did not happen, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is no sound export. Nothing was written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A key would be too long under this root. Nothing was written.
    #[error("a key of the export would have {size} bytes here, at most {MAX_KEY_BYTES} are allowed")]
    KeyTooLong {
        /// The key's length with the root prefix, in bytes.
        size: usize,
    },
    /// A key would lie outside the root, among another root's. Nothing was written.
    #[error("the export holds a key that lies under no root: no export of this program does")]
    Outside,
    /// The export is of a store that this program must not write. Nothing was written.
    #[error("the export's own store cannot be used")]
    Claim(#[from] ClaimError),
    /// There is other data. Nothing was written.
    #[error("the store is not empty: import into an empty one, or replace all that is in it (--replace)")]
    NotEmpty,
    /// The file was changed after it was checked.
    #[error("the file was changed while it was imported")]
    Changed,
    /// Another import began on the same store.
    #[error("another import has begun on this store")]
    TakenOver,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It failed after it had begun to write.
    #[error("{source}. The import is unfinished and the edge will not start on this store: import again")]
    Unfinished {
        /// Why.
        source: Box<ImportError>,
    },
}

impl TransactionError for ImportError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// What the file said at its begin.
    pub header: Header,
    /// What the file said at its end.
    pub summary: Summary,
    /// Rows written.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Whether an import began on this store and did not end: then the store must not be used.
pub async fn unfinished_import(store: &Store, keys: &Keyspace) -> Result<bool, StoreError> {
    let marker = keys.global(GlobalFamily::Import, &());
    store
        .run(&RetryPolicy::idempotent(), |transaction| {
            let marker = marker.clone();
            async move { Ok(transaction.get(&marker).await?.is_some_and(|marker| is_under_way(&marker))) }
        })
        .await
}

fn is_under_way(marker: &[u8]) -> bool {
    marker.last() != Some(&ENDED)
}

/// Writes an export under the key space's root. Everything else under it is removed: with `replace` whatever
/// it is, without only what an edge leaves in a store that holds no data, and what an unfinished import left.
///
/// No edge may run on the store meanwhile. Blocks the thread on `file`: for a command, not for a server.
/// Not cancel safe: a dropped call leaves an unfinished import.
///
/// # Errors
///
/// [`ImportError::Unfinished`] if the store was changed, anything else if it was not.
pub async fn import<F: Read + Seek>(
    store: &Store,
    keys: &Keyspace,
    file: &mut F,
    replace: bool,
    entropy: &dyn Entropy,
    progress: OnProgress<'_>,
) -> Result<Imported, ImportError> {
    let checked = check(file, keys, progress)?;
    let import = Import {
        store,
        keys,
        policy: RetryPolicy::idempotent(),
        marker: keys.global(GlobalFamily::Import, &()),
        identity: keys.global(GlobalFamily::Identity, &()),
        id: entropy.uuid(),
    };
    import.begin(replace).await?;
    let written = import.fill(file, checked, progress).await;
    written.map_err(|source| ImportError::Unfinished { source: Box::new(source) })
}

/// Reads all of the file and believes none of it.
fn check(
    file: &mut (impl Read + Seek),
    keys: &Keyspace,
    progress: OnProgress<'_>,
) -> Result<Summary, ImportError> {
    let mut done = Progress::new("checking");
    let (span, identity) = (keys.span(), keys.global(GlobalFamily::Identity, &()));
    let mut decoder = decoder(file)?;
    while let Some(rows) = decoder.next_block()? {
        for row in rows {
            let absolute = [keys.root(), &row.key].concat();
            if absolute.len() > MAX_KEY_BYTES {
                return Err(ImportError::KeyTooLong { size: absolute.len() });
            }
            if !span.contains(&absolute) {
                return Err(ImportError::Outside);
            }
            if absolute == identity.as_ref() {
                check_format(keys, &row.value)?;
            }
            done.add(&row.key, &row.value);
        }
        progress(done);
    }
    decoder.summary().ok_or(ImportError::Changed)
}

fn decoder<F: Read + Seek>(file: &mut F) -> Result<Decoder<BufReader<&mut F>>, FormatError> {
    file.rewind()?;
    Decoder::start(BufReader::with_capacity(READ_BYTES, file))
}

/// An import that writes.
struct Import<'a> {
    store: &'a Store,
    keys: &'a Keyspace,
    policy: RetryPolicy,
    marker: Key,
    identity: Key,
    id: Uuid,
}

impl Import<'_> {
    /// Sets the marker, if the store may be imported into.
    async fn begin(&self, replace: bool) -> Result<(), ImportError> {
        let attempt = async |transaction: Transaction| {
            let marked = transaction.get(&self.marker).await?;
            let unfinished = marked.is_some_and(|marker| is_under_way(&marker));
            if !unfinished && !replace {
                for KeySpan { begin, end } in self.data_spans() {
                    if !transaction.range(RangeRead::new(begin, end, 1)).await?.rows.is_empty() {
                        return Err(ImportError::NotEmpty);
                    }
                }
            }
            transaction.clear(self.identity.clone())?;
            transaction.set(self.marker.clone(), self.mark(UNDER_WAY))?;
            Ok(())
        };
        self.store.run(&self.policy, attempt).await
    }

    /// What holds data: all but the identity and what an export leaves out.
    fn data_spans(&self) -> Vec<KeySpan> {
        let mut without = left_out(self.keys);
        without.push(self.keys.global_family(GlobalFamily::Identity));
        without.sort_by(|a, b| a.begin.cmp(&b.begin));
        let all = self.keys.span();
        let mut begin = all.begin;
        let mut spans = Vec::new();
        for gap in without {
            spans.push(KeySpan { begin, end: gap.begin });
            begin = gap.end;
        }
        spans.push(KeySpan { begin, end: all.end });
        spans
    }

    async fn fill<F: Read + Seek>(
        &self,
        file: &mut F,
        checked: Summary,
        progress: OnProgress<'_>,
    ) -> Result<Imported, ImportError> {
        self.clear(progress).await?;
        let left_out = left_out(self.keys);
        let mut done = Progress::new("importing");
        let mut identity = None;
        let mut decoder = decoder(file)?;
        while let Some(block) = decoder.next_block()? {
            let mut rows = Vec::with_capacity(block.len());
            for Row { key, value } in block {
                let absolute = [self.keys.root(), &key].concat();
                if left_out.iter().any(|span| span.contains(&absolute)) {
                    continue;
                }
                done.add(&key, &value);
                if absolute == self.identity.as_ref() {
                    identity = Some(value);
                } else {
                    rows.push(Row { key: absolute, value });
                }
            }
            self.write(&rows).await?;
            progress(done);
        }
        let summary = decoder.summary().filter(|summary| *summary == checked).ok_or(ImportError::Changed)?;
        self.end(identity).await?;
        Ok(Imported { header: decoder.header(), summary, rows: done.rows, bytes: done.bytes })
    }

    /// Removes everything but the marker, in transactions of bounded size.
    async fn clear(&self, progress: OnProgress<'_>) -> Result<(), ImportError> {
        let mut done = Progress::new("clearing");
        let all = self.keys.span();
        let marker = self.keys.global_family(GlobalFamily::Import);
        for part in
            [KeySpan { begin: all.begin, end: marker.begin }, KeySpan { begin: marker.end, end: all.end }]
        {
            let mut more = true;
            while more {
                let attempt = async |transaction: Transaction| {
                    self.still_ours(&transaction).await?;
                    // Counted as read, so that an attempt whose answer was lost cannot commit after the next one
                    // and take rows that were imported since.
                    let read = RangeRead::new(part.begin.clone(), part.end.clone(), CLEAR_ROWS);
                    let page = transaction.range(read).await?;
                    if let Some(last) = page.rows.last() {
                        let mut end = last.key.clone();
                        end.push(0);
                        transaction.clear_range(part.begin.clone(), end)?;
                    }
                    Ok::<_, ImportError>(page)
                };
                let page = self.store.run(&self.policy, attempt).await?;
                page.rows.iter().for_each(|row| done.add(&row.key, &row.value));
                more = page.more;
                progress(done);
            }
        }
        Ok(())
    }

    async fn write(&self, rows: &[Row]) -> Result<(), ImportError> {
        let attempt = async |transaction: Transaction| {
            self.still_ours(&transaction).await?;
            for row in rows {
                transaction.set(row.key.clone(), row.value.clone())?;
            }
            Ok(())
        };
        self.store.run(&self.policy, attempt).await
    }

    /// Makes the store one an edge starts on. Run again after a commit of unknown result it finds its own end.
    async fn end(&self, identity: Option<Bytes>) -> Result<(), ImportError> {
        let attempt = async |transaction: Transaction| {
            if transaction.get(&self.marker).await?.as_ref() == Some(&self.mark(ENDED)) {
                return Ok(());
            }
            self.still_ours(&transaction).await?;
            transaction.set(self.marker.clone(), self.mark(ENDED))?;
            if let Some(identity) = &identity {
                transaction.set(self.identity.clone(), identity.clone())?;
            }
            Ok(())
        };
        self.store.run(&self.policy, attempt).await
    }

    async fn still_ours(&self, transaction: &Transaction) -> Result<(), ImportError> {
        match transaction.get(&self.marker).await? {
            Some(marker) if marker == self.mark(UNDER_WAY) => Ok(()),
            _ => Err(ImportError::TakenOver),
        }
    }

    /// What the marker holds.
    fn mark(&self, state: u8) -> Bytes {
        [self.id.as_bytes().as_slice(), &[state]].concat().into()
    }
}
