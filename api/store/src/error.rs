//! What a transaction can fail with, and whether trying again can help.
//!
//! The variants mirror FoundationDB's error codes where it has one (named in each variant), so that both
//! backends fail alike. The kind is never flattened into a string: retry decisions read it.

use std::sync::Arc;

/// Whether the same transaction, run again from its start, may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It did not commit and a new attempt may.
    Safe,
    /// It may have committed: a new attempt is right only if the transaction is idempotent.
    IfIdempotent,
    /// It did not commit and never will.
    No,
}

/// Why a transaction failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Something the transaction read was written by another one that committed first (1020, not_committed).
    #[error("the transaction conflicts with another one; run it again")]
    Conflict,
    /// The transaction's read version is older than 5 s (1007, transaction_too_old).
    #[error("the transaction is older than 5 s; run it again, in smaller pieces if this repeats")]
    TooOld,
    /// The commit's result was lost: it may have happened (1021, commit_unknown_result).
    #[error("the commit's result is unknown: it may have happened")]
    Unknown,
    /// The backend did not answer within the transaction's time limit (1031, transaction_timed_out). Nothing
    /// was committed; a commit that is cut off reports [`StoreError::Unknown`] instead.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The backend cannot serve the transaction now but may soon: it recovers, is behind, or throttles
    /// (FoundationDB's errors that are retryable and not committed).
    #[error("the store cannot serve this now: {source}")]
    Unavailable {
        /// The backend's own error.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The commit queue stayed full for as long as the transaction may live.
    #[error("the store is overloaded: the commit queue is full; try again later")]
    Overloaded,
    /// A key is longer than [`crate::limits::MAX_KEY_BYTES`] (2102, key_too_large).
    #[error("a key has {size} bytes, at most {} are allowed", crate::limits::MAX_KEY_BYTES)]
    KeyTooLarge {
        /// The key's length in bytes.
        size: usize,
    },
    /// A value is longer than [`crate::limits::MAX_VALUE_BYTES`] (2103, value_too_large).
    #[error("a value has {size} bytes, at most {} are allowed", crate::limits::MAX_VALUE_BYTES)]
    ValueTooLarge {
        /// The value's length in bytes.
        size: usize,
    },
    /// Keys, values and conflict ranges add up to more than
    /// [`crate::limits::MAX_TRANSACTION_BYTES`] (2101, transaction_too_large).
    #[error(
        "a transaction touches {size} bytes, at most {} are allowed",
        crate::limits::MAX_TRANSACTION_BYTES
    )]
    TransactionTooLarge {
        /// The transaction's size in bytes, as [`crate::limits`] counts it.
        size: usize,
    },
    /// A key starts with `0xff`, which FoundationDB keeps for itself (2004, key_outside_legal_range).
    #[error("a key starts with 0xff, which is reserved")]
    KeyReserved,
    /// A range ends before it begins (2005, inverted_range).
    #[error("a range ends before it begins")]
    InvertedRange,
    /// A versionstamp's place lies outside its key or value (2000, client_invalid_operation).
    #[error("a versionstamp at offset {offset} does not fit into {size} bytes")]
    VersionstampOffset {
        /// Where the stamp should have gone.
        offset: usize,
        /// The length of the key or value, in bytes.
        size: usize,
    },
    /// The transaction read a key or range that its own versionstamped write may touch: nobody knows that
    /// write's place or value before the commit (1036, accessed_unreadable).
    #[error("a versionstamped write of the same transaction cannot be read before its commit")]
    Unreadable,
    /// A watch's transaction was dropped or did not commit (1101, operation_cancelled).
    #[error("the watch never began: its transaction did not commit")]
    Cancelled,
    /// [`crate::limits::MAX_WATCHES`] keys are being watched (1032, too_many_watches).
    #[error("too many watches: at most {} may be open", crate::limits::MAX_WATCHES)]
    TooManyWatches,
    /// The transaction was used after `commit` began (2017, used_during_commit).
    #[error("the transaction was already committed")]
    Used,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// [`crate::Store::run`] ran out of attempts or time; the last attempt did not commit.
    #[error("gave up after {attempts} attempts: {last}")]
    Exhausted {
        /// How many attempts were made.
        attempts: u32,
        /// What the last attempt failed with.
        last: Box<StoreError>,
    },
    /// The backend itself failed, and the transaction did not commit.
    #[error("the store failed while it {doing}: {source}")]
    Backend {
        /// What was being done, as a past-tense phrase.
        doing: &'static str,
        /// The backend's own error.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A stored value cannot be understood: damaged, or written by a newer version of this program.
    #[error("the stored {family} record cannot be read: {reason}")]
    Record {
        /// The key family of the record.
        family: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An index entry and the record it stands for disagree.
    #[error("the index {family} names a record that does not exist")]
    Orphan {
        /// The key family of the index.
        family: &'static str,
    },
}

impl StoreError {
    /// Whether a new attempt can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Conflict
            | Self::TooOld
            | Self::Overloaded
            | Self::TimedOut
            | Self::Unavailable { .. }
            | Self::Cancelled => Retry::Safe,
            Self::Unknown => Retry::IfIdempotent,
            _ => Retry::No,
        }
    }

    /// True if the transaction may have committed all the same.
    pub fn maybe_committed(&self) -> bool {
        self.retry() == Retry::IfIdempotent
    }

    pub(crate) fn backend(
        doing: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Backend { doing, source: Arc::new(source) }
    }
}

/// An error a transaction closure may return: either the store's, or the caller's own reason to stop.
///
/// [`crate::Store::run`] retries on the first kind only.
pub trait TransactionError: From<StoreError> {
    /// The store's error inside, if that is what it is.
    fn store_error(&self) -> Option<&StoreError>;
}

impl TransactionError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}
