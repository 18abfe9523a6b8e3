//! FoundationDB's error codes as the contract's errors. Pure, so that it is tested without the client library.
//!
//! Source: `flow/include/flow/error_definitions.h`, and `fdb_error_predicate` in the C API's documentation.

use std::sync::Arc;

use crate::error::StoreError;
use crate::limits::{MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES};

/// An error the client library gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("FoundationDB error {code}: {message}")]
pub struct Fault {
    /// The code, as FoundationDB lists it.
    pub code: i32,
    /// The client library's words for it.
    pub message: &'static str,
    /// FoundationDB's predicate `MAYBE_COMMITTED`.
    pub maybe_committed: bool,
    /// FoundationDB's predicate `RETRYABLE_NOT_COMMITTED`.
    pub retryable_not_committed: bool,
}

/// What a transaction was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Beginning.
    Begin,
    /// Asking for the read version.
    ReadVersion,
    /// Reading a key.
    ReadKey,
    /// Reading a range.
    ReadRange,
    /// Adding a read conflict range.
    AddReadConflict,
    /// Waiting for a key to change, after its commit.
    Watch,
    /// Committing without having written.
    CommitReads,
    /// Committing writes.
    Commit,
}

impl Doing {
    fn phrase(self) -> &'static str {
        match self {
            Self::Begin => "began a transaction",
            Self::ReadVersion => "asked for a read version",
            Self::ReadKey => "read a key",
            Self::ReadRange => "read a range",
            Self::AddReadConflict => "noted a range as read",
            Self::Watch => "watched a key",
            Self::CommitReads | Self::Commit => "committed",
        }
    }

    /// The error where no answer came in time.
    pub(super) fn unanswered(self) -> StoreError {
        if self == Self::Commit { StoreError::Unknown } else { StoreError::TimedOut }
    }
}

impl Fault {
    /// What the fault means to the transaction.
    ///
    /// An error that cuts a commit off (timed out, cancelled) leaves open whether it had happened already. The
    /// library tells no sizes, so those reported are the least that break the limit.
    pub(super) fn during(self, doing: Doing) -> StoreError {
        match self.code {
            1007 => StoreError::TooOld,
            1020 => StoreError::Conflict,
            1021 | 1022 if doing == Doing::Commit => StoreError::Unknown,
            1025 | 1101 if doing != Doing::Commit => StoreError::Cancelled,
            1025 | 1101 => StoreError::Unknown,
            1031 => doing.unanswered(),
            1032 => StoreError::TooManyWatches,
            1036 => StoreError::Unreadable,
            2004 => StoreError::KeyReserved,
            2005 => StoreError::InvertedRange,
            2017 => StoreError::Used,
            2101 => StoreError::TransactionTooLarge { size: MAX_TRANSACTION_BYTES + 1 },
            2102 => StoreError::KeyTooLarge { size: MAX_KEY_BYTES + 1 },
            2103 => StoreError::ValueTooLarge { size: MAX_VALUE_BYTES + 1 },
            _ if self.maybe_committed && doing == Doing::Commit => StoreError::Unknown,
            // What was not a commit cannot have committed.
            _ if self.maybe_committed || self.retryable_not_committed => {
                StoreError::Unavailable { source: Arc::new(self) }
            }
            _ => StoreError::backend(doing.phrase(), self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::error::Retry;

    /// A fault with the predicates that the client library gives to its code.
    fn fault(code: i32) -> Fault {
        let maybe_committed = [1021, 1039].contains(&code);
        let retryable_not_committed = [1007, 1009, 1020, 1037, 1038, 1042, 1051, 1213].contains(&code);
        Fault { code, message: "words", maybe_committed, retryable_not_committed }
    }

    #[cfg(feature = "foundationdb")]
    #[test]
    fn the_client_library_gives_these_predicates() {
        for code in 1000..2200 {
            let real = Fault::from(foundationdb::FdbError::from_code(code));
            let here = Fault { message: real.message, ..fault(code) };
            assert_eq!(here.maybe_committed, real.maybe_committed, "{real}");
            if here.retryable_not_committed {
                assert!(real.retryable_not_committed, "{real}");
            }
        }
    }

    const ALL: [Doing; 8] = [
        Doing::Begin,
        Doing::ReadVersion,
        Doing::ReadKey,
        Doing::ReadRange,
        Doing::AddReadConflict,
        Doing::Watch,
        Doing::CommitReads,
        Doing::Commit,
    ];

    #[test]
    fn only_a_commit_of_writes_can_have_happened_without_anyone_knowing() {
        for code in [1021, 1025, 1031, 1039, 1101] {
            for doing in ALL {
                let unknown = matches!(fault(code).during(doing), StoreError::Unknown);
                assert_eq!(unknown, doing == Doing::Commit, "{code} during {doing:?}");
            }
        }
        assert!(matches!(fault(1022).during(Doing::Commit), StoreError::Unknown));
    }

    #[test]
    fn a_conflict_and_a_transaction_too_old_are_told_apart_and_both_run_again() {
        for doing in ALL {
            assert!(matches!(fault(1020).during(doing), StoreError::Conflict));
            assert!(matches!(fault(1007).during(doing), StoreError::TooOld));
            assert_eq!(fault(1007).during(doing).retry(), Retry::Safe);
        }
    }

    #[test]
    fn reads_that_are_cut_off_say_how() {
        assert!(matches!(fault(1031).during(Doing::ReadKey), StoreError::TimedOut));
        assert!(matches!(fault(1025).during(Doing::ReadRange), StoreError::Cancelled));
        assert!(matches!(fault(1036).during(Doing::ReadKey), StoreError::Unreadable));
        assert!(matches!(fault(1032).during(Doing::Watch), StoreError::TooManyWatches));
        assert!(matches!(fault(2017).during(Doing::ReadKey), StoreError::Used));
    }

    #[test]
    fn limits_are_reported_as_broken() {
        let large = fault(2101).during(Doing::Commit);
        assert!(matches!(large, StoreError::TransactionTooLarge { size } if size > MAX_TRANSACTION_BYTES));
        assert!(
            matches!(fault(2102).during(Doing::Commit), StoreError::KeyTooLarge { size } if size > MAX_KEY_BYTES)
        );
        assert!(
            matches!(fault(2103).during(Doing::Commit), StoreError::ValueTooLarge { size } if size > MAX_VALUE_BYTES)
        );
        assert!(matches!(fault(2004).during(Doing::Commit), StoreError::KeyReserved));
        assert!(matches!(fault(2005).during(Doing::ReadRange), StoreError::InvertedRange));
    }

    #[test]
    fn what_a_cluster_recovers_from_is_retried_and_what_it_does_not_is_not() {
        for code in [1009, 1037, 1038, 1042, 1051, 1213] {
            let error = fault(code).during(Doing::Commit);
            assert!(matches!(error, StoreError::Unavailable { .. }), "{code}: {error:?}");
            assert_eq!(error.retry(), Retry::Safe);
        }
        let error = fault(2000).during(Doing::ReadKey);
        assert_eq!(error.retry(), Retry::No);
        let source = error.source().map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("FoundationDB error 2000: words"), "the cause is kept");
        assert!(error.to_string().contains("read a key"), "{error}");
    }
}
