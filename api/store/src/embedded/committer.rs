//! The committer thread: conflict checks, group commit, publication.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redb::{Database, ReadableTable};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Shared;
use super::file::{self, DATA, META, VERSION};
use super::history::History;
use super::ranges::{KeyRange, RangeSet, successor};
use super::writes::{self, Own, Writes};
use crate::contract::{Version, Versionstamp};
use crate::error::StoreError;
use crate::limits::MAX_TRANSACTION_AGE;

/// The most transactions in one redb commit.
const GROUP_TRANSACTIONS: usize = 1024;

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

struct Committer {
    database: Database,
    shared: Arc<Shared>,
    history: History,
    /// The newest published version.
    version: Version,
}

/// Starts the thread. It ends, after the last queued commit, when every sender is gone.
pub(super) fn spawn(
    database: Database,
    shared: Arc<Shared>,
    mut requests: mpsc::Receiver<Request>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("store-committer".into()).spawn(move || {
        let version = shared.snapshot().map_or(Version(0), |s| s.version);
        let mut committer = Committer { database, shared, history: History::new(version), version };
        while let Some(first) = requests.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_TRANSACTIONS
                && let Ok(next) = requests.try_recv()
            {
                group.push(next);
            }
            committer.commit(group);
        }
        // The file is released with the last snapshot a transaction still holds.
        committer.shared.publish(None);
        committer.shared.watches.end(&StoreError::Closed);
    })
}

impl Committer {
    fn commit(&mut self, group: Vec<Request>) {
        let now = self.shared.clock.elapsed();
        self.history.prune(now);
        let (passed, last) = self.check(group, now);
        if passed.is_empty() {
            return;
        }
        match self.write(&passed, last) {
            Ok(()) => {
                self.history.settle(self.version, self.shared.clock.elapsed());
                self.version = last;
                self.shared.report(None);
                for (request, version) in passed {
                    answer(request, Ok(version));
                }
            }
            Err(error) => {
                tracing::error!(%error, transactions = passed.len(), "store commit failed");
                self.shared.report(Some(error.clone()));
                if error.maybe_committed() {
                    // Their versions are spent and their writes still count as conflicts.
                    self.version = last;
                } else {
                    self.history.forget_after(self.version);
                }
                for (request, _) in passed {
                    answer(request, Err(error.clone()));
                }
            }
        }
    }

    /// Gives a version to each transaction that may commit and refuses the others.
    fn check(&mut self, group: Vec<Request>, now: Duration) -> (Vec<(Request, Version)>, Version) {
        let mut last = self.version;
        let mut passed = Vec::with_capacity(group.len());
        for request in group {
            let verdict = match &request.reads {
                Some(reads) if now.saturating_sub(reads.since) > MAX_TRANSACTION_AGE => {
                    Err(StoreError::TooOld)
                }
                Some(reads) => self.history.check(reads.version, &reads.ranges),
                None => Ok(()),
            };
            match verdict {
                Ok(()) => {
                    last = Version(last.0 + 1);
                    let stamp = Versionstamp::new(last, 0);
                    self.history.push(last, now, request.writes.conflict_ranges(&stamp));
                    passed.push((request, last));
                }
                Err(error) => answer(request, Err(error)),
            }
        }
        (passed, last)
    }

    /// Makes a group durable and visible. An error before redb's commit means nothing was written; one in
    /// or after it means that nobody can say.
    fn write(&self, group: &[(Request, Version)], last: Version) -> Result<(), StoreError> {
        let failed = |error: redb::Error| StoreError::backend("wrote a commit", error);
        let transaction = self.database.begin_write().map_err(|error| failed(error.into()))?;
        apply(&transaction, group, last).map_err(failed)?;
        transaction.commit().map_err(|error| {
            tracing::error!(%error, "redb commit failed: its result is unknown");
            StoreError::Unknown
        })?;
        let snapshot = file::read_snapshot(&self.database).map_err(|error| {
            tracing::error!(%error, "cannot read back a commit");
            StoreError::Unknown
        })?;
        let snapshot = Arc::new(snapshot);
        self.shared.publish(Some(Arc::clone(&snapshot)));
        let mut touched = RangeSet::default();
        self.history.written_after(self.version).for_each(|range| touched.insert(range.clone()));
        self.shared.watches.notify(&touched, &snapshot);
        Ok(())
    }
}

fn apply(
    transaction: &redb::WriteTransaction,
    group: &[(Request, Version)],
    last: Version,
) -> Result<(), redb::Error> {
    let mut data = transaction.open_table(DATA)?;
    for (request, version) in group {
        let stamp = Versionstamp::new(*version, 0);
        for (begin, end) in request.writes.cleared.iter() {
            if end == successor(begin) {
                data.remove(begin)?;
            } else {
                data.retain_in(begin..end, |_, _| false)?;
            }
        }
        for (key, own) in &request.writes.set {
            let value = match own {
                Own::Value(value) => Some(value.clone()),
                Own::Steps(steps) => {
                    let stored = data.get(key.as_slice())?;
                    let stored = stored.as_ref().map(|guard| guard.value());
                    writes::outcome(steps, stored, Some(&stamp))
                }
            };
            match value {
                Some(value) => drop(data.insert(key.as_slice(), value.as_ref())?),
                None => drop(data.remove(key.as_slice())?),
            }
        }
        for stamped in &request.writes.stamped {
            data.insert(stamped.placed(&stamp).as_slice(), stamped.value.as_ref())?;
        }
    }
    transaction.open_table(META)?.insert(VERSION, last.0)?;
    Ok(())
}

fn answer(request: Request, result: Result<Version, StoreError>) {
    // The caller may have gone away; the commit stands all the same.
    drop(request.reply.send(result));
}
