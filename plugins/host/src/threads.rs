//! Threads for the guests' code that no request's thread runs.
//!
//! A callback of a plugin in good standing takes microseconds and runs where its request does. Not so:
//!
//! - the start of an instance, for which a guest has a hundred times as long, and its end: *starters* do that;
//! - all callbacks of a plugin that lately crossed its CPU budget for a tenant ([`Scope::is_apart`]). Each could take all of
//!   its budget again, and whoever shares the thread would wait that long. One thread of low priority does that.
//!
//! An engine that measures by fuel has no threads: everything runs where it is called, for the same result each time.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::scope::Scope;
use crate::ticker::{Ticker, Ticking};

/// Starts and ends of instances at a time.
const STARTERS: usize = 2;
/// Starts of one tenant's that wait for a starter or are under way, over all plugins; further ones wait for their turn.
const MAX_STARTS_EACH: usize = 1;
/// Starts and ends that wait. Past it a start is refused, and an end left out.
const MAX_STARTS: usize = 1024;
/// Callbacks of slow plugins that wait, and ends of their streams, over all tenants.
const MAX_SLOW: usize = 8192;
/// Of them, callbacks of one tenant. More of its requests are failed by the plugin at once.
const MAX_SLOW_EACH: usize = 32;
/// `nice(2)`: a tenth of what a request's thread has on a core that both want. Not less, since it takes locks that those want.
const LOW_PRIORITY: i32 = 10;
/// From so many tenants on, those that start nothing are forgotten.
const SWEEP_TURNS: usize = 256;

thread_local! {
    static IS_SLOW: Cell<bool> = const { Cell::new(false) };
}

type Job = Box<dyn FnOnce() + Send>;

/// By tenant, how many callbacks wait.
type Waiting = Arc<Mutex<HashMap<Arc<str>, usize>>>;

/// An engine's threads. They end when the engine and the last of what it made are gone.
pub(crate) struct Threads {
    starters: Option<SyncSender<Job>>,
    slow: Option<SyncSender<Job>>,
    waiting: Waiting,
    turns: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
    /// None where fuel is the meter. As long as there is a guest that could run, there is somebody who cuts it off.
    ticker: Option<Ticker>,
}

/// Who is to do a job.
#[derive(Clone, Copy)]
pub(crate) enum Worker<'a> {
    /// Those who start and end instances.
    Starter,
    /// The one for what is slow; it is this scope's.
    Slow(&'a Arc<Scope>),
    /// The same, for the end of a stream, which takes nobody's place: there is one for each stream that began.
    SlowEnd,
}

impl Threads {
    /// `own`: there are threads; else every job is done by who wants it.
    pub(crate) fn new(ticker: Option<Ticker>, own: bool) -> std::io::Result<Arc<Self>> {
        let (starters, slow) = match own {
            false => (None, None),
            true => (
                Some(spawn("wasm-start", STARTERS, MAX_STARTS, || {})?),
                Some(spawn("wasm-slow", 1, MAX_SLOW, be_slow)?),
            ),
        };
        Ok(Arc::new(Self { starters, slow, waiting: Waiting::default(), turns: Mutex::default(), ticker }))
    }

    /// Whether there are any.
    pub(crate) fn are_own(&self) -> bool {
        self.slow.is_some()
    }

    pub(crate) fn ticking(&self) -> Ticking {
        self.ticker.as_ref().map_or_else(Ticking::nobody, Ticker::ticking)
    }

    /// Has a job done, unless too many wait already.
    pub(crate) fn submit(
        &self,
        worker: Worker<'_>,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), Refused> {
        let (queue, job): (_, Job) = match worker {
            _ if !self.are_own() => (&None, Box::new(job)),
            Worker::Starter => (&self.starters, Box::new(job)),
            Worker::Slow(scope) => {
                let place = Place::take(scope, &self.waiting).ok_or(Refused)?;
                let ticking = self.ticking();
                let careful = move || {
                    let _precisely = ticking.precisely();
                    job();
                    drop(place);
                };
                (&self.slow, Box::new(careful))
            }
            Worker::SlowEnd => {
                let ticking = self.ticking();
                let careful = move || {
                    let _precisely = ticking.precisely();
                    job();
                };
                (&self.slow, Box::new(careful))
            }
        };
        match queue {
            Some(queue) => queue.try_send(job).map_err(|_| Refused),
            None => {
                job();
                Ok(())
            }
        }
    }

    /// Has a job done, and waits for what comes of it. Where nobody waits any more when its turn comes, it is dropped there.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        worker: Worker<'_>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        self.submit(worker, move || {
            if !answer.is_closed() {
                // Where nobody waits, what came of it is dropped on that thread.
                drop(answer.send(job()));
            }
        })?;
        // The job panicked, or the thread did.
        answered.await.map_err(|_| Refused)
    }

    /// Waits for a tenant's turn to have an instance started: whoever starts many does not hold up others. Cancellation safe.
    pub(crate) async fn turn(&self, tenant: &Arc<str>) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.turns_of(tenant).acquire_owned().await.ok()
    }

    /// As [`turn`](Self::turn), if it is the tenant's now.
    pub(crate) fn try_turn(&self, tenant: &Arc<str>) -> Option<OwnedSemaphorePermit> {
        self.turns_of(tenant).try_acquire_owned().ok()
    }

    fn turns_of(&self, tenant: &Arc<str>) -> Arc<Semaphore> {
        {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= SWEEP_TURNS {
                turns.retain(|_, turns| turns.strong_count() > 0);
            }
            let entry = turns.entry(Arc::clone(tenant)).or_default();
            entry.upgrade().unwrap_or_else(|| {
                let new = Arc::new(Semaphore::new(MAX_STARTS_EACH));
                *entry = Arc::downgrade(&new);
                new
            })
        }
    }
}

/// Whether this is the thread for slow plugins.
pub(crate) fn is_slow_one() -> bool {
    IS_SLOW.get()
}

fn be_slow() {
    IS_SLOW.set(true);
    // On Linux a priority is a thread's own; without one this thread is as good as the others.
    if let Err(error) = rustix::process::setpriority_process(None, LOW_PRIORITY) {
        tracing::warn!(%error, "slow plugins run with the priority of requests");
    }
}

/// A job that was not done: too many wait already, or it panicked.
#[derive(Debug)]
pub(crate) struct Refused;

/// A place among a tenant's callbacks that wait or run.
struct Place {
    tenant: Arc<str>,
    waiting: Waiting,
}

impl Place {
    fn take(scope: &Arc<Scope>, waiting: &Waiting) -> Option<Self> {
        let mut tenants = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = tenants.entry(Arc::clone(&scope.tenant)).or_default();
        if *theirs >= MAX_SLOW_EACH {
            return None;
        }
        *theirs += 1;
        Some(Self { tenant: Arc::clone(&scope.tenant), waiting: Arc::clone(waiting) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tenants = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(theirs) = tenants.get_mut(&self.tenant) {
            *theirs -= 1;
            if *theirs == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

fn spawn(name: &str, threads: usize, most: usize, begin: fn()) -> std::io::Result<SyncSender<Job>> {
    let (queue, jobs) = sync_channel(most);
    let jobs: Arc<Mutex<Receiver<Job>>> = Arc::new(Mutex::new(jobs));
    for _ in 0..threads {
        let jobs = Arc::clone(&jobs);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            begin();
            work(&jobs);
        })?;
    }
    Ok(queue)
}

/// Does jobs until nobody is left to have any. Who waits for the next one holds the lock, the others wait for that.
fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            // What it was about finds its instance's lock poisoned, and goes on without the instance.
            tracing::error!("a plugin's callback panicked in the host");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_panic_costs_its_own_job_only() {
        let threads = Threads::new(None, true).unwrap();
        let panics = || -> u32 { std::panic::resume_unwind(Box::new("on purpose")) };
        for _ in 0..2 * STARTERS {
            assert!(futures::executor::block_on(threads.run(Worker::Starter, panics)).is_err());
        }
        assert_eq!(futures::executor::block_on(threads.run(Worker::Starter, || 7)).unwrap(), 7);
    }

    #[test]
    fn what_waits_is_bounded() {
        let threads = Threads::new(None, true).unwrap();
        let (open, closed) = sync_channel::<()>(0);
        let closed = Arc::new(Mutex::new(closed));
        let mut taken = 0;
        // Each waits until `open` is dropped.
        while threads
            .submit(Worker::Starter, {
                let closed = Arc::clone(&closed);
                move || assert!(closed.lock().unwrap().recv().is_err())
            })
            .is_ok()
        {
            taken += 1;
            assert!(taken <= MAX_STARTS + STARTERS, "the queue has no end");
        }
        assert!(taken >= MAX_STARTS);
        drop(open);
    }

    #[test]
    fn without_threads_a_job_is_done_at_once() {
        let here = thread::current().id();
        let threads = Threads::new(None, false).unwrap();
        let there = futures::executor::block_on(threads.run(Worker::Starter, || thread::current().id()));
        assert_eq!(there.unwrap(), here);
    }
}
