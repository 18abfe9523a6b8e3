//! What a transaction hands to the committer thread.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::ranges::KeyRange;
use super::writes::Writes;
use crate::contract::Version;
use crate::error::StoreError;

/// A transaction's wish to commit.
pub(super) struct Request {
    /// What it read, and at which version since when; `None` for a blind write.
    pub(super) reads: Option<Reads>,
    pub(super) writes: Writes,
    /// Dropped without an answer only if the outcome is unknown.
    pub(super) reply: oneshot::Sender<Result<Version, StoreError>>,
    /// Its share of the queue's memory.
    pub(super) _units: OwnedSemaphorePermit,
}

/// The part of a request that is checked for conflicts.
pub(super) struct Reads {
    pub(super) version: Version,
    pub(super) since: Duration,
    pub(super) ranges: Vec<KeyRange>,
}
