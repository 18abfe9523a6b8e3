//! Writing a blob: chunks in batches, one transaction each, and a last transaction that makes it visible.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::chunk::{Filling, STORED_CHUNK_BYTES};
use super::part::Part;
use super::records::{Blob, UploadRecord, load, save};
use super::{BlobError, BlobHash, BlobRef, Context, UPLOAD_ABANDONED, millis};
use crate::error::{StoreError, TransactionError};
use crate::keyspace::TenantScope;
use crate::store::RetryPolicy;
use crate::transaction::Transaction;

/// Chunks in one transaction, about 1 MiB: far below the limits of size and age, and no slower than larger ones.
const BATCH_CHUNKS: usize = 16;
/// The most memory an [`Upload`] holds, in bytes: a batch that is being committed and one that is filled.
pub const MAX_UPLOAD_BUFFER_BYTES: usize = 2 * BATCH_CHUNKS * STORED_CHUNK_BYTES;
/// An upload that gets its bytes slowly says at least this often that it goes on, in milliseconds.
const TOUCH: i64 = millis(UPLOAD_ABANDONED) / 4;

/// A blob being written. Nobody sees it before [`Upload::finish`].
///
/// Blobs of up to about 1 MiB are written by the last transaction alone. Dropping an upload leaves what it wrote
/// to the [`super::Collector`]; [`Upload::abort`] has it collected without waiting for an hour.
pub struct Upload {
    context: Arc<Context>,
    scope: TenantScope,
    max_bytes: u64,
    content: Uuid,
    started_at: i64,
    /// When the store was last told that the upload goes on, in Unix milliseconds.
    touched_at: i64,
    hash: Sha256,
    size: u64,
    filling: Filling,
    /// Chunks of the next batch, as they are stored.
    full: Vec<Bytes>,
    /// How many chunks there were before those.
    sent: u32,
    /// The batch that is being committed, at most one, and its bytes.
    sending: JoinSet<Result<(), BlobError>>,
    sending_bytes: usize,
    /// True once there is an upload record, or may be.
    begun: bool,
    /// Why it cannot go on.
    failed: Option<BlobError>,
}

impl Upload {
    pub(super) fn new(context: Arc<Context>, scope: TenantScope, max_bytes: u64) -> Self {
        let now = context.clock.now_millis();
        Self {
            content: context.entropy.uuid(),
            context,
            scope,
            max_bytes,
            started_at: now,
            touched_at: now,
            hash: Sha256::new(),
            size: 0,
            filling: Filling::new(),
            full: Vec::new(),
            sent: 0,
            sending: JoinSet::new(),
            sending_bytes: 0,
            begun: false,
            failed: None,
        }
    }

    /// Adds bytes. Waits while the batch before is being committed and the next one is full.
    ///
    /// # Errors
    ///
    /// [`BlobError::TooLarge`] beyond the limit, before anything of `bytes` was taken; [`BlobError::Expired`] if
    /// the upload had rested for too long; the store's errors. After an error every later call fails with it.
    ///
    /// Not cancel safe: after a call that was dropped, later ones fail with [`BlobError::Interrupted`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.check()?;
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > self.max_bytes {
            return Err(self.fail(BlobError::TooLarge { limit: self.max_bytes }));
        }
        self.failed = Some(BlobError::Interrupted);
        let taken = self.take(bytes).await;
        self.failed = taken.as_ref().err().cloned();
        self.size = size;
        taken
    }

    /// The bytes that came so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes held in memory now; at most [`MAX_UPLOAD_BUFFER_BYTES`].
    pub fn buffered(&self) -> usize {
        self.full.len() * STORED_CHUNK_BYTES + self.filling.len() + self.sending_bytes
    }

    /// Makes the blob visible, without a reference: unless it gets one, it is collected after
    /// [`super::BLOB_GRACE`]. See [`Upload::finish_with`].
    pub async fn finish(self) -> Result<BlobRef, BlobError> {
        self.finish_with(|_, blob| async move { Ok(blob) }).await
    }

    /// Makes the blob visible by one transaction in which `visible` also does the caller's part: it should call
    /// [`super::add_reference`], and may write up to about 7 MB. Happens at most once, whatever becomes of the
    /// commit's answer. Where the tenant has this content already, that one is kept and this one removed.
    ///
    /// # Errors
    ///
    /// The closure's own, and as [`Upload::write`]'s. Then nothing is visible, and what was written is left to the
    /// collector.
    ///
    /// Not cancel safe: a dropped call may or may not have made the blob visible.
    pub async fn finish_with<T, E, F, Fut>(mut self, mut visible: F) -> Result<T, E>
    where
        E: TransactionError + From<BlobError>,
        F: FnMut(Transaction, BlobRef) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.check()?;
        self.settle().await?;
        if !self.filling.is_empty() {
            self.seal();
        }
        let now = self.context.clock.now_millis();
        let (part, values) = self.part(now);
        let hash = BlobHash::from(std::mem::take(&mut self.hash).finalize());
        let blob = Blob {
            size: self.size,
            content: self.content,
            chunks: part.end,
            created_at: now,
            unreferenced_since: Some(now),
        };
        let (values, blob, scope) = (&values, &blob, &self.scope);
        let marker = self.context.keys.marker(now, self.context.entropy.uuid());
        let finished = BlobRef { hash, size: self.size };
        self.context
            .store
            .run_once(&RetryPolicy::default(), &marker, |transaction| {
                let visible = visible(transaction.clone(), finished);
                async move {
                    part.finish(&transaction, scope, values, &hash, blob).await?;
                    visible.await
                }
            })
            .await
    }

    /// Gives up: what was written is removed by the collector's next run.
    ///
    /// # Errors
    ///
    /// The store's; then the collector finds it after [`super::UPLOAD_ABANDONED`].
    pub async fn abort(mut self) -> Result<(), BlobError> {
        // What became of the last batch does not matter, only that it is not written after the upload ended.
        drop(self.settle().await);
        if !self.begun {
            return Ok(());
        }
        let key = &self.scope.blob_upload(self.content);
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                if let Some(mut upload) = load::<UploadRecord>(&transaction, key).await? {
                    upload.ended = true;
                    save(&transaction, key.clone(), &upload)?;
                }
                Ok(())
            })
            .await
    }

    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        self.hash.update(bytes);
        while !bytes.is_empty() {
            bytes = self.filling.take(bytes);
            if self.filling.is_full() {
                self.seal();
            }
            if self.full.len() == BATCH_CHUNKS {
                self.send().await?;
            }
        }
        let now = self.context.clock.now_millis();
        if self.begun && now.saturating_sub(self.touched_at) >= TOUCH {
            self.send().await?;
        }
        Ok(())
    }

    /// Hands the full chunks to a transaction of their own, once the one before is done.
    async fn send(&mut self) -> Result<(), BlobError> {
        self.settle().await?;
        let now = self.context.clock.now_millis();
        let (part, values) = self.part(now);
        (self.begun, self.touched_at) = (true, now);
        self.sending_bytes = values.iter().map(Bytes::len).sum();
        let (context, scope) = (Arc::clone(&self.context), self.scope.clone());
        self.sending
            .spawn(async move { part.write(&context.store, &context.idempotent, &scope, &values).await });
        Ok(())
    }

    /// Puts the chunk that was filled to the next batch.
    fn seal(&mut self) {
        let filled = std::mem::replace(&mut self.filling, Filling::new());
        let number = self.sent.saturating_add(count(&self.full));
        self.full.push(filled.seal(self.content, number));
    }

    /// Takes out the next batch, and says where it goes.
    fn part(&mut self, now: i64) -> (Part, Vec<Bytes>) {
        let values = std::mem::take(&mut self.full);
        let first = self.sent;
        self.sent = first.saturating_add(count(&values));
        let (content, started_at) = (self.content, self.started_at);
        (Part { content, begun: self.begun, started_at, now, first, end: self.sent }, values)
    }

    /// Waits until no batch is being committed.
    async fn settle(&mut self) -> Result<(), BlobError> {
        while let Some(sent) = self.sending.join_next().await {
            self.sending_bytes = 0;
            // A task that panicked or was cut off by the runtime's end.
            if let Err(error) = sent.unwrap_or(Err(BlobError::Store(StoreError::Unknown))) {
                return Err(self.fail(error));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), BlobError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: BlobError) -> BlobError {
        self.failed = Some(error.clone());
        error
    }
}

/// How many chunks of a batch there are; never so many that they could not be counted.
fn count(chunks: &[Bytes]) -> u32 {
    u32::try_from(chunks.len()).unwrap_or(u32::MAX)
}
