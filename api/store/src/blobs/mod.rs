//! Blobs: file contents of up to 256 MiB, found by the SHA-256 of what they hold.
//!
//! - A tenant that stores the same content twice has it once. Tenants share nothing: what one of them has can be
//!   seen by another neither in an answer nor in how long it takes, because no key of another is ever looked at.
//! - An [`Upload`] writes chunks under a fresh content id, in several transactions, while nobody can see them. Its
//!   last transaction makes the blob visible, together with whatever the caller writes in it.
//! - Chunks are never changed, so a [`BlobReader`] sees one content or, once it was collected, [`BlobError::Gone`].
//! - A blob is kept for as long as it has a reference ([`add_reference`]), and [`BLOB_GRACE`] longer. The
//!   [`Collector`] removes others, and what uploads left behind that were not gone on with.
//!
//! In the store: `blobs` (hash → [`records::Blob`]) names the content; `blob_contents` (content, number) holds its
//! chunks; `blob_uploads` (content) stands for a content that no blob names: one being uploaded or being removed.
//! `blob_references` (hash, owner) are the references; a blob without any has one entry in `blob_garbage`.

mod chunk;
mod collect;
mod error;
mod hash;
mod part;
mod read;
mod records;
mod references;
mod upload;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use coditect_auth::{Clock, Entropy};
use uuid::Uuid;

pub use self::chunk::CHUNK_BYTES;
pub use self::collect::{Collected, Collector};
pub use self::error::BlobError;
pub use self::hash::BlobHash;
pub use self::read::{BlobReader, MAX_READ_BUFFER_BYTES};
pub(crate) use self::references::add_reference_from;
pub use self::references::{add_reference, is_referenced, remove_reference};
pub use self::upload::{MAX_UPLOAD_BUFFER_BYTES, Upload};
pub use self::verify::{BlobCounts, BlobFault, BlobFaultKind, Depth, verify_tenant};
use crate::keyspace::{Keyspace, TenantScope};
use crate::store::{RetryPolicy, Store};

/// The largest blob, in bytes.
pub const MAX_BLOB_BYTES: u64 = 256 << 20;
/// How long an upload may rest before it counts as abandoned.
pub const UPLOAD_ABANDONED: Duration = Duration::from_secs(60 * 60);
/// How long a blob stays after its last reference went, so that those who opened it before can read on.
pub const BLOB_GRACE: Duration = Duration::from_secs(10 * 60);

/// A blob that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRef {
    /// What it is found by.
    pub hash: BlobHash,
    /// Its length in bytes.
    pub size: u64,
}

/// The blobs of all tenants in one store. Clones share it.
#[derive(Clone)]
pub struct Blobs {
    context: Arc<Context>,
    max_bytes: u64,
}

/// What uploads, readers and the collector need.
struct Context {
    store: Store,
    keys: Keyspace,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// For transactions whose second run changes nothing.
    idempotent: RetryPolicy,
}

impl Blobs {
    /// The blobs in `store`, below the key space's root.
    pub fn new(store: Store, keys: Keyspace, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let idempotent = RetryPolicy::idempotent();
        Self {
            context: Arc::new(Context { store, keys, clock, entropy, idempotent }),
            max_bytes: MAX_BLOB_BYTES,
        }
    }

    /// The same blobs, but uploads are refused beyond `bytes`; at most [`MAX_BLOB_BYTES`].
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes.min(MAX_BLOB_BYTES);
        self
    }

    /// Begins an upload. Nothing is written before the first bytes come.
    pub fn upload(&self, tenant: Uuid) -> Upload {
        Upload::new(Arc::clone(&self.context), self.scope(tenant), self.max_bytes)
    }

    /// Opens a tenant's blob; `None` if the tenant has none of this hash.
    ///
    /// # Errors
    ///
    /// As a read's.
    pub async fn open(&self, tenant: Uuid, hash: &BlobHash) -> Result<Option<BlobReader>, BlobError> {
        BlobReader::open(Arc::clone(&self.context), self.scope(tenant), *hash).await
    }

    /// The collector of what nobody refers to.
    pub fn collector(&self) -> Collector {
        Collector::new(Arc::clone(&self.context))
    }

    fn scope(&self, tenant: Uuid) -> TenantScope {
        self.context.keys.tenant(tenant)
    }
}

/// A duration in milliseconds, as times in records are.
const fn millis(duration: Duration) -> i64 {
    // Both constants above are far below what fits.
    duration.as_secs().cast_signed().saturating_mul(1000)
}
