//! Threads for the guests' code that no request's thread runs.
//!
//! A callback of a plugin in good standing takes microseconds and runs where its request does. Not so:
//!
//! - the start of an instance, for which a guest has a hundred times as long, and its end: *starters* do that;
//! - all callbacks of a plugin that lately crossed its CPU budget for a tenant ([`Scope::is_slow`]). Each could take all of
//!   its budget again, and whoever shares the thread would wait that long. One thread of the lowest priority does that.
//!
//! An engine that measures by fuel has no threads: everything runs where it is called, for the same result each time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::scope::Scope;
use crate::ticker::Ticking;

/// Starts and ends of instances at a time.
const STARTERS: usize = 2;
/// Starts and ends that wait. Past it a start is refused, and an end is done by whoever wants it.
const MAX_STARTS: usize = 1024;
/// Callbacks of slow plugins that wait, over all tenants.
const MAX_SLOW: usize = 256;
/// Of them, those of one plugin for one tenant. More of its requests are failed by it at once.
const MAX_SLOW_EACH: usize = 16;
/// `nice(2)`: what is left of the machine.
const LOWEST_PRIORITY: i32 = 19;

type Job = Box<dyn FnOnce() + Send>;

/// An engine's threads. They end when the last plugin and the engine are gone.
pub(crate) struct Threads {
    starters: Option<SyncSender<Job>>,
    slow: Option<SyncSender<Job>>,
    ticking: Ticking,
}

/// Who is to do a job.
#[derive(Clone, Copy)]
pub(crate) enum Worker<'a> {
    /// Those who start and end instances.
    Starter,
    /// The one for what is slow; it is this scope's.
    Slow(&'a Arc<Scope>),
}

impl Threads {
    /// None at all: every job is done by who wants it.
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self { starters: None, slow: None, ticking: Ticking::nobody() })
    }

    pub(crate) fn start(ticking: Ticking) -> std::io::Result<Arc<Self>> {
        let starters = spawn("wasm-start", STARTERS, MAX_STARTS, || {})?;
        let slow = spawn("wasm-slow", 1, MAX_SLOW, || {
            // On Linux a priority is a thread's own; without one this thread is as good as the others.
            if let Err(error) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
                tracing::warn!(%error, "slow plugins run with the priority of requests");
            }
        })?;
        Ok(Arc::new(Self { starters: Some(starters), slow: Some(slow), ticking }))
    }

    /// Has a job done. Given back where too many wait already.
    pub(crate) fn submit(
        &self,
        worker: Worker<'_>,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), Refused> {
        let (queue, job): (_, Job) = match worker {
            Worker::Starter => (&self.starters, Box::new(job)),
            Worker::Slow(scope) => {
                let place = Place::take(scope).ok_or(Refused)?;
                let ticking = self.ticking.clone();
                let careful = move || {
                    let _precisely = ticking.precisely();
                    job();
                    drop(place);
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

    /// Has a job done, and waits for what comes of it. The job is done even if nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        worker: Worker<'_>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        // Where nobody waits, what came of it is dropped on that thread.
        self.submit(worker, move || drop(answer.send(job())))?;
        // The job panicked, or the thread did.
        answered.await.map_err(|_| Refused)
    }
}

/// A job that was not done: too many wait already, or it panicked.
#[derive(Debug)]
pub(crate) struct Refused;

/// A place among those of a plugin's callbacks for one tenant that wait.
struct Place(Arc<Scope>);

impl Place {
    fn take(scope: &Arc<Scope>) -> Option<Self> {
        let below = |waiting: usize| (waiting < MAX_SLOW_EACH).then_some(waiting + 1);
        scope.waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, below).ok()?;
        Some(Self(Arc::clone(scope)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        AtomicUsize::fetch_sub(&self.0.waiting, 1, Ordering::AcqRel);
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
        let threads = Threads::start(Ticking::nobody()).unwrap();
        let panics = || -> u32 { std::panic::resume_unwind(Box::new("on purpose")) };
        for _ in 0..2 * STARTERS {
            assert!(futures::executor::block_on(threads.run(Worker::Starter, panics)).is_err());
        }
        assert_eq!(futures::executor::block_on(threads.run(Worker::Starter, || 7)).unwrap(), 7);
    }

    #[test]
    fn what_waits_is_bounded() {
        let threads = Threads::start(Ticking::nobody()).unwrap();
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
        let threads = Threads::none();
        let there = futures::executor::block_on(threads.run(Worker::Starter, || thread::current().id()));
        assert_eq!(there.unwrap(), here);
    }
}
