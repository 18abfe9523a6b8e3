//! What the embedder's driver has to run: ticks, posted events, root contexts that want time to finish.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::mailbox::{Event, Mailbox};
use crate::pool::Cell;

/// Posted events that one instance is told of before the others have their turn.
const EVENTS_PER_TURN: usize = 64;
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
    ticks: BTreeMap<TickKey, (Weak<Mailbox>, u64)>,
    posted: VecDeque<(Weak<Mailbox>, Event)>,
    /// Instances out of their pool whose root context is not done, and when they are dropped anyway.
    finishing: Vec<(u64, Arc<Cell>)>,
    sequence: u64,
}

/// A planned tick: when, and which of those then.
pub(crate) type TickKey = (u64, u64);

/// A duration in the clock's unit.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Schedule {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans a tick at `due`, in the place of `before`: an instance has at most one.
    pub(crate) fn tick(
        &self,
        due: u64,
        mailbox: &Arc<Mailbox>,
        generation: u64,
        before: Option<TickKey>,
    ) -> TickKey {
        let mut plan = self.plan();
        if let Some(before) = before {
            plan.ticks.remove(&before);
        }
        plan.sequence += 1;
        let key = (due, plan.sequence);
        let first = plan.ticks.first_key_value().is_none_or(|(first, _)| key < *first);
        plan.ticks.insert(key, (Arc::downgrade(mailbox), generation));
        drop(plan);
        if first {
            self.changed.notify_one();
        }
        key
    }

    /// Forgets a planned tick.
    pub(crate) fn forget(&self, tick: TickKey) {
        self.plan().ticks.remove(&tick);
    }

    /// Leaves an event to the driver. How many may wait is the mailbox's to say.
    pub(crate) fn post(&self, mailbox: &Arc<Mailbox>, event: Event) {
        self.plan().posted.push_back((Arc::downgrade(mailbox), event));
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
        self.deliver_posted(posted);
        for (mailbox, generation) in ticks.into_values() {
            deliver(&mailbox, Event::Tick { generation });
        }
        for (_, cell) in late {
            cell.give_up();
        }
        self.next(now)
    }

    /// Each instance is told of a few; what is left of a flood waits for the next run, in its order.
    fn deliver_posted(&self, posted: VecDeque<(Weak<Mailbox>, Event)>) {
        let mut turns: HashMap<*const Mailbox, usize> = HashMap::new();
        let mut left = VecDeque::new();
        for (mailbox, event) in posted {
            let told = turns.entry(mailbox.as_ptr()).or_default();
            if *told == EVENTS_PER_TURN {
                left.push_back((mailbox, event));
                continue;
            }
            *told += 1;
            if let Some(mailbox) = mailbox.upgrade() {
                mailbox.take_notification(&event);
                mailbox.deliver(event);
            }
        }
        if !left.is_empty() {
            let mut plan = self.plan();
            left.append(&mut plan.posted);
            plan.posted = left;
        }
    }

    /// A callback that runs under its instance's lock plans things: that lock is never waited for under the plan's.
    fn next(&self, now: u64) -> Option<Duration> {
        let finishing = std::mem::take(&mut self.plan().finishing);
        let (over, lingering): (Vec<_>, Vec<_>) = finishing.into_iter().partition(|(_, cell)| cell.is_over());
        drop(over);
        let mut plan = self.plan();
        plan.finishing.extend(lingering);
        if !plan.posted.is_empty() {
            return Some(Duration::ZERO);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(schedule: &Arc<Schedule>) -> Arc<Mailbox> {
        Mailbox::new(Arc::clone(schedule))
    }

    #[test]
    fn an_instance_has_one_tick_planned_however_often_it_sets_its_period() {
        let schedule: Arc<Schedule> = Arc::default();
        let mailbox = mailbox(&schedule);
        let mut tick = None;
        for generation in 0..1000 {
            tick = Some(schedule.tick(u64::MAX - generation, &mailbox, generation, tick));
        }
        assert_eq!(schedule.plan().ticks.len(), 1);
        schedule.forget(tick.unwrap_or_default());
        assert_eq!(schedule.plan().ticks.len(), 0);
    }

    #[test]
    fn a_flood_of_notifications_is_cut_and_its_author_waits_for_the_others() {
        let schedule: Arc<Schedule> = Arc::default();
        let (flooding, other) = (mailbox(&schedule), mailbox(&schedule));
        for token in 0..10_000 {
            flooding.post(Event::QueueReady { token });
        }
        other.post(Event::QueueReady { token: 1 });
        let posted = schedule.plan().posted.len();
        assert!((2..=2000).contains(&posted), "{posted} wait");
        assert_eq!(schedule.run(0), Some(Duration::ZERO));
        assert_eq!(schedule.plan().posted.len(), posted - EVENTS_PER_TURN - 1, "the other had its turn");
        while schedule.run(0).is_some() {}
        flooding.post(Event::QueueReady { token: 1 });
        assert_eq!(schedule.plan().posted.len(), 1, "there is room again");
    }
}
