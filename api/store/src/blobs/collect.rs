//! Removing what nobody needs: abandoned uploads, and blobs without a reference.
//!
//! A blob goes in two steps. One transaction removes its record, if there is still no reference, and makes its
//! content an ended upload; later ones remove the chunks of ended uploads, from the end, a few at a time. So no
//! commit is large, and a run that is cut off anywhere is gone on with by the next.

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;

use super::records::{Blob, UploadRecord, load, save};
use super::{BLOB_GRACE, BlobHash, Context, UPLOAD_ABANDONED, millis, references};
use crate::contract::{RangeRead, Row};
use crate::error::StoreError;
use crate::keyspace::{KeySpan, TenantFamily, TenantScope};
use crate::records::Record;
use crate::transaction::Transaction;

/// Chunks removed in one transaction, about 2 MiB.
const REMOVED_CHUNKS: u32 = 32;
/// Tenants looked at in one call.
const TENANTS_AT_ONCE: usize = 256;
/// Transactions that remove something in one call: about 512 MiB of chunks.
const REMOVALS_AT_ONCE: usize = 256;
/// Rows of a family read at once.
const PAGE_ROWS: usize = 256;

/// What a call of [`Collector::collect`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Tenants looked at.
    pub tenants: usize,
    /// Blobs that nobody referred to.
    pub blobs: usize,
    /// Contents removed whole, of such blobs and of abandoned uploads.
    pub contents: usize,
    /// True if it stopped at its bound: call again.
    pub more: bool,
}

/// The collector of all tenants. Any number may run on one store.
pub struct Collector {
    context: Arc<Context>,
    /// The tenant looked at last; `None` to begin anew.
    after: Option<Uuid>,
}

/// How much a call may still remove.
struct Budget(usize);

impl Budget {
    /// Takes one removal; false if there is none left.
    fn take(&mut self) -> bool {
        let left = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        left
    }
}

impl Collector {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, after: None }
    }

    /// Goes on where the call before stopped and does a bounded part of the work that is due at `now`, in Unix
    /// milliseconds.
    ///
    /// Cancel safe: every step is a transaction of its own, and what was not done is found again.
    ///
    /// # Errors
    ///
    /// The store's; the next call tries again.
    pub async fn collect(&mut self, now: i64) -> Result<Collected, StoreError> {
        let mut done = Collected::default();
        let mut budget = Budget(REMOVALS_AT_ONCE);
        while done.tenants < TENANTS_AT_ONCE {
            let Some(scope) = self.next_tenant().await? else {
                self.after = None;
                return Ok(done);
            };
            match self.collect_tenant(&scope, now, &mut budget, &mut done).await {
                Ok(true) => {}
                Ok(false) => break,
                // One tenant's damage must not keep the others' garbage.
                Err(error @ StoreError::Record { .. }) => {
                    tracing::error!(tenant = %scope.id(), %error, "blobs could not be collected; run `store verify`");
                }
                Err(error) => return Err(error),
            }
            self.after = Some(scope.id());
            done.tenants += 1;
        }
        done.more = true;
        Ok(done)
    }

    async fn next_tenant(&self) -> Result<Option<TenantScope>, StoreError> {
        let first = self.page(&self.context.keys.tenants_after(self.after), 1).await?.into_iter().next();
        Ok(first.and_then(|row| self.context.keys.tenant_of(&row.key)))
    }

    /// False if the budget did not suffice.
    async fn collect_tenant(
        &self,
        scope: &TenantScope,
        now: i64,
        budget: &mut Budget,
        done: &mut Collected,
    ) -> Result<bool, StoreError> {
        Ok(self.collect_blobs(scope, now, budget, done).await?
            && self.collect_contents(scope, now, budget, done).await?)
    }

    /// Removes the records of blobs whose time of grace is over.
    async fn collect_blobs(
        &self,
        scope: &TenantScope,
        now: i64,
        budget: &mut Budget,
        done: &mut Collected,
    ) -> Result<bool, StoreError> {
        let mut due = scope.span(TenantFamily::BlobGarbage, &());
        let first_kept = now.saturating_sub(millis(BLOB_GRACE)).saturating_add(1);
        due.end = scope.key(TenantFamily::BlobGarbage, &(first_kept,)).into();
        loop {
            let rows = self.page(&due, PAGE_ROWS).await?;
            let Some(last) = rows.last() else { return Ok(true) };
            due.begin = after(&last.key);
            for row in rows {
                if !budget.take() {
                    return Ok(false);
                }
                done.blobs += usize::from(self.remove_blob(scope, &row.key, now).await?);
            }
        }
    }

    /// Removes the chunks of contents that were given up.
    async fn collect_contents(
        &self,
        scope: &TenantScope,
        now: i64,
        budget: &mut Budget,
        done: &mut Collected,
    ) -> Result<bool, StoreError> {
        let mut uploads = scope.span(TenantFamily::BlobUploads, &());
        loop {
            let rows = self.page(&uploads, PAGE_ROWS).await?;
            let Some(last) = rows.last() else { return Ok(true) };
            uploads.begin = after(&last.key);
            for row in rows {
                if !is_due(&UploadRecord::decode(&row.value)?, now) {
                    continue;
                }
                let (content,): (Uuid,) = scope.unpack(TenantFamily::BlobUploads, &row.key)?;
                while budget.take() {
                    match self.remove_chunks(scope, content, now).await? {
                        Removed::Some => {}
                        Removed::Last => done.contents += 1,
                        Removed::Nothing => break,
                    }
                }
                if budget.0 == 0 {
                    return Ok(false);
                }
            }
        }
    }

    /// Removes the record of the blob that an entry speaks of, unless somebody refers to it after all.
    async fn remove_blob(&self, scope: &TenantScope, entry: &[u8], now: i64) -> Result<bool, StoreError> {
        let (since, hash): (i64, Vec<u8>) = scope.unpack(TenantFamily::BlobGarbage, entry)?;
        let hash = &BlobHash::from_key(TenantFamily::BlobGarbage, hash)?;
        self.run(|transaction| async move {
            let Some(mut blob) = load::<Blob>(&transaction, &scope.blob(hash)).await? else {
                transaction.clear(entry)?;
                return Ok(false);
            };
            if blob.unreferenced_since != Some(since) {
                transaction.clear(entry)?;
                return Ok(false);
            }
            // Both reads are checked at commit: a reference that is being added makes this one try again.
            if references::is_referenced(&transaction, scope, hash).await? {
                references::set_unreferenced(&transaction, scope, hash, &mut blob, None)?;
                return Ok(false);
            }
            transaction.clear(scope.blob(hash))?;
            transaction.clear(entry)?;
            let ended = UploadRecord {
                started_at: blob.created_at,
                touched_at: now,
                chunks: blob.chunks,
                ended: true,
            };
            save(&transaction, scope.blob_upload(blob.content), &ended)?;
            Ok(true)
        })
        .await
    }

    /// Removes the last chunks of a content whose upload ended or is abandoned.
    async fn remove_chunks(
        &self,
        scope: &TenantScope,
        content: Uuid,
        now: i64,
    ) -> Result<Removed, StoreError> {
        self.run(|transaction| async move {
            let key = scope.blob_upload(content);
            let Some(mut upload) = load::<UploadRecord>(&transaction, &key).await? else {
                return Ok(Removed::Nothing);
            };
            if !is_due(&upload, now) {
                return Ok(Removed::Nothing);
            }
            let end = upload.chunks;
            upload.ended = true;
            upload.chunks = end.saturating_sub(REMOVED_CHUNKS);
            transaction
                .clear_range(scope.blob_chunk(content, upload.chunks), scope.blob_chunk(content, end))?;
            if upload.chunks > 0 {
                save(&transaction, key, &upload)?;
                return Ok(Removed::Some);
            }
            transaction.clear(key)?;
            Ok(Removed::Last)
        })
        .await
    }

    /// The first rows of a span. What they say is checked again by whoever acts on it.
    async fn page(&self, span: &KeySpan, limit: usize) -> Result<Vec<Row>, StoreError> {
        let read = &RangeRead::new(span.begin.as_slice(), span.end.as_slice(), limit).snapshot();
        self.run(|transaction| async move { Ok(transaction.range(read.clone()).await?.rows) }).await
    }

    async fn run<T, F, Fut>(&self, attempt: F) -> Result<T, StoreError>
    where
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        self.context.store.run(&self.context.idempotent, attempt).await
    }
}

/// What became of some chunks.
enum Removed {
    /// They went, others are left.
    Some,
    /// They were the last.
    Last,
    /// The content is gone, or its upload goes on.
    Nothing,
}

/// Whether nobody will add chunks to a content any more.
fn is_due(upload: &UploadRecord, now: i64) -> bool {
    upload.ended || upload.touched_at.saturating_add(millis(UPLOAD_ABANDONED)) <= now
}

/// The key just after another.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
