//! The audit log of a running edge: its writer's task from start to end, and its metrics.

use coditect_auth::{Clock, Entropy};
use coditect_store::{AuditLog, Repositories};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge, Registry};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The log and the task that writes for it.
pub(crate) struct Audit {
    log: AuditLog,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

impl Audit {
    /// Starts to write what the log is told; what it does is in `registry`.
    ///
    /// # Errors
    /// A metric's name is taken.
    pub(crate) fn start(
        repositories: Repositories,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let (log, writer) = AuditLog::batched(repositories, clock, entropy);
        registry.register(Box::new(Metrics::new(log.clone())?))?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(writer.run(async {
            // Dropping the other end stops it too.
            drop(stopped.await);
        }));
        Ok(Self { log, stop, task })
    }

    /// Where events are recorded.
    pub(crate) fn log(&self) -> AuditLog {
        self.log.clone()
    }

    /// Has everything written that was told, in bounded time.
    pub(crate) async fn finish(self) {
        drop(self.stop);
        match self.task.await {
            Ok(0) => {}
            Ok(left) => tracing::error!(left, "audit events could not be written before the end"),
            Err(error) => tracing::error!(%error, "the audit log's task broke off"),
        }
    }
}

/// Shows the log's counts as they are when asked.
struct Metrics {
    log: AuditLog,
    entries: IntCounter,
    batches: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
    waiting: IntGauge,
    /// One scrape at a time brings the counters up to date.
    scrape: Mutex<()>,
}

impl Metrics {
    fn new(log: AuditLog) -> Result<Self, prometheus::Error> {
        Ok(Self {
            log,
            entries: IntCounter::new("coditect_audit_entries_total", "Entries written to audit trails")?,
            batches: IntCounter::new(
                "coditect_audit_batches_total",
                "Transactions that wrote audit entries",
            )?,
            failed: IntCounter::new("coditect_audit_failed_batches_total", "Such transactions that failed")?,
            dropped: IntCounter::new(
                "coditect_audit_dropped_total",
                "Audit events nobody waited for that were lost",
            )?,
            waiting: IntGauge::new("coditect_audit_waiting", "Audit events that wait to be written")?,
            scrape: Mutex::new(()),
        })
    }

    fn parts(&self) -> [&dyn Collector; 5] {
        [&self.entries, &self.batches, &self.failed, &self.dropped, &self.waiting]
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = self.log.counts();
        let counters = [
            (&self.entries, counts.written),
            (&self.batches, counts.batches),
            (&self.failed, counts.failed),
            (&self.dropped, counts.dropped),
        ];
        for (counter, count) in counters {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        self.waiting.set(i64::try_from(counts.waiting).unwrap_or(i64::MAX));
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}
