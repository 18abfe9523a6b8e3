//! The records of blobs and uploads.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::hash::BlobHash;
use crate::error::StoreError;
use crate::keyspace::{Key, TenantFamily, TenantScope};
use crate::records::Record;
use crate::transaction::Transaction;

/// A blob: where its content is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    /// Its length in bytes.
    pub(crate) size: u64,
    /// The id its chunks are under.
    pub(crate) content: Uuid,
    /// How many chunks there are.
    pub(crate) chunks: u32,
    /// Unix milliseconds.
    pub(crate) created_at: i64,
    /// Unix milliseconds; set while it has no reference. An entry in `blob_garbage` says the same.
    pub(crate) unreferenced_since: Option<i64>,
}

/// A content that no blob names: one being uploaded, or being removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRecord {
    /// Unix milliseconds.
    pub(crate) started_at: i64,
    /// Unix milliseconds; moves with every batch of chunks.
    pub(crate) touched_at: i64,
    /// Chunks from here on do not exist.
    pub(crate) chunks: u32,
    /// True once nobody may add chunks: it is removed, from its end.
    pub(crate) ended: bool,
}

impl Record for Blob {
    const FAMILY: &'static str = "blobs";
}

impl Record for UploadRecord {
    const FAMILY: &'static str = "blob_uploads";
}

/// The keys of the blob families.
impl TenantScope {
    pub(super) fn blob(&self, hash: &BlobHash) -> Key {
        self.key(TenantFamily::Blobs, &(hash.0.as_slice(),))
    }

    pub(super) fn blob_reference(&self, hash: &BlobHash, owner: Uuid) -> Key {
        self.key(TenantFamily::BlobReferences, &(hash.0.as_slice(), owner))
    }

    pub(super) fn blob_chunk(&self, content: Uuid, number: u32) -> Key {
        self.key(TenantFamily::BlobContents, &(content, number))
    }

    pub(super) fn blob_upload(&self, content: Uuid) -> Key {
        self.key(TenantFamily::BlobUploads, &(content,))
    }

    pub(super) fn blob_garbage(&self, since: i64, hash: &BlobHash) -> Key {
        self.key(TenantFamily::BlobGarbage, &(since, hash.0.as_slice()))
    }
}

impl BlobHash {
    /// The hash that was found in a key.
    pub(super) fn from_key(family: TenantFamily, bytes: Vec<u8>) -> Result<Self, StoreError> {
        let length = bytes.len();
        bytes.try_into().map(BlobHash).map_err(|_| StoreError::Record {
            family: family.name(),
            reason: format!("the hash in its key has {length} bytes"),
        })
    }
}

pub(super) async fn load<R: Record>(transaction: &Transaction, key: &Key) -> Result<Option<R>, StoreError> {
    transaction.get(key).await?.map(|bytes| R::decode(&bytes)).transpose()
}

pub(super) fn save<R: Record>(transaction: &Transaction, key: Key, record: &R) -> Result<(), StoreError> {
    transaction.set(key, record.encode()?)
}
