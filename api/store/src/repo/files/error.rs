//! Why something about files was not done.

use crate::blobs::{BlobError, BlobHash};
use crate::error::{StoreError, TransactionError};
use crate::file_path::PathProblem;
use crate::repo::UpdateError;

/// Why files were not changed. Nothing was, by the transaction that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FileError {
    /// There is no such workspace.
    #[error("there is no such workspace")]
    NoWorkspace,
    /// The workspace is still being copied.
    #[error("the workspace is still being copied")]
    Forking,
    /// There is no such file, directory or version.
    #[error("there is no such file")]
    NotFound,
    /// No file may have such a path.
    #[error(transparent)]
    Path(#[from] PathProblem),
    /// What is at the path is not what the caller expects.
    #[error("the file is not the one expected")]
    Precondition {
        /// What is there; absent if nothing is.
        current: Option<BlobHash>,
    },
    /// A file would lie below another one: what shall be a directory is a file, or the other way round.
    #[error("`{path}` is {}", if *.is_file { "a file, and cannot be a directory too" } else { "a directory, and cannot be a file too" })]
    Occupied {
        /// Where.
        path: String,
        /// What is there.
        is_file: bool,
    },
    /// A file that shall not be replaced is where another one shall go.
    #[error("there is a file at `{path}` already")]
    Taken {
        /// Where.
        path: String,
    },
    /// A directory would be moved into itself, or onto one it lies in.
    #[error("a directory cannot be moved into itself or onto one that it lies in")]
    Nested,
    /// The tenant may not have so much.
    #[error("the tenant's quota is exceeded: it may have at most {limit} {what}")]
    QuotaExceeded {
        /// How much it may have.
        limit: u64,
        /// Of what: `bytes of files and their versions`, or `files`.
        what: &'static str,
    },
    /// The content could not be written, or the tenant does not have it.
    #[error(transparent)]
    Blob(BlobError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FileError {
    /// As an error of the store, where nothing can be amiss unless the store is damaged.
    pub(crate) fn into_store_error(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            other => StoreError::Record { family: "files", reason: other.to_string() },
        }
    }
}

impl From<BlobError> for FileError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Store(error) => Self::Store(error),
            error => Self::Blob(error),
        }
    }
}

impl From<UpdateError> for FileError {
    /// Of records that only this code writes: what was looked up in the same transaction is what it was.
    fn from(error: UpdateError) -> Self {
        Self::Store(error.into_store_error("files"))
    }
}

impl TransactionError for FileError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
