//! The committer thread: conflict checks, group commit, publication; and what is done when the disk fails.
//!
//! A commit that failed is undone by putting the durable header back. Then writes are refused, reads go on from
//! the snapshots there are, and the disk is tried again every second; see [`super::generation`].

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redb::{Database, ReadableTable};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::contain::contained;
use super::file::{self, DATA, META, Opened, Site, VERSION};
use super::generation::Generation;
use super::group::Pace;
use super::history::History;
use super::open_error::OpenError;
use super::ranges::{KeyRange, RangeSet, successor};
use super::request::Request;
use super::trouble::{Fault, PROBE_INTERVAL, Trouble};
use super::writes::{self, Own};
use super::{Shared, Snapshot};
use crate::contract::{Version, Versionstamp};
use crate::error::StoreError;
use crate::limits::{MAX_TRANSACTION_AGE, RESERVED_FROM};

struct Committer {
    site: Site,
    /// `None` only once the thread ends.
    database: Option<Database>,
    generation: Arc<Generation>,
    shared: Arc<Shared>,
    history: History,
    /// The newest published version.
    version: Version,
    /// Why writes are refused.
    trouble: Option<Trouble>,
    /// How long the generation took to open.
    opening_took: Duration,
}

/// What the thread woke up for.
enum Wake {
    Request(Request),
    /// A read, or a write between commits, failed.
    Failure,
    /// It may be time to try the disk again.
    Probe,
    Closed,
}

/// Starts the thread. It ends, after the last queued commit, when every sender is gone.
pub(super) fn spawn(
    site: Site,
    opened: Opened,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
) -> io::Result<JoinHandle<()>> {
    let timers = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let version = opened.snapshot.version;
    let committer = Committer {
        site,
        database: Some(opened.database),
        generation: opened.generation,
        shared,
        history: History::new(version),
        version,
        trouble: None,
        opening_took: Duration::ZERO,
    };
    thread::Builder::new().name("store-committer".into()).spawn(move || committer.serve(&timers, requests))
}

impl Committer {
    fn serve(mut self, timers: &Runtime, mut requests: mpsc::Receiver<Request>) {
        let mut pace = Pace::default();
        loop {
            match timers.block_on(self.wake(&mut requests)) {
                Wake::Request(first) => {
                    let group = pace.gather(first, &mut requests);
                    self.recover_if_due();
                    let (begun, transactions) = (Instant::now(), group.len());
                    self.commit(group);
                    pace.committed(transactions, begun.elapsed(), requests.len());
                }
                Wake::Failure => drop(self.enter_trouble(Fault::Disk)),
                Wake::Probe => self.recover_if_due(),
                Wake::Closed => break,
            }
        }
        self.end();
    }

    async fn wake(&self, requests: &mut mpsc::Receiver<Request>) -> Wake {
        let waits = self.trouble.as_ref().is_some_and(|trouble| trouble.failure.is_some());
        tokio::select! {
            request = requests.recv() => request.map_or(Wake::Closed, Wake::Request),
            () = self.generation.trouble.notified(), if self.trouble.is_none() => Wake::Failure,
            () = tokio::time::sleep(PROBE_INTERVAL), if waits => Wake::Probe,
        }
    }

    /// Closes the file. A transaction that still holds a snapshot cannot read on.
    fn end(mut self) {
        self.shared.publish(None);
        self.shared.watches.end(&StoreError::Closed);
        let healthy = self.generation.is_direct();
        self.close_database();
        if healthy && let Some(failure) = self.generation.failure() {
            let (path, error) = (self.site.path.display(), failure.error);
            tracing::warn!(%path, %error, "the store could not be closed properly, the next start will check it");
        }
        self.generation.fence();
        self.site.disk.release();
    }

    fn close_database(&mut self) {
        let database = self.database.take();
        if let Err(damage) = contained(|| drop(database)) {
            tracing::error!(error = %damage, "closing the database failed");
        }
    }

    fn commit(&mut self, group: Vec<Request>) {
        if let Some(trouble) = &self.trouble {
            for request in group {
                answer(request, Err(trouble.error.clone()));
            }
            return;
        }
        let now = self.shared.clock.elapsed();
        self.history.prune(now);
        let (passed, last) = self.check(group, now);
        if passed.is_empty() {
            return;
        }
        let headers = self.site.disk.headers_synced();
        let fault = match self.write(&passed, last) {
            // A commit of a generation that holds its writes is none.
            Ok(snapshot) if self.generation.is_direct() => {
                self.publish(snapshot);
                self.history.settle(self.version, self.shared.clock.elapsed());
                self.version = last;
                for (request, version) in passed {
                    answer(request, Ok(version));
                }
                return;
            }
            Ok(_) => Fault::Disk,
            Err(fault) => fault,
        };
        self.history.forget_after(self.version);
        let error = self.enter_trouble(fault);
        // Once another header is durable, or if the old one cannot be put back, nobody can say what the next
        // opening will find.
        let known = self.site.disk.headers_synced() == headers && self.site.disk.restore().is_ok();
        let error = if known { error } else { StoreError::Unknown };
        for (request, _) in passed {
            answer(request, Err(error.clone()));
        }
    }

    /// Refuses writes from now on. Returns what they are refused with.
    fn enter_trouble(&mut self, fault: Fault) -> StoreError {
        // Not even what redb does on its own may reach the disk now.
        self.generation.hold();
        let now = self.shared.clock.elapsed();
        let path = self.site.path.clone();
        let trouble = Trouble::new(fault, &self.generation, path, now, self.opening_took);
        let error = trouble.error.clone();
        tracing::error!(%error, "the store refuses writes");
        self.shared.report(Some(error.clone()));
        self.trouble = Some(trouble);
        error
    }

    /// Tries the disk again, if it is time, and goes on with a new generation if it works.
    fn recover_if_due(&mut self) {
        let Some(trouble) = &self.trouble else { return };
        let Some(failure) = &trouble.failure else { return };
        if !trouble.is_due(self.shared.clock.elapsed()) {
            return;
        }
        let started = self.shared.clock.elapsed();
        let opened = match self.site.disk.probe(failure) {
            Ok(()) => self.site.open(self.version),
            Err(source) => Err(OpenError::Io { path: self.site.path.clone(), source }),
        };
        let now = self.shared.clock.elapsed();
        let took = now.saturating_sub(started);
        match opened {
            Ok(opened) => self.go_on(opened, took),
            Err(error) => self.stay(&error, now, took),
        }
    }

    fn stay(&mut self, error: &OpenError, now: Duration, took: Duration) {
        tracing::debug!(%error, "the store still refuses writes");
        let Some(trouble) = &mut self.trouble else { return };
        trouble.postpone(now, took);
        if let OpenError::Damaged { source, .. } = error {
            trouble.give_up(self.site.path.clone(), source.to_string());
            tracing::error!(error = %trouble.error, "the store cannot go on");
            self.shared.report(Some(trouble.error.clone()));
        }
    }

    /// Takes over a new generation. The old one's snapshots end before anything is written.
    fn go_on(&mut self, opened: Opened, took: Duration) {
        let Opened { database, generation, snapshot } = opened;
        let old = std::mem::replace(&mut self.generation, generation);
        self.version = snapshot.version;
        self.history = History::new(self.version);
        self.shared.publish(Some(Arc::clone(&snapshot)));
        old.fence();
        self.close_database();
        self.database = Some(database);
        self.opening_took = took;
        self.trouble = None;
        self.shared.report(None);
        tracing::info!(path = %self.site.path.display(), "the disk works again, the store accepts writes");
        // A commit whose result was unknown may have come to light.
        let mut everything = RangeSet::default();
        everything.insert(KeyRange::new(&[], &[RESERVED_FROM]));
        self.shared.watches.notify(&everything, &snapshot);
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

    /// Makes a group durable, if the generation is direct.
    fn write(&self, group: &[(Request, Version)], last: Version) -> Result<Snapshot, Fault> {
        let Some(database) = &self.database else { return Err(Fault::Disk) };
        let written = contained(|| {
            let transaction = database.begin_write()?;
            apply(&transaction, group, last)?;
            transaction.commit()?;
            file::read_snapshot(database, &self.generation)
        });
        Ok(written??)
    }

    /// Shows a commit to all.
    fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.shared.publish(Some(Arc::clone(&snapshot)));
        let mut touched = RangeSet::default();
        self.history.written_after(self.version).for_each(|range| touched.insert(range.clone()));
        self.shared.watches.notify(&touched, &snapshot);
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
