//! What the embedder's driver has to run: ticks, posted events, root contexts that want time to finish.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::mailbox::{Event, Mailbox};
use crate::pool::Cell;

/// Posted events that wait. A queue that is notified more often than its guest runs loses notifications, not messages.
const MAX_POSTED: usize = 16 * 1024;
/// How long a root context that answered `proxy_on_done` with false may take to call `proxy_done`.
pub(crate) const DONE_DEADLINE: Duration = Duration::from_secs(5);

/// Due times are nanoseconds of the environment's monotonic clock.
#[derive(Default)]
pub(crate) struct Schedule {
    plan: Mutex<Plan>,
    changed: Notify,
}

#[derive(Default)]
struct Plan {
    ticks: BTreeMap<(u64, u64), (Weak<Mailbox>, u64)>,
    posted: VecDeque<(Weak<Mailbox>, Event)>,
    /// Instances out of their pool whose root context is not done, and when they are dropped anyway.
    finishing: Vec<(u64, Arc<Cell>)>,
    sequence: u64,
}

/// A duration in the clock's unit.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Schedule {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans a tick at `due`.
    pub(crate) fn tick(&self, due: u64, mailbox: &Arc<Mailbox>, generation: u64) {
        let mut plan = self.plan();
        plan.sequence += 1;
        let key = (due, plan.sequence);
        let first = plan.ticks.first_key_value().is_none_or(|(first, _)| key < *first);
        plan.ticks.insert(key, (Arc::downgrade(mailbox), generation));
        drop(plan);
        if first {
            self.changed.notify_one();
        }
    }

    /// Leaves an event to the driver.
    pub(crate) fn post(&self, mailbox: &Arc<Mailbox>, event: Event) {
        let mut plan = self.plan();
        if plan.posted.len() < MAX_POSTED {
            plan.posted.push_back((Arc::downgrade(mailbox), event));
        }
        drop(plan);
        self.changed.notify_one();
    }

    /// Keeps an instance until its root context is done, at the latest at `deadline`.
    pub(crate) fn finish(&self, deadline: u64, cell: Arc<Cell>) {
        self.plan().finishing.push((deadline, cell));
        self.changed.notify_one();
    }

    /// Resolves when something was planned that is due earlier than what was known.
    pub(crate) async fn woken(&self) {
        self.changed.notified().await;
    }

    /// Runs what is due at `now`, each on this thread; gives the time until the next.
    pub(crate) fn run(&self, now: u64) -> Option<Duration> {
        let (posted, ticks, late) = {
            let mut plan = self.plan();
            let later = plan.ticks.split_off(&(now, u64::MAX));
            let ticks = std::mem::replace(&mut plan.ticks, later);
            let late: Vec<_> = plan.finishing.extract_if(.., |(deadline, _)| *deadline <= now).collect();
            (std::mem::take(&mut plan.posted), ticks, late)
        };
        for (mailbox, event) in posted {
            deliver(&mailbox, event);
        }
        for (mailbox, generation) in ticks.into_values() {
            deliver(&mailbox, Event::Tick { generation });
        }
        for (_, cell) in late {
            cell.give_up();
        }
        self.next(now)
    }

    fn next(&self, now: u64) -> Option<Duration> {
        let mut plan = self.plan();
        if !plan.posted.is_empty() {
            return Some(Duration::ZERO);
        }
        plan.finishing.retain(|(_, cell)| !cell.is_over());
        let tick = plan.ticks.first_key_value().map(|((due, _), _)| *due);
        let deadline = plan.finishing.iter().map(|(deadline, _)| *deadline).min();
        let next = tick.into_iter().chain(deadline).min()?;
        Some(Duration::from_nanos(next.saturating_sub(now)))
    }
}

fn deliver(mailbox: &Weak<Mailbox>, event: Event) {
    if let Some(mailbox) = mailbox.upgrade() {
        mailbox.deliver(event);
    }
}
