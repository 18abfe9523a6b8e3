//! The thread that moves wasmtime's epoch, so that running callbacks look at their CPU time.
//!
//! Each wake costs the core it comes to tens of microseconds of what runs there, so they are few while all is well, and many
//! only while a callback of a plugin runs that lately took too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long the ticker goes on after the last callback before it sleeps until the next.
const LINGER: Duration = Duration::from_millis(100);
/// Between wakes while callbacks run that are to be cut off in time.
const PRECISE_INTERVAL: Duration = Duration::from_micros(500);

struct Shared {
    /// A callback began, or was still running, since the ticker last looked.
    active: AtomicBool,
    parked: AtomicBool,
    /// Callbacks that run now and are to be cut off in time.
    precise: AtomicUsize,
    stop: AtomicBool,
}

/// Owns the thread; dropping it stops and joins it.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

/// Tells the ticker that a callback runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ticking {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Ticker {
    /// Starts the thread, which calls `tick` every `interval` while callbacks run.
    pub(crate) fn start(interval: Duration, tick: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            active: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            precise: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let handle =
            thread::Builder::new().name("wasm-epoch".to_owned()).spawn(move || run(&own, interval, &tick))?;
        Ok(Self { shared, thread: handle.thread().clone(), handle: Some(handle) })
    }

    pub(crate) fn ticking(&self) -> Ticking {
        Ticking { shared: Arc::clone(&self.shared), thread: self.thread.clone() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("the epoch thread panicked");
        }
    }
}

impl Ticking {
    /// For callbacks that no thread wakes: it seems awake for ever.
    pub(crate) fn nobody() -> Self {
        let shared = Shared {
            active: AtomicBool::new(true),
            parked: AtomicBool::new(false),
            precise: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), thread: thread::current() }
    }

    /// Has wakes come often for as long as the result is kept.
    pub(crate) fn precisely(&self) -> Precisely {
        if self.shared.precise.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Precisely(Arc::clone(&self.shared))
    }

    /// Called when a callback begins and at each of its epoch wakes. Two loads where the ticker is awake.
    pub(crate) fn touch(&self) {
        if !self.shared.active.load(Ordering::Relaxed) {
            self.shared.active.store(true, Ordering::SeqCst);
        }
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

/// Callbacks run that are to be cut off in time.
pub(crate) struct Precisely(Arc<Shared>);

impl Drop for Precisely {
    fn drop(&mut self) {
        self.0.precise.fetch_sub(1, Ordering::SeqCst);
    }
}

fn run(shared: &Shared, interval: Duration, tick: &impl Fn()) {
    let mut looked = Instant::now();
    let mut ticked = looked;
    while !shared.stop.load(Ordering::SeqCst) {
        let precise = shared.precise.load(Ordering::SeqCst) > 0;
        let pause = if precise { interval.min(PRECISE_INTERVAL) } else { interval };
        let rest = pause.saturating_sub(ticked.elapsed());
        if !rest.is_zero() {
            thread::park_timeout(rest);
            // It may have been woken to look at the pause again.
            continue;
        }
        ticked = Instant::now();
        tick();
        if looked.elapsed() >= LINGER {
            looked = Instant::now();
            if !shared.active.swap(false, Ordering::SeqCst) {
                sleep_until_active(shared);
            }
        }
    }
}

/// `parked` is stored before `active` is read here, and `active` before `parked` in `touch`: one of the two sees the
/// other, so no callback can begin unnoticed.
fn sleep_until_active(shared: &Shared) {
    shared.parked.store(true, Ordering::SeqCst);
    while !shared.active.load(Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.parked.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Waits for a condition of the other thread, for at most ten seconds.
    fn eventually(condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < end, "the condition did not come true");
            thread::yield_now();
        }
    }

    #[test]
    fn it_sleeps_when_idle_and_wakes_for_a_callback() {
        let ticks = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&ticks);
        let ticker = Ticker::start(Duration::from_millis(1), move || {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        eventually(|| ticker.shared.parked.load(Ordering::SeqCst));
        let asleep = ticks.load(Ordering::SeqCst);
        ticker.ticking().touch();
        eventually(|| ticks.load(Ordering::SeqCst) > asleep + 3);
        eventually(|| ticker.shared.parked.load(Ordering::SeqCst));
    }

    #[test]
    fn dropping_it_joins_the_thread() {
        let ticks = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&ticks);
        let ticker = Ticker::start(Duration::from_millis(1), move || {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        drop(ticker);
        assert_eq!(Arc::strong_count(&ticks), 1, "the thread still holds its counter");
    }
}
