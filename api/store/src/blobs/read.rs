//! Reading a blob, whole or in part, a few chunks ahead.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::chunk::{self, CHUNK_BYTES, STORED_CHUNK_BYTES};
use super::records::{Blob, load};
use super::{BlobError, BlobHash, Context};
use crate::contract::{RangeRead, Row};
use crate::keyspace::TenantScope;
use crate::transaction::Transaction;

/// Chunks read at once, about 1 MiB.
const AHEAD_CHUNKS: usize = 16;
/// The most memory a [`BlobReader`] holds, in bytes.
pub const MAX_READ_BUFFER_BYTES: usize = AHEAD_CHUNKS * STORED_CHUNK_BYTES;

/// An open blob. Reads on in transactions of its own for however long it takes, and holds none in between.
///
/// Read from begin to end, the SHA-256 of the whole is checked before the last chunk is given out, so that a damaged
/// blob is never delivered to its end. Of a part ([`BlobReader::range`]), every chunk's own digest is checked before
/// the chunk is given out.
pub struct BlobReader {
    context: Arc<Context>,
    scope: TenantScope,
    hash: BlobHash,
    blob: Blob,
    /// What is still to be given out.
    left: Range<u64>,
    /// The next chunk to be read from the store.
    next: u32,
    /// Chunks read, with their numbers; the first is the next to be given out.
    ahead: VecDeque<(u32, Bytes)>,
    /// The hash of what was given out; absent when only a part is read.
    whole: Option<Sha256>,
    /// Why it cannot go on.
    failed: Option<BlobError>,
}

impl BlobReader {
    pub(super) async fn open(
        context: Arc<Context>,
        scope: TenantScope,
        hash: BlobHash,
    ) -> Result<Option<Self>, BlobError> {
        let key = &scope.blob(&hash);
        let found: Option<Blob> = context
            .store
            .run(&context.idempotent, |transaction| async move { load(&transaction, key).await })
            .await
            .map_err(BlobError::Store)?;
        Ok(found.map(|blob| Self {
            left: 0..blob.size,
            context,
            scope,
            hash,
            blob,
            next: 0,
            ahead: VecDeque::new(),
            whole: Some(Sha256::new()),
            failed: None,
        }))
    }

    /// What the blob is found by.
    pub fn hash(&self) -> BlobHash {
        self.hash
    }

    /// The blob's length in bytes.
    pub fn size(&self) -> u64 {
        self.blob.size
    }

    /// The bytes held in memory now; at most [`MAX_READ_BUFFER_BYTES`].
    pub fn buffered(&self) -> usize {
        self.ahead.iter().map(|(_, stored)| stored.len()).sum()
    }

    /// Reads only the bytes of `range`, from its begin, whatever was read before.
    ///
    /// # Errors
    ///
    /// [`BlobError::OutOfRange`] if it does not lie in the blob.
    pub fn range(mut self, range: Range<u64>) -> Result<Self, BlobError> {
        let size = self.blob.size;
        let first = u32::try_from(range.start / CHUNK_BYTES as u64);
        let Some(first) = first.ok().filter(|_| range.start <= range.end && range.end <= size) else {
            return Err(BlobError::OutOfRange { begin: range.start, end: range.end, size });
        };
        self.whole = (range == (0..size)).then(Sha256::new);
        self.ahead.clear();
        (self.left, self.next) = (range, first);
        Ok(self)
    }

    /// The next bytes, of at most one chunk ([`CHUNK_BYTES`]); `None` at the end.
    ///
    /// Cancel safe: a dropped call loses nothing, the next one reads it again.
    ///
    /// # Errors
    ///
    /// [`BlobError::Gone`] if the blob was collected meanwhile, [`BlobError::Damaged`] if what is stored is not what
    /// was written: every later call fails with the same. The store's errors, after which reading may be gone on
    /// with.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, BlobError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let next = self.take_next().await;
        self.failed = next.as_ref().err().filter(|error| !matches!(error, BlobError::Store(_))).cloned();
        next
    }

    async fn take_next(&mut self) -> Result<Option<Bytes>, BlobError> {
        if self.left.is_empty() {
            self.check_whole()?;
            return Ok(None);
        }
        if self.ahead.is_empty() {
            self.read_ahead().await?;
        }
        let Some((number, stored)) = self.ahead.pop_front() else {
            return Err(self.damaged("it ends early"));
        };
        let opened = match &self.whole {
            Some(_) => chunk::open_unchecked(stored),
            None => chunk::open(self.blob.content, number, stored),
        };
        let bytes = opened.map_err(|fault| self.damaged(format!("chunk {number}: {fault}")))?;
        let begin = u64::from(number) * CHUNK_BYTES as u64;
        if bytes.len() as u64 != (self.blob.size - begin).min(CHUNK_BYTES as u64) {
            return Err(self.damaged(format!("chunk {number} has {} bytes", bytes.len())));
        }
        let last = self.left.end <= begin + bytes.len() as u64;
        if let Some(whole) = &mut self.whole {
            whole.update(&bytes);
            if last {
                self.check_whole()?;
            }
        }
        let part = within(begin, bytes.len(), &self.left);
        self.left.start = begin + part.end as u64;
        Ok(Some(bytes.slice(part)))
    }

    /// Compares the hash of all that was read, if it is the whole.
    fn check_whole(&mut self) -> Result<(), BlobError> {
        match self.whole.take().map(|whole| BlobHash::from(whole.finalize())) {
            Some(found) if found != self.hash => Err(self.damaged(format!("its SHA-256 is {found}"))),
            _ => Ok(()),
        }
    }

    /// Reads the next chunks, as many as are needed and fit.
    async fn read_ahead(&mut self) -> Result<(), BlobError> {
        let needed = chunk::chunks_of(self.left.end).unwrap_or(self.blob.chunks).min(self.blob.chunks);
        let this = &*self;
        let rows = self
            .context
            .store
            .run(&self.context.idempotent, |transaction| async move { this.page(&transaction, needed).await })
            .await?;
        for row in rows {
            let expected = self.scope.blob_chunk(self.blob.content, self.next);
            if row.key != expected.as_ref() {
                return Err(self.damaged(format!("chunk {} is missing", self.next)));
            }
            self.ahead.push_back((self.next, row.value));
            self.next += 1;
        }
        Ok(())
    }

    /// A page of chunks up to `end`.
    async fn page(&self, transaction: &Transaction, end: u32) -> Result<Vec<Row>, BlobError> {
        let content = self.blob.content;
        let read = RangeRead::new(
            self.scope.blob_chunk(content, self.next),
            self.scope.blob_chunk(content, end.max(self.next)),
            AHEAD_CHUNKS,
        );
        let page = transaction.range(read.snapshot()).await?;
        let next = page.rows.first().map(|row| row.key.as_slice());
        if next == Some(self.scope.blob_chunk(content, self.next).as_ref()) {
            return Ok(page.rows);
        }
        // The chunk is not there. The collector removes the record first, so the same snapshot tells why.
        match load::<Blob>(transaction, &self.scope.blob(&self.hash)).await? {
            Some(blob) if blob.content == content => {
                Err(self.damaged(format!("chunk {} is missing", self.next)))
            }
            _ => Err(BlobError::Gone { hash: self.hash }),
        }
    }

    fn damaged(&self, reason: impl Into<String>) -> BlobError {
        BlobError::Damaged { hash: self.hash, reason: reason.into() }
    }
}

/// The part of a chunk that lies in `range`, in bytes from the chunk's begin.
fn within(begin: u64, length: usize, range: &Range<u64>) -> Range<usize> {
    let place = |at: u64| usize::try_from(at.saturating_sub(begin)).unwrap_or(length).min(length);
    place(range.start)..place(range.end)
}
