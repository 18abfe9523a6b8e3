//! Where events are recorded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coditect_auth::{Clock, Entropy};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::event::{AuditEvent, OPERATORS};
use super::writer::{AuditWriter, Job};
use crate::error::StoreError;
use crate::repo::{NewAuditEntry, Repositories};

/// Events whose recorders wait and that the writer has not taken yet; further recorders wait for a place.
const WAITING_RECORDS: usize = 1024;
/// Notes that the writer has not taken yet; further ones are dropped and counted.
const WAITING_NOTES: usize = 1024;
/// How long [`AuditLog::record`] waits: longer than a commit is retried, and for some batches before it.
const RECORD_DEADLINE: Duration = Duration::from_secs(15);
/// Tenants whose lost events are counted for themselves; those of further ones go into the operators' trail.
const MAX_GAPS: usize = 1024;

/// Where events are recorded. Clones share it.
#[derive(Clone)]
pub struct AuditLog {
    repositories: Repositories,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    shared: Arc<Shared>,
    /// The writer's; without one every event is a transaction of its own.
    queues: Option<Queues>,
}

#[derive(Clone)]
struct Queues {
    records: mpsc::Sender<Job>,
    notes: mpsc::Sender<Job>,
}

/// What the log has done so far, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Entries written.
    pub written: u64,
    /// Transactions that wrote them.
    pub batches: u64,
    /// Transactions that failed, each with all that waited in it.
    pub failed: u64,
    /// Notes that are lost: the queue was full, or the store failed. The trail says so in a gap entry.
    pub dropped: u64,
    /// Events that wait to be written.
    pub waiting: u64,
}

/// What log and writer share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) written: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) waiting: AtomicU64,
    /// By tenant, the events that were lost since its last gap entry.
    gaps: Mutex<HashMap<Uuid, u64>>,
}

impl AuditLog {
    /// A log that writes each event by itself, while the caller waits: for commands, which record little and have no
    /// task beside them. It takes no notes; they count as dropped.
    pub fn new(repositories: Repositories, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { repositories, clock, entropy, shared: Arc::default(), queues: None }
    }

    /// A log whose events are written by the writer given with it, which somebody must run.
    pub fn batched(
        repositories: Repositories,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> (Self, AuditWriter) {
        let shared = Arc::<Shared>::default();
        let (records, waiting_records) = mpsc::channel(WAITING_RECORDS);
        let (notes, waiting_notes) = mpsc::channel(WAITING_NOTES);
        let writer = AuditWriter::new(
            repositories.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            Arc::clone(&shared),
            waiting_records,
            waiting_notes,
        );
        (Self { repositories, clock, entropy, shared, queues: Some(Queues { records, notes }) }, writer)
    }

    /// Records an event; it is durable once this returns. Waits for at most 15 s.
    ///
    /// Once the event is in the writer's queue it is recorded although the caller may be dropped.
    ///
    /// # Errors
    ///
    /// What the store says; [`StoreError::Overloaded`] if there was no place in the queue in time;
    /// [`StoreError::Closed`] if the writer has stopped. After [`StoreError::Unknown`] the event may have been
    /// recorded.
    pub async fn record(&self, event: AuditEvent) -> Result<(), StoreError> {
        let (tenant, entry) = self.entry(event);
        let Some(queues) = &self.queues else {
            return self.repositories.audit().append(tenant, &[entry]).await.map(drop);
        };
        let (waiter, answer) = oneshot::channel();
        let job = Job { tenant, entry, waiter: Some(waiter) };
        let deadline = tokio::time::Instant::now() + RECORD_DEADLINE;
        match tokio::time::timeout_at(deadline, queues.records.reserve()).await {
            Ok(Ok(place)) => {
                self.shared.waiting.fetch_add(1, Ordering::Relaxed);
                place.send(job);
            }
            Ok(Err(_)) => return Err(StoreError::Closed),
            Err(_) => return Err(StoreError::Overloaded),
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(written)) => written,
            // The writer was broken off, or is late: nobody knows.
            Ok(Err(_)) | Err(_) => Err(StoreError::Unknown),
        }
    }

    /// Hands an event over without waiting for anything. It is written soon, or counted as dropped, and then the trail
    /// says how many were.
    pub fn note(&self, event: AuditEvent) {
        let (tenant, entry) = self.entry(event);
        let place = self.queues.as_ref().and_then(|queues| queues.notes.try_reserve().ok());
        match place {
            Some(place) => {
                self.shared.waiting.fetch_add(1, Ordering::Relaxed);
                place.send(Job { tenant, entry, waiter: None });
            }
            None => self.shared.lose(tenant, 1),
        }
    }

    /// What the log has done so far.
    pub fn counts(&self) -> AuditCounts {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let Shared { written, batches, failed, dropped, waiting, .. } = &*self.shared;
        AuditCounts {
            written: read(written),
            batches: read(batches),
            failed: read(failed),
            dropped: read(dropped),
            waiting: read(waiting),
        }
    }

    fn entry(&self, event: AuditEvent) -> (Uuid, NewAuditEntry) {
        let entry = NewAuditEntry {
            salt: self.entropy.uuid(),
            at: self.clock.now_millis(),
            actor: event.actor,
            action: event.action.name().to_owned(),
            object: event.object,
            address: event.address,
            details: event.details,
        };
        (event.tenant, entry.fitted())
    }
}

impl Shared {
    /// Counts events of a tenant that nobody waits for and that will not be written.
    pub(super) fn lose(&self, tenant: Uuid, events: u64) {
        self.dropped.fetch_add(events, Ordering::Relaxed);
        self.gap(tenant, events);
    }

    /// Adds to what the tenant's next gap entry says.
    pub(super) fn gap(&self, tenant: Uuid, events: u64) {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = if gaps.len() < MAX_GAPS || gaps.contains_key(&tenant) { tenant } else { OPERATORS };
        let gap = gaps.entry(tenant).or_default();
        *gap = gap.saturating_add(events);
    }

    /// What the tenant's gap entry must say; nobody else will say it.
    pub(super) fn take_gap(&self, tenant: Uuid) -> Option<u64> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).remove(&tenant)
    }

    /// The tenants whose trails lack events and do not say so yet.
    pub(super) fn tenants_with_gaps(&self) -> Vec<Uuid> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}
