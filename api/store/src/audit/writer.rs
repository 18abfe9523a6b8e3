//! The task that writes events: those of one tenant that wait together in one transaction, those of several tenants
//! side by side.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coditect_auth::{Clock, Entropy};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::{Map, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::event::AuditAction;
use super::log::Shared;
use crate::error::StoreError;
use crate::records::AuditObject;
use crate::repo::{NewAuditEntry, Repositories};

/// The most entries of one transaction.
const BATCH_ENTRIES: usize = 100;
/// The most bytes of entries of one transaction, as [`NewAuditEntry::size`] counts them, and one entry more.
const BATCH_BYTES: usize = 256 << 10;
/// Tenants written at the same time.
const PARALLEL: usize = 8;
/// Events taken from the queues and not written yet.
const MAX_HELD: usize = 2048;
/// How soon a trail without other events says that some were lost.
const GAP_EVERY: Duration = Duration::from_secs(1);
/// How long a stop waits for what is in the queues to be written.
pub const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// An event on its way.
pub(super) struct Job {
    pub(super) tenant: Uuid,
    pub(super) entry: NewAuditEntry,
    /// Whom to tell; nobody waits for a note.
    pub(super) waiter: Option<oneshot::Sender<Result<(), StoreError>>>,
}

/// Writes what an [`super::AuditLog`] is told.
pub struct AuditWriter {
    work: Work,
    records: mpsc::Receiver<Job>,
    notes: mpsc::Receiver<Job>,
}

impl AuditWriter {
    pub(super) fn new(
        repositories: Repositories,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        shared: Arc<Shared>,
        records: mpsc::Receiver<Job>,
        notes: mpsc::Receiver<Job>,
    ) -> Self {
        let work = Work {
            repositories,
            clock,
            entropy,
            shared,
            pending: HashMap::new(),
            held: 0,
            ready: VecDeque::new(),
            busy: HashSet::new(),
            running: FuturesUnordered::new(),
        };
        Self { work, records, notes }
    }

    /// Writes until `stop` or until every log is dropped, then takes no more events, and writes those it has, for at
    /// most [`FLUSH_DEADLINE`]. Returns how many it could not write in that time.
    ///
    /// Dropped, it leaves those who wait with an unknown result.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> usize {
        let mut stop = pin!(stop);
        let mut gaps = interval(GAP_EVERY);
        gaps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.take_waiting();
            self.work.start();
            let has_room = self.work.held < MAX_HELD;
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(done) = self.work.running.next() => self.work.finish(done),
                job = self.records.recv(), if has_room => match job {
                    Some(job) => self.work.take(job),
                    None => break,
                },
                job = self.notes.recv(), if has_room => match job {
                    Some(job) => self.work.take(job),
                    None => break,
                },
                _ = gaps.tick() => self.work.tell_gaps(),
            }
        }
        self.records.close();
        self.notes.close();
        self.work.tell_gaps();
        let flushed = timeout(FLUSH_DEADLINE, async {
            loop {
                self.take_waiting();
                self.work.start();
                match self.work.running.next().await {
                    Some(done) => self.work.finish(done),
                    None => break,
                }
            }
        });
        match flushed.await {
            Ok(()) => 0,
            Err(_) => usize::try_from(self.work.shared.waiting.load(Ordering::Relaxed)).unwrap_or(usize::MAX),
        }
    }

    /// Takes what waits, so that it is written together.
    fn take_waiting(&mut self) {
        while self.work.held < MAX_HELD {
            match self.records.try_recv().or_else(|_| self.notes.try_recv()) {
                Ok(job) => self.work.take(job),
                Err(_) => return,
            }
        }
    }
}

/// The writer's state. A tenant is in `ready` once, if it has something to be written and is not busy.
struct Work {
    repositories: Repositories,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    shared: Arc<Shared>,
    pending: HashMap<Uuid, VecDeque<Job>>,
    /// How many events are pending or being written.
    held: usize,
    ready: VecDeque<Uuid>,
    busy: HashSet<Uuid>,
    running: FuturesUnordered<BoxFuture<'static, Batch>>,
}

/// One transaction's events, and what became of them.
struct Batch {
    tenant: Uuid,
    jobs: Vec<Job>,
    /// How many lost events its gap entry tells of.
    gap: Option<u64>,
    written: Result<usize, StoreError>,
}

impl Work {
    fn take(&mut self, job: Job) {
        let tenant = job.tenant;
        self.pending.entry(tenant).or_default().push_back(job);
        self.held += 1;
        self.make_ready(tenant);
    }

    fn make_ready(&mut self, tenant: Uuid) {
        if !self.busy.contains(&tenant) && !self.ready.contains(&tenant) {
            self.ready.push_back(tenant);
        }
    }

    /// Sees to it that gap entries are written for those tenants that need one.
    fn tell_gaps(&mut self) {
        for tenant in self.shared.tenants_with_gaps() {
            self.make_ready(tenant);
        }
    }

    /// Begins as many transactions as may run.
    fn start(&mut self) {
        while self.running.len() < PARALLEL
            && let Some(tenant) = self.ready.pop_front()
        {
            let batch = self.batch(tenant);
            self.busy.insert(tenant);
            self.running.push(self.write(batch));
        }
    }

    fn batch(&mut self, tenant: Uuid) -> Batch {
        let gap = self.shared.take_gap(tenant);
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        if let Some(pending) = self.pending.get_mut(&tenant) {
            while jobs.len() < BATCH_ENTRIES
                && bytes < BATCH_BYTES
                && let Some(job) = pending.pop_front()
            {
                bytes += job.entry.size();
                jobs.push(job);
            }
            if pending.is_empty() {
                self.pending.remove(&tenant);
            }
        }
        Batch { tenant, jobs, gap, written: Ok(0) }
    }

    fn write(&self, mut batch: Batch) -> BoxFuture<'static, Batch> {
        let gap = batch.gap.map(|lost| self.gap_entry(batch.tenant, lost));
        let entries: Vec<_> = gap.into_iter().chain(batch.jobs.iter().map(|job| job.entry.clone())).collect();
        let repositories = self.repositories.clone();
        Box::pin(async move {
            let written = repositories.audit().append(batch.tenant, &entries).await;
            batch.written = written.map(|entries| entries.len());
            batch
        })
    }

    fn gap_entry(&self, tenant: Uuid, lost: u64) -> NewAuditEntry {
        NewAuditEntry {
            salt: self.entropy.uuid(),
            at: self.clock.now_millis(),
            actor: None,
            action: AuditAction::Gap.name().to_owned(),
            object: AuditObject { kind: "audit".into(), id: tenant.to_string() },
            address: None,
            details: Map::from_iter([("lost".to_owned(), json!(lost))]),
        }
    }

    fn finish(&mut self, batch: Batch) {
        let Batch { tenant, jobs, gap, written } = batch;
        self.busy.remove(&tenant);
        self.held -= jobs.len();
        let shared = &self.shared;
        shared.waiting.fetch_sub(jobs.len() as u64, Ordering::Relaxed);
        match &written {
            Ok(entries) => {
                shared.written.fetch_add(*entries as u64, Ordering::Relaxed);
                shared.batches.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                shared.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%tenant, events = jobs.len(), %error, "audit events could not be recorded");
                if let Some(lost) = gap {
                    shared.gap(tenant, lost);
                }
                let notes = jobs.iter().filter(|job| job.waiter.is_none()).count();
                if notes > 0 {
                    shared.lose(tenant, notes as u64);
                }
            }
        }
        let written = written.map(drop);
        for waiter in jobs.into_iter().filter_map(|job| job.waiter) {
            // Who has given up waiting is not told.
            drop(waiter.send(written.clone()));
        }
        if self.pending.contains_key(&tenant) {
            self.make_ready(tenant);
        }
    }
}
