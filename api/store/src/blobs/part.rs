//! What an upload writes in one transaction: some of its chunks, and that it goes on or is done.

use bytes::Bytes;
use uuid::Uuid;

use super::records::{Blob, UploadRecord, load, save};
use super::{BlobError, BlobHash, references};
use crate::error::StoreError;
use crate::keyspace::TenantScope;
use crate::store::{RetryPolicy, Store};
use crate::transaction::Transaction;

/// Some chunks in a row.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// The content they belong to.
    pub(super) content: Uuid,
    /// Whether parts were written before, so that there must be an upload record.
    pub(super) begun: bool,
    /// When the upload began, in Unix milliseconds.
    pub(super) started_at: i64,
    /// Unix milliseconds.
    pub(super) now: i64,
    /// The first chunk's number.
    pub(super) first: u32,
    /// The number after the last chunk's.
    pub(super) end: u32,
}

impl Part {
    /// Writes the chunks, and that the upload goes on. Running it twice is as good as once.
    pub(super) async fn write(
        self,
        store: &Store,
        policy: &RetryPolicy,
        scope: &TenantScope,
        values: &[Bytes],
    ) -> Result<(), BlobError> {
        store
            .run(policy, |transaction| async move {
                if self.begun {
                    self.expect_upload(&transaction, scope).await?;
                } else {
                    // Counted as read, so that an attempt whose answer was lost cannot commit after the next one:
                    // were the blob finished by then, the record would have its chunks collected.
                    let key = scope.blob_upload(self.content);
                    transaction.add_read_conflict(key.as_ref(), &[key.as_ref(), &[0]].concat())?;
                }
                self.set_chunks(&transaction, scope, values)?;
                self.save_upload(&transaction, scope, self.end, false)?;
                Ok(())
            })
            .await
    }

    /// Writes the last chunks and makes the blob visible; or, where the tenant has it already, gives this content up.
    pub(super) async fn finish(
        self,
        transaction: &Transaction,
        scope: &TenantScope,
        values: &[Bytes],
        hash: &BlobHash,
        blob: &Blob,
    ) -> Result<(), BlobError> {
        if self.begun {
            self.expect_upload(transaction, scope).await?;
        }
        let key = scope.blob(hash);
        if let Some(mut existing) = load::<Blob>(transaction, &key).await? {
            if self.begun {
                self.save_upload(transaction, scope, self.first, true)?;
            }
            // Without a reference it begins its time of grace anew.
            if existing.unreferenced_since.is_some() {
                references::set_unreferenced(transaction, scope, hash, &mut existing, Some(self.now))?;
            }
            return Ok(());
        }
        if self.begun {
            transaction.clear(scope.blob_upload(self.content))?;
        }
        self.set_chunks(transaction, scope, values)?;
        save(transaction, key, blob)?;
        if let Some(since) = blob.unreferenced_since {
            transaction.set(scope.blob_garbage(since, hash), Bytes::new())?;
        }
        Ok(())
    }

    /// Fails if the collector has taken the upload.
    async fn expect_upload(&self, transaction: &Transaction, scope: &TenantScope) -> Result<(), BlobError> {
        match load::<UploadRecord>(transaction, &scope.blob_upload(self.content)).await? {
            Some(UploadRecord { ended: false, .. }) => Ok(()),
            Some(_) | None => Err(BlobError::Expired),
        }
    }

    fn set_chunks(
        &self,
        transaction: &Transaction,
        scope: &TenantScope,
        values: &[Bytes],
    ) -> Result<(), StoreError> {
        (self.first..).zip(values).try_for_each(|(number, value)| {
            transaction.set(scope.blob_chunk(self.content, number), value.clone())
        })
    }

    fn save_upload(
        &self,
        transaction: &Transaction,
        scope: &TenantScope,
        chunks: u32,
        ended: bool,
    ) -> Result<(), StoreError> {
        let upload = UploadRecord { started_at: self.started_at, touched_at: self.now, chunks, ended };
        save(transaction, scope.blob_upload(self.content), &upload)
    }
}
