//! Blobs: writing, reading, collecting, checking.

mod collection;
mod reading;
mod uploads;
mod verification;

use std::sync::Arc;

use bytes::Bytes;
use coditect_auth::{Clock, Entropy, ManualClock};
use coditect_store::blobs::{
    BlobError, BlobFault, BlobHash, BlobRef, Blobs, CHUNK_BYTES, Collected, Depth, MAX_READ_BUFFER_BYTES,
    MAX_UPLOAD_BUFFER_BYTES, Upload, add_reference, remove_reference, verify_tenant,
};
use coditect_store::contract::Row;
use coditect_store::{KeySpan, Keyspace, RetryPolicy, Store, TenantScope};
use uuid::Uuid;

use crate::support::{Fixture, NOW};

/// Bytes in one transaction of an upload: 16 chunks.
const BATCH_BYTES: usize = 16 * CHUNK_BYTES;
const MINUTE: i64 = 60;

/// Blobs in a store of their own, and one tenant.
struct Rig {
    f: Fixture,
    clock: Arc<ManualClock>,
    blobs: Blobs,
    keys: Keyspace,
    tenant: Uuid,
}

impl Rig {
    fn new() -> Self {
        Self::over(Fixture::new())
    }

    fn over(f: Fixture) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let keys = Keyspace::new("test");
        let blobs = Blobs::new(f.store.clone(), keys.clone(), clock.clone(), f.entropy.clone());
        let tenant = f.entropy.uuid();
        Self { f, clock, blobs, keys, tenant }
    }

    fn scope(&self) -> TenantScope {
        self.keys.tenant(self.tenant)
    }

    /// Uploads a content, without a reference.
    async fn put(&self, content: &[u8]) -> BlobRef {
        fill(self.blobs.upload(self.tenant), content).await.finish().await.unwrap()
    }

    /// Uploads a content, with a reference.
    async fn put_for(&self, owner: Uuid, content: &[u8]) -> BlobRef {
        let scope = &self.scope();
        fill(self.blobs.upload(self.tenant), content)
            .await
            .finish_with(|transaction, blob| async move {
                add_reference(&transaction, scope, &blob.hash, owner).await
            })
            .await
            .unwrap()
    }

    /// Reads a blob to its end.
    async fn get(&self, hash: &BlobHash) -> Result<Vec<u8>, BlobError> {
        let Some(mut reader) = self.blobs.open(self.tenant, hash).await? else {
            return Err(BlobError::NotFound { hash: *hash });
        };
        let mut content = Vec::new();
        while let Some(chunk) = reader.next_chunk().await? {
            assert!(!chunk.is_empty() && reader.buffered() <= MAX_READ_BUFFER_BYTES);
            content.extend_from_slice(&chunk);
        }
        assert!(reader.next_chunk().await?.is_none(), "the end stays the end");
        Ok(content)
    }

    async fn refer(&self, hash: &BlobHash, owner: Uuid) -> Result<BlobRef, BlobError> {
        let scope = &self.scope();
        let add = |t| async move { add_reference(&t, scope, hash, owner).await };
        self.f.store.run(&RetryPolicy::idempotent(), add).await
    }

    async fn unrefer(&self, hash: &BlobHash, owner: Uuid) -> bool {
        let (scope, now) = (&self.scope(), self.clock.now_millis());
        let remove = |t| async move { remove_reference(&t, scope, hash, owner, now).await };
        self.f.store.run(&RetryPolicy::idempotent(), remove).await.unwrap()
    }

    /// Collects until there is nothing left to do.
    async fn collect(&self) -> Collected {
        let mut collector = self.blobs.collector();
        let mut all = Collected::default();
        loop {
            let done = collector.collect(self.clock.now_millis()).await.unwrap();
            all.blobs += done.blobs;
            all.contents += done.contents;
            if !done.more {
                return all;
            }
        }
    }

    /// What is wrong with the tenant's blobs.
    async fn faults(&self, depth: Depth) -> Vec<BlobFault> {
        let mut faults = Vec::new();
        verify_tenant(&self.f.store, &self.scope(), depth, |fault| faults.push(fault)).await.unwrap();
        faults
    }

    /// The rows of a family, of all tenants.
    async fn rows(&self, family: &str) -> Vec<Row> {
        rows(&self.f.store, family).await
    }
}

async fn rows(store: &Store, family: &str) -> Vec<Row> {
    let name = [b"\x02", family.as_bytes(), b"\0"].concat();
    let all = store.scan(KeySpan { begin: vec![0], end: vec![0xff] }).rows().await.unwrap();
    all.into_iter().filter(|row| row.key.windows(name.len()).any(|part| part == name)).collect()
}

/// Writes a key as nobody should.
async fn tamper(store: &Store, key: &[u8], value: Option<Bytes>) {
    let transaction = store.begin();
    match value {
        Some(value) => transaction.set(key, value).unwrap(),
        None => transaction.clear(key).unwrap(),
    }
    transaction.commit().await.unwrap();
}

/// Writes a content in pieces of awkward lengths.
async fn fill(mut upload: Upload, mut content: &[u8]) -> Upload {
    let mut length = 1;
    while !content.is_empty() {
        let (piece, rest) = content.split_at(length.min(content.len()));
        upload.write(piece).await.unwrap();
        assert!(upload.buffered() <= MAX_UPLOAD_BUFFER_BYTES);
        content = rest;
        length = length * 3 % 1_000_003;
    }
    upload
}

/// Bytes that never repeat themselves at a chunk's distance.
fn content(entropy: &dyn Entropy, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    entropy.fill(&mut bytes);
    bytes
}
