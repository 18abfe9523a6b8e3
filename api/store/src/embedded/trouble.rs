//! When the disk fails: what callers are told, and when it is tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::contain::Damage;
use super::disk::{self, Failure, Operation};
use super::generation::Generation;
use crate::error::StoreError;

/// How long after a failure, or an attempt that failed, the disk is tried again.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Opening the database again reads all of it; so after one that took long the next waits this many times as
/// long.
const PROBE_SHARE: u32 = 10;

/// Why writes are refused. Said to whoever wants to write, by `ping`, and once in the log.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "the disk that holds {path} is full ({source}): free some space, writing goes on by itself then; reads go on"
    )]
    Full { path: PathBuf, source: Arc<std::io::Error> },
    #[error(
        "the disk that holds {path} fails to {operation} ({source}): check it, writing goes on by itself once it works; reads go on where they can"
    )]
    Failing { path: PathBuf, operation: &'static str, source: Arc<std::io::Error> },
    #[error(
        "{path} is damaged ({reason}): stop the program and restore the file from a backup; nothing more is written to it"
    )]
    Damaged { path: PathBuf, reason: String },
}

/// How a commit failed in redb.
#[derive(Debug)]
pub(super) enum Fault {
    /// The disk failed, or redb reports that it had.
    Disk,
    /// What redb read makes no sense.
    Damage(String),
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(_) | redb::Error::PreviousIo => Self::Disk,
            error => Self::Damage(error.to_string()),
        }
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage.to_string())
    }
}

/// Writes are refused since something failed.
pub(super) struct Trouble {
    /// What is to be repeated; `None` if nothing can help.
    pub(super) failure: Option<Failure>,
    pub(super) error: StoreError,
    /// When the disk may be tried again, on the store's clock.
    due: Duration,
}

impl Trouble {
    /// What `fault` in `generation` means; `opening_took` is how long it took to open it.
    pub(super) fn new(
        fault: Fault,
        generation: &Generation,
        path: PathBuf,
        now: Duration,
        opening_took: Duration,
    ) -> Self {
        let failure = generation.failure();
        let (refusal, failure) = match (fault, failure) {
            (Fault::Disk, Some(failure)) => (refusal(&failure, path), Some(failure)),
            (Fault::Disk, None) => {
                (Refusal::Damaged { path, reason: "redb reports an I/O error of its own".into() }, None)
            }
            (Fault::Damage(reason), _) => (Refusal::Damaged { path, reason }, None),
        };
        let error = StoreError::backend("wrote a commit", refusal);
        Self { failure, error, due: now + PROBE_INTERVAL.max(opening_took * PROBE_SHARE) }
    }

    /// True if the disk is to be tried again now.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.failure.is_some() && now >= self.due
    }

    /// An attempt failed; it had taken `took`.
    pub(super) fn postpone(&mut self, now: Duration, took: Duration) {
        self.due = now + PROBE_INTERVAL.max(took * PROBE_SHARE);
    }

    /// Opening the file again found it damaged: nothing can help any more.
    pub(super) fn give_up(&mut self, path: PathBuf, reason: String) {
        self.failure = None;
        self.error = StoreError::backend("wrote a commit", Refusal::Damaged { path, reason });
    }
}

fn refusal(failure: &Failure, path: PathBuf) -> Refusal {
    let source = Arc::clone(&failure.error);
    if disk::is_full(&source) {
        return Refusal::Full { path, source };
    }
    let operation = match failure.operation {
        Operation::Read => "read",
        Operation::Write { .. } => "write",
        Operation::SetLen(_) => "lengthen the file",
        Operation::Sync => "sync",
    };
    Refusal::Failing { path, operation, source }
}
