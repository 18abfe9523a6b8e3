//! Why a change was not made.

use super::FileError;
use crate::error::{StoreError, TransactionError};

/// Why a record was not written. Nothing was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpdateError {
    /// There is no such record, or not for this caller.
    #[error("there is no such record")]
    NotFound,
    /// The record has changed since the version the caller knows.
    #[error("the record has version {current} by now")]
    VersionMismatch {
        /// The version it has; 0 if there is no record.
        current: u64,
    },
    /// Another record has the name, address, path or id.
    #[error("another record has this name already")]
    Taken,
    /// The workspace is still being copied.
    #[error("the workspace is still being copied")]
    Forking,
    /// The user has as many as allowed.
    #[error("there are {limit} already, which is the most")]
    LimitReached {
        /// How many are allowed.
        limit: usize,
    },
    /// The tenant may not have so many files, or files so large.
    #[error("the tenant's quota is exceeded: it may have at most {limit} {what}")]
    QuotaExceeded {
        /// How much it may have.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The tenant has no blob with the content: upload it anew.
    #[error("the content is not stored")]
    NoContent,
    /// The tenant would be left without an owner who can log in.
    #[error("a tenant must keep an owner who can log in")]
    LastOwner,
    /// Who asks for it may not do this, whatever it is done to.
    #[error("the role does not allow this")]
    NotAllowed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UpdateError {
    /// As an error of the store, where nothing can be absent or taken unless the store is damaged.
    pub(crate) fn into_store_error(self, family: &'static str) -> StoreError {
        match self {
            Self::Store(error) => error,
            other => StoreError::Record { family, reason: other.to_string() },
        }
    }
}

impl From<FileError> for UpdateError {
    /// Of files that go with their workspace: nothing about them can be amiss but in the store.
    fn from(error: FileError) -> Self {
        Self::Store(error.into_store_error())
    }
}

impl TransactionError for UpdateError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
