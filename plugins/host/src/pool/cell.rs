//! An instance, and who uses it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::lock;
use crate::error::{StreamError, Trap};
use crate::instance::Instance;
use crate::mailbox::Event;
use crate::schedule::{DONE_DEADLINE, nanoseconds};
use crate::scope::{Counters, Scope};
use crate::threads::Worker;

/// An instance and its use. The instance is gone after a trap, while streams may still hold the cell.
pub(crate) struct Cell {
    pub(super) scope: Arc<Scope>,
    instance: Mutex<Option<Instance>>,
    streams: AtomicUsize,
    last_use: AtomicU64,
    lost: AtomicBool,
    /// Events left to the thread for slow plugins.
    events: AtomicUsize,
}

/// A stream's hold on an instance: it is not evicted meanwhile.
pub(crate) struct Lease(Arc<Cell>);

impl Cell {
    pub(super) fn new(scope: &Arc<Scope>, instance: Instance) -> Arc<Self> {
        let cell = Arc::new(Self {
            scope: Arc::clone(scope),
            instance: Mutex::new(Some(instance)),
            streams: AtomicUsize::new(0),
            last_use: AtomicU64::new(u64::MAX),
            lost: AtomicBool::new(false),
            events: AtomicUsize::new(0),
        });
        if let Some(instance) = lock(&cell.instance).as_ref() {
            instance.mailbox().open(&cell);
        }
        cell
    }

    /// Whether it trapped, or takes no more streams.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether no stream uses it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams() == 0
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Acquire)
    }

    /// Whether it runs no callback now.
    pub(super) fn is_free(&self) -> bool {
        self.instance.try_lock().is_ok()
    }

    /// Ends it for all its streams, and tells its guest nothing. Where a callback runs, as soon as that returns.
    pub(crate) fn abandon(&self) {
        self.lost.store(true, Ordering::Release);
        if let Ok(mut instance) = self.instance.try_lock() {
            *instance = None;
        }
    }

    pub(super) fn last_use(&self) -> u64 {
        self.last_use.load(Ordering::Acquire)
    }

    /// The instance. One whose lock is poisoned was left in the middle of a callback by a panic, and is lost.
    fn instance(&self) -> MutexGuard<'_, Option<Instance>> {
        self.instance.lock().unwrap_or_else(|poisoned| {
            self.lost.store(true, Ordering::Release);
            let mut guard = poisoned.into_inner();
            *guard = None;
            guard
        })
    }

    /// Ends the root context and drops the instance; one that wants time to finish is left to the engine's driver.
    pub(super) fn end(self: &Arc<Self>) {
        let mut guard = self.instance();
        let Some(instance) = guard.as_mut() else { return };
        match instance.end_root() {
            Ok(true) => {}
            Ok(false) => {
                let now = self.scope.plugin.environment.monotonic_nanoseconds();
                let deadline = now.saturating_add(nanoseconds(DONE_DEADLINE));
                let schedule = Arc::clone(instance.mailbox().schedule());
                drop(guard);
                schedule.finish(deadline, Arc::clone(self));
                return;
            }
            Err(error) => tracing::warn!(%error, "a plugin instance failed while it was ended"),
        }
        *guard = None;
    }

    /// Ends the root context and drops the instance, whether it wants time to finish or not: its place is needed. That of a
    /// slow plugin has no last word.
    pub(super) fn end_now(&self) {
        if self.scope.is_apart() {
            self.abandon();
            return;
        }
        let done = self.instance().as_mut().map(Instance::end_root);
        match done {
            Some(Ok(false)) => self.give_up(),
            Some(Err(error)) => tracing::warn!(%error, "a plugin instance failed while it was ended"),
            Some(Ok(true)) | None => {}
        }
        *self.instance() = None;
    }

    /// Ends a root context whose time to finish is over.
    pub(crate) fn give_up(&self) {
        self.lost.store(true, Ordering::Release);
        if let Some(mut instance) = self.instance().take()
            && let Err(error) = instance.delete_root()
        {
            tracing::warn!(%error, "a plugin instance failed while it was ended");
        }
    }

    /// Whether nothing is left of the instance. One whose callback runs now is there.
    pub(crate) fn is_over(&self) -> bool {
        self.instance.try_lock().is_ok_and(|instance| instance.is_none())
    }

    /// Tells the instance of an event: on this thread, or, where its plugin was slow, on that for slow ones. An instance for
    /// which there is no room there ends: what it does not hear of it would wait for in vain.
    pub(crate) fn tell(self: Arc<Self>, event: Event) {
        // One that was left there goes before those that come later.
        if self.events.load(Ordering::Acquire) == 0 && !self.scope.is_apart() {
            self.handle(event);
            return;
        }
        let (scope, told) = (&self.scope, Arc::clone(&self));
        self.events.fetch_add(1, Ordering::AcqRel);
        let tell = move || {
            told.handle(event);
            told.events.fetch_sub(1, Ordering::AcqRel);
        };
        if scope.plugin.threads.submit(Worker::Slow(scope), tell).is_err() {
            // Those that wait find no instance.
            self.events.fetch_sub(1, Ordering::AcqRel);
            Counters::add(&scope.plugin.counters.refused_busy);
            self.abandon();
        }
    }

    /// Tells the instance of an event; a trap ends it.
    fn handle(&self, event: Event) {
        let mut guard = self.instance();
        if self.is_lost() {
            *guard = None;
        }
        let Some(instance) = guard.as_mut() else { return };
        match instance.handle(event) {
            Ok(()) if self.is_lost() => *guard = None,
            Ok(()) if instance.is_over() => {
                drop(guard);
                self.give_up();
            }
            Ok(()) => {}
            Err(trap) => {
                self.lost.store(true, Ordering::Release);
                *guard = None;
                drop(guard);
                tracing::error!(
                    error = &*trap as &dyn std::error::Error,
                    backtrace = trap.backtrace,
                    "plugin failed"
                );
            }
        }
    }
}

impl Lease {
    /// Only under the list's lock, or beside another one.
    pub(super) fn new(cell: &Arc<Cell>) -> Self {
        cell.streams.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(cell))
    }

    /// Notes a use, for the order of eviction.
    pub(crate) fn used(&self, at: u64) {
        self.0.last_use.store(at, Ordering::Release);
    }

    /// What its plugin and tenant have in common.
    pub(crate) fn scope(&self) -> &Arc<Scope> {
        &self.0.scope
    }

    /// Another hold on the same instance.
    pub(crate) fn again(&self) -> Self {
        // This one keeps it from being evicted meanwhile.
        Self::new(&self.0)
    }

    /// Ends the instance for all its streams.
    pub(crate) fn abandon(&self) {
        self.0.abandon();
    }

    /// Runs callbacks on the instance, alone. A trap ends it, at once and for all its streams.
    pub(crate) fn with<R>(
        &self,
        run: impl FnOnce(&mut Instance) -> Result<R, Box<Trap>>,
    ) -> Result<R, StreamError> {
        let cell = &self.0;
        let mut guard = cell.instance();
        if cell.is_lost() {
            *guard = None;
        }
        let Some(instance) = guard.as_mut() else {
            return Err(StreamError::InstanceLost { plugin: Arc::clone(&cell.scope.plugin.name) });
        };
        let done = run(instance);
        if done.is_err() || cell.is_lost() {
            cell.lost.store(true, Ordering::Release);
            *guard = None;
        }
        done.map_err(StreamError::Trap)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}
