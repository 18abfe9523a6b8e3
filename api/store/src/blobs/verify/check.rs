//! The passes over a tenant's blob families, and what each looks for.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{BlobCounts, BlobFault, BlobFaultKind, Depth};
use crate::blobs::chunk::{self, CHUNK_BYTES};
use crate::blobs::hash::HASH_BYTES;
use crate::blobs::records::{Blob, UploadRecord, load};
use crate::blobs::{BlobHash, references};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{KeySpan, TenantFamily, TenantScope};
use crate::records::Record;
use crate::store::{RetryPolicy, Store};
use crate::transaction::Transaction;

/// A check under way.
pub(super) struct Check<'a, R> {
    pub(super) store: &'a Store,
    pub(super) scope: &'a TenantScope,
    pub(super) depth: Depth,
    pub(super) report: R,
    pub(super) counts: BlobCounts,
    /// Contents that a blob or an upload names.
    pub(super) contents: HashSet<Uuid>,
}

impl<R: FnMut(BlobFault)> Check<'_, R> {
    /// Every blob has the content and the references its record says.
    pub(super) async fn blobs(&mut self) -> Result<(), StoreError> {
        let mut scan = self.store.scan(self.scope.span(TenantFamily::Blobs, &()));
        while let Some(page) = scan.next_page().await? {
            for row in page {
                let read = self.hash_of(&row.key).and_then(|hash| Ok((hash, Blob::decode(&row.value)?)));
                let Some((hash, blob)) = self.readable(read)? else { continue };
                self.counts.blobs += 1;
                self.contents.insert(blob.content);
                self.content(&hash, &blob).await?;
                self.state(&hash).await?;
            }
        }
        Ok(())
    }

    /// Compares a blob's chunks with its record.
    async fn content(&mut self, hash: &BlobHash, blob: &Blob) -> Result<(), StoreError> {
        let Some(reason) = self.content_fault(hash, blob).await? else { return Ok(()) };
        let key = &self.scope.blob(hash);
        let stored: Option<Blob> = self.once(|t| async move { load(&t, key).await }).await?;
        if stored.is_some_and(|stored| stored.content == blob.content) {
            self.fault(BlobFaultKind::Damaged { hash: *hash, reason });
        }
        Ok(())
    }

    async fn content_fault(&mut self, hash: &BlobHash, blob: &Blob) -> Result<Option<String>, StoreError> {
        if chunk::chunks_of(blob.size) != Some(blob.chunks) {
            return Ok(Some(format!("its record says {} bytes and {} chunks", blob.size, blob.chunks)));
        }
        let mut whole = Sha256::new();
        let mut next = 0_u32;
        let mut scan = self.store.scan(self.scope.span(TenantFamily::BlobContents, &(blob.content,)));
        while let Some(page) = scan.next_page().await? {
            for row in page {
                if next >= blob.chunks || row.key != self.scope.blob_chunk(blob.content, next).as_ref() {
                    return Ok(Some(format!(
                        "chunk {next} is missing, or there are more than {}",
                        blob.chunks
                    )));
                }
                let begin = u64::from(next) * CHUNK_BYTES as u64;
                let length = HASH_BYTES as u64 + (blob.size - begin).min(CHUNK_BYTES as u64);
                if row.value.len() as u64 != length {
                    return Ok(Some(format!("chunk {next} has {} bytes and not {length}", row.value.len())));
                }
                if self.depth == Depth::Content {
                    match chunk::open(blob.content, next, row.value) {
                        Ok(bytes) => whole.update(&bytes),
                        Err(fault) => return Ok(Some(format!("chunk {next}: {fault}"))),
                    }
                }
                next += 1;
                self.counts.chunks += 1;
            }
        }
        if next != blob.chunks {
            return Ok(Some(format!("it has {next} chunks and not {}", blob.chunks)));
        }
        let found = BlobHash::from(whole.finalize());
        Ok((self.depth == Depth::Content && found != *hash).then(|| format!("its SHA-256 is {found}")))
    }

    /// Compares what a blob's record says about references with what there is.
    async fn state(&mut self, hash: &BlobHash) -> Result<(), StoreError> {
        let scope = self.scope;
        let reason = self
            .once(|t| async move {
                let Some(blob) = load::<Blob>(&t, &scope.blob(hash)).await? else { return Ok(None) };
                let referenced = references::is_referenced(&t, scope, hash).await?;
                let entry = match blob.unreferenced_since {
                    Some(since) => t.get(scope.blob_garbage(since, hash)).await?.is_some(),
                    None => false,
                };
                Ok(match (blob.unreferenced_since, referenced) {
                    (Some(_), true) => Some("it has references, but its record says it has none"),
                    (None, false) => {
                        Some("it has no reference, but its record says it has: it is never collected")
                    }
                    (Some(_), false) if !entry => {
                        Some("it has no reference, but no entry for the collector: it is never collected")
                    }
                    _ => None,
                })
            })
            .await?;
        if let Some(reason) = reason {
            self.fault(BlobFaultKind::Garbage { hash: *hash, reason });
        }
        Ok(())
    }

    /// Every reference names a blob.
    pub(super) async fn references(&mut self) -> Result<(), StoreError> {
        let scope = self.scope;
        let mut scan = self.store.scan(scope.span(TenantFamily::BlobReferences, &()));
        while let Some(page) = scan.next_page().await? {
            for row in page {
                let family = TenantFamily::BlobReferences;
                let read = scope
                    .unpack::<(Vec<u8>, Uuid)>(family, &row.key)
                    .and_then(|(hash, owner)| Ok((BlobHash::from_key(family, hash)?, owner)));
                let Some((hash, owner)) = self.readable(read)? else { continue };
                self.counts.references += 1;
                let key = row.key.as_slice();
                let dangling = self
                    .once(|t| async move {
                        Ok(t.get(scope.blob(&hash)).await?.is_none() && t.get(key).await?.is_some())
                    })
                    .await?;
                if dangling {
                    self.fault(BlobFaultKind::Dangling { hash, owner });
                }
            }
        }
        Ok(())
    }

    /// Every entry for the collector names a blob without a reference.
    pub(super) async fn garbage(&mut self) -> Result<(), StoreError> {
        let scope = self.scope;
        let mut scan = self.store.scan(scope.span(TenantFamily::BlobGarbage, &()));
        while let Some(page) = scan.next_page().await? {
            for row in page {
                let family = TenantFamily::BlobGarbage;
                let read = scope
                    .unpack::<(i64, Vec<u8>)>(family, &row.key)
                    .and_then(|(since, hash)| Ok((since, BlobHash::from_key(family, hash)?)));
                let Some((since, hash)) = self.readable(read)? else { continue };
                let key = row.key.as_slice();
                let wrong = self
                    .once(|t| async move {
                        let blob: Option<Blob> = load(&t, &scope.blob(&hash)).await?;
                        let meant = blob.is_some_and(|blob| blob.unreferenced_since == Some(since));
                        Ok(!meant && t.get(key).await?.is_some())
                    })
                    .await?;
                if wrong {
                    let reason = "an entry for the collector disagrees with its record, or it does not exist";
                    self.fault(BlobFaultKind::Garbage { hash, reason });
                }
            }
        }
        Ok(())
    }

    /// Every upload can be read.
    pub(super) async fn uploads(&mut self) -> Result<(), StoreError> {
        let mut scan = self.store.scan(self.scope.span(TenantFamily::BlobUploads, &()));
        while let Some(page) = scan.next_page().await? {
            for row in page {
                let content = self.scope.unpack::<(Uuid,)>(TenantFamily::BlobUploads, &row.key);
                let read = content.and_then(|(content,)| UploadRecord::decode(&row.value).map(|_| content));
                let Some(content) = self.readable(read)? else { continue };
                self.counts.uploads += 1;
                self.contents.insert(content);
            }
        }
        Ok(())
    }

    /// Every content is named by a blob or an upload.
    pub(super) async fn strays(&mut self) -> Result<(), StoreError> {
        let scope = self.scope;
        let mut suspects = HashMap::new();
        let mut span = scope.span(TenantFamily::BlobContents, &());
        while let Some(key) = self.first_key(&span).await? {
            let read = scope.unpack::<(Uuid, u32)>(TenantFamily::BlobContents, &key);
            let Some((content, _)) = self.readable(read)? else {
                span.begin = [key.as_slice(), &[0]].concat();
                continue;
            };
            span.begin = scope.span(TenantFamily::BlobContents, &(content,)).end;
            if !self.contents.contains(&content) && !self.has_upload(content).await? {
                suspects.insert(content, key);
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        let mut scan = self.store.scan(scope.span(TenantFamily::Blobs, &()));
        while let Some(page) = scan.next_page().await? {
            for blob in page.iter().filter_map(|row| Blob::decode(&row.value).ok()) {
                suspects.remove(&blob.content);
            }
        }
        for (content, key) in suspects {
            let key = key.as_slice();
            let there = self.once(|t| async move { Ok(t.get(key).await?.is_some()) }).await?;
            if there && !self.has_upload(content).await? {
                self.fault(BlobFaultKind::Stray { content });
            }
        }
        Ok(())
    }

    async fn has_upload(&self, content: Uuid) -> Result<bool, StoreError> {
        self.once(|t| async move { Ok(t.get(self.scope.blob_upload(content)).await?.is_some()) }).await
    }

    async fn first_key(&self, span: &KeySpan) -> Result<Option<Vec<u8>>, StoreError> {
        let read = &RangeRead::new(span.begin.as_slice(), span.end.as_slice(), 1).snapshot();
        let rows = self.once(|t| async move { Ok(t.range(read.clone()).await?.rows) }).await?;
        Ok(rows.into_iter().next().map(|row| row.key))
    }

    async fn once<T, F, Fut>(&self, attempt: F) -> Result<T, StoreError>
    where
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        self.store.run(&RetryPolicy::default(), attempt).await
    }

    fn hash_of(&self, key: &[u8]) -> Result<BlobHash, StoreError> {
        let (hash,): (Vec<u8>,) = self.scope.unpack(TenantFamily::Blobs, key)?;
        BlobHash::from_key(TenantFamily::Blobs, hash)
    }

    /// Tells of what cannot be read, and goes on.
    fn readable<T>(&mut self, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error @ StoreError::Record { .. }) => {
                self.fault(BlobFaultKind::Unreadable(error.to_string()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn fault(&mut self, kind: BlobFaultKind) {
        (self.report)(BlobFault { tenant: self.scope.id(), kind });
    }
}
