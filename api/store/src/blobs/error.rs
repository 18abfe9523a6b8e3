//! What can go wrong with a blob.

use super::hash::BlobHash;
use crate::error::{StoreError, TransactionError};

/// Why a blob could not be written, read or referred to.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// The store's own error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More bytes came than a blob may have.
    #[error("the content is too large: at most {limit} bytes are allowed")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The upload rested for longer than [`super::UPLOAD_ABANDONED`], and what it had written was removed.
    #[error("the upload was abandoned for too long and has been removed; begin anew")]
    Expired,
    /// A call to [`super::Upload::write`] was dropped before it returned: how much it took is not known.
    #[error("the upload cannot go on: a write was cut off in its middle")]
    Interrupted,
    /// The tenant has no such blob, or no more.
    #[error("there is no blob {hash}")]
    NotFound {
        /// What was looked for.
        hash: BlobHash,
    },
    /// The blob was removed while it was read: nothing referred to it for [`super::BLOB_GRACE`].
    #[error("blob {hash} was removed while it was read")]
    Gone {
        /// What was read.
        hash: BlobHash,
    },
    /// The range to read does not lie in the blob.
    #[error("the range {begin}..{end} does not lie in a blob of {size} bytes")]
    OutOfRange {
        /// The first byte asked for.
        begin: u64,
        /// The first byte after those asked for.
        end: u64,
        /// The blob's length in bytes.
        size: u64,
    },
    /// What is stored is not what was written.
    #[error("blob {hash} is damaged: {reason}. Restore it from a backup")]
    Damaged {
        /// Which blob.
        hash: BlobHash,
        /// What is wrong with it.
        reason: String,
    },
}

impl TransactionError for BlobError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
