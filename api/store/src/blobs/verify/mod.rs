//! Checking that a tenant's blobs are whole: for `store verify`.
//!
//! Everything is read in pages, not in one snapshot. What looks wrong is looked at once more in one transaction, so
//! that uploads and removals that happen meanwhile are not taken for damage.

mod check;

use std::collections::HashSet;

use uuid::Uuid;

use self::check::Check;
use super::BlobHash;
use crate::error::StoreError;
use crate::keyspace::TenantScope;
use crate::store::Store;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Records, references, and the number and lengths of chunks.
    Shape,
    /// Also every chunk's digest and every blob's SHA-256.
    Content,
}

/// Something wrong with a tenant's blobs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {tenant}: {kind}")]
pub struct BlobFault {
    /// Whose.
    pub tenant: Uuid,
    /// What.
    pub kind: BlobFaultKind,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobFaultKind {
    /// A record or a key cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A blob's content is not what its record says.
    #[error("blob {hash}: {reason}")]
    Damaged {
        /// Which blob.
        hash: BlobHash,
        /// What is wrong with it.
        reason: String,
    },
    /// There are chunks that neither a blob nor an upload names.
    #[error("content {content} belongs to no blob and to no upload")]
    Stray {
        /// The content.
        content: Uuid,
    },
    /// A reference names a blob that does not exist.
    #[error("{owner} refers to blob {hash}, which does not exist")]
    Dangling {
        /// The blob.
        hash: BlobHash,
        /// Who refers to it.
        owner: Uuid,
    },
    /// A blob's record says another thing about its references than there is.
    #[error("blob {hash}: {reason}")]
    Garbage {
        /// Which blob.
        hash: BlobHash,
        /// What disagrees.
        reason: &'static str,
    },
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlobCounts {
    /// Blobs.
    pub blobs: u64,
    /// Chunks of blobs.
    pub chunks: u64,
    /// References.
    pub references: u64,
    /// Contents being uploaded or removed.
    pub uploads: u64,
}

/// Checks a tenant's blobs and tells `report` of every fault. Holds about 32 bytes of memory for each blob.
///
/// # Errors
///
/// The store's; that a record cannot be read is a fault and no error.
pub async fn verify_tenant(
    store: &Store,
    scope: &TenantScope,
    depth: Depth,
    report: impl FnMut(BlobFault),
) -> Result<BlobCounts, StoreError> {
    let mut check =
        Check { store, scope, depth, report, counts: BlobCounts::default(), contents: HashSet::new() };
    check.blobs().await?;
    check.references().await?;
    check.garbage().await?;
    check.uploads().await?;
    check.strays().await?;
    Ok(check.counts)
}
