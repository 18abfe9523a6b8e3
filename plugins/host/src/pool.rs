//! A plugin's instances, by tenant.
//!
//! Locks are taken in one order: the map of tenants, a tenant's list, an instance. Only the list lock decides
//! whether an instance is in use, so nothing is evicted that a stream is about to take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::error::{StreamError, Trap};
use crate::instance::Instance;
use crate::mailbox::Event;
use crate::schedule::{DONE_DEADLINE, nanoseconds};
use crate::scope::{Counters, Scope};
use crate::threads::Worker;

/// From this many tenants on, those whose instances all trapped are looked for and forgotten.
const SWEEP_FROM: usize = 64;

/// All instances of one plugin.
pub(crate) struct Pool {
    tenants: RwLock<Tenants>,
}

struct Tenants {
    map: HashMap<Arc<str>, Arc<Tenant>>,
    /// The size at which `map` is swept: twice what the last sweep left, so that sweeping costs little per tenant.
    sweep_at: usize,
}

/// One tenant's.
struct Tenant {
    scope: Arc<Scope>,
    list: Mutex<List>,
    /// Rings when an instance that was ordered is there, or failed.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct List {
    cells: Vec<Arc<Cell>>,
    /// Instances being started, which will be in `cells`.
    starting: usize,
    /// Those that were ordered of another thread, started or not.
    ordered: usize,
    /// The tenant was taken out of the map; whoever still finds it here looks again.
    retired: bool,
}

/// An instance and its use. The instance is gone after a trap, while streams may still hold the cell.
pub(crate) struct Cell {
    scope: Arc<Scope>,
    instance: Mutex<Option<Instance>>,
    streams: AtomicUsize,
    last_use: AtomicU64,
    lost: AtomicBool,
}

/// A stream's hold on an instance: it is not evicted meanwhile.
pub(crate) struct Lease(Arc<Cell>);

enum Pick {
    Use(Lease),
    Start,
    Retired,
}

/// Where a new stream of a tenant begins.
pub(crate) enum Opening {
    /// On an instance that runs, on the calling thread.
    Here(Lease),
    /// Where instances are started.
    Start(Order),
    /// Where slow plugins run.
    Slow(Arc<Scope>),
    /// Where one of the instances that are being started for others says, once it is there or failed.
    Wait(OwnedNotified),
}

/// The right to have an instance started. One tenant has no more than it may have instances, however many requests wait
/// for one.
pub(crate) struct Order(Arc<Tenant>);

impl Drop for Order {
    fn drop(&mut self) {
        let mut list = lock(&self.0.list);
        list.ordered = list.ordered.saturating_sub(1);
        drop(list);
        self.0.changed.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self { tenants: RwLock::new(Tenants { map: HashMap::new(), sweep_at: SWEEP_FROM }) }
    }

    /// An instance for a stream of `tenant`: an idle one, else a new one, else, with `most` there, the least loaded.
    pub(crate) fn lease(
        &self,
        tenant: &str,
        most: usize,
        new_scope: impl Fn(&Arc<str>) -> Arc<Scope>,
        start: impl Fn(&Arc<Scope>) -> Result<Instance, StreamError>,
    ) -> Result<Lease, StreamError> {
        loop {
            let tenant = self.tenant(tenant, &new_scope);
            match tenant.pick(most) {
                Pick::Use(lease) => return Ok(lease),
                Pick::Retired => {}
                Pick::Start => {
                    let started = start(&tenant.scope);
                    if let Some(lease) = tenant.started(started, most)? {
                        return Ok(lease);
                    }
                }
            }
        }
    }

    /// Where a stream of `tenant` begins; nothing is started.
    pub(crate) fn opening(
        &self,
        tenant: &str,
        most: usize,
        new_scope: impl Fn(&Arc<str>) -> Arc<Scope>,
    ) -> Opening {
        loop {
            if let Some(opening) = self.tenant(tenant, &new_scope).opening(most) {
                return opening;
            }
        }
    }

    /// Whether the plugin lately trapped or did not start for a tenant.
    pub(crate) fn failed_lately(&self, tenant: &str) -> bool {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.map.get(tenant).is_some_and(|tenant| tenant.scope.failed_lately())
    }

    fn tenant(&self, name: &str, new_scope: &impl Fn(&Arc<str>) -> Arc<Scope>) -> Arc<Tenant> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.map.get(name) {
            return Arc::clone(tenant);
        }
        drop(tenants);
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.sweep();
        let name: Arc<str> = name.into();
        let tenant = tenants.map.entry(Arc::clone(&name)).or_insert_with(|| {
            Arc::new(Tenant { scope: new_scope(&name), list: Mutex::default(), changed: Arc::default() })
        });
        Arc::clone(tenant)
    }

    pub(crate) fn for_each_scope(&self, mut visit: impl FnMut(&Scope)) {
        for tenant in self.tenants.read().unwrap_or_else(PoisonError::into_inner).map.values() {
            visit(&tenant.scope);
        }
    }

    /// Tenants with instances, and their instances.
    pub(crate) fn live(&self) -> (u64, u64) {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let live = tenants.map.values().map(|tenant| lock(&tenant.list).live());
        live.filter(|instances| *instances > 0).fold((0, 0), |(tenants, sum), more| (tenants + 1, sum + more))
    }

    /// When the idle instance that was longest unused was used.
    pub(crate) fn oldest_idle(&self) -> Option<u64> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.map.values().filter_map(|tenant| lock(&tenant.list).idle().map(Cell::last_use).min()).min()
    }

    /// Ends and drops the idle instance last used then, and forgets a tenant that has no other. Whether it was there.
    pub(crate) fn evict(&self, last_use: u64) -> bool {
        let found = {
            let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
            tenants
                .map
                .iter()
                .find_map(|(name, tenant)| Some((Arc::clone(name), tenant.take_idle(last_use)?)))
        };
        let Some((tenant, cell)) = found else { return false };
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        if tenants.map.get(&tenant).is_some_and(|tenant| tenant.retire_if_empty()) {
            tenants.map.remove(&tenant);
        }
        drop(tenants);
        Counters::add(&cell.scope.plugin.counters.instances_evicted);
        cell.end_now();
        true
    }

    /// Ends all instances. Called when the plugin and its streams are gone.
    pub(crate) fn close(&self) {
        let tenants = std::mem::take(&mut self.tenants.write().unwrap_or_else(PoisonError::into_inner).map);
        for tenant in tenants.into_values() {
            for cell in std::mem::take(&mut lock(&tenant.list).cells) {
                cell.end();
            }
        }
    }
}

impl Tenants {
    fn sweep(&mut self) {
        if self.map.len() >= self.sweep_at {
            self.map.retain(|_, tenant| !tenant.retire_if_empty());
            self.sweep_at = (2 * self.map.len()).max(SWEEP_FROM);
        }
    }
}

impl List {
    fn live(&self) -> u64 {
        self.cells.iter().filter(|cell| !cell.lost.load(Ordering::Acquire)).count() as u64
    }

    /// One that runs no callback now.
    fn free(&mut self) -> Option<Lease> {
        self.cells.retain(|cell| !cell.lost.load(Ordering::Acquire));
        self.cells.iter().find(|cell| cell.instance.try_lock().is_ok()).map(Lease::new)
    }

    fn idle(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().map(AsRef::as_ref).filter(|cell| cell.streams.load(Ordering::Acquire) == 0)
    }
}

impl Tenant {
    fn pick(&self, most: usize) -> Pick {
        let mut list = lock(&self.list);
        if list.retired {
            return Pick::Retired;
        }
        if let Some(lease) = list.free() {
            return Pick::Use(lease);
        }
        if list.cells.is_empty() || list.cells.len() + list.starting < most {
            list.starting += 1;
            return Pick::Start;
        }
        self.share(&list).map_or(Pick::Retired, Pick::Use)
    }

    /// Where a new stream begins; none where the tenant was taken out of the map.
    fn opening(self: &Arc<Self>, most: usize) -> Option<Opening> {
        if self.scope.is_slow() {
            return Some(Opening::Slow(Arc::clone(&self.scope)));
        }
        let mut list = lock(&self.list);
        if list.retired {
            return None;
        }
        if let Some(lease) = list.free() {
            return Some(Opening::Here(lease));
        }
        if list.cells.len() + list.ordered < most {
            if self.scope.failed_lately() {
                return Some(Opening::Slow(Arc::clone(&self.scope)));
            }
            list.ordered += 1;
            return Some(Opening::Start(Order(Arc::clone(self))));
        }
        let shared = self.share(&list).map(Opening::Here);
        // From here on it hears of every start's end.
        Some(shared.unwrap_or_else(|| Opening::Wait(Arc::clone(&self.changed).notified_owned())))
    }

    /// The busy instance with the fewest streams.
    fn share(&self, list: &List) -> Option<Lease> {
        let least = list.cells.iter().min_by_key(|cell| cell.streams.load(Ordering::Acquire))?;
        Counters::add(&self.scope.plugin.counters.instances_shared);
        Some(Lease::new(least))
    }

    /// Takes a new instance in. Where others were faster and there are `most` already, one of those is used.
    fn started(
        &self,
        started: Result<Instance, StreamError>,
        most: usize,
    ) -> Result<Option<Lease>, StreamError> {
        let mut list = lock(&self.list);
        list.starting = list.starting.saturating_sub(1);
        let instance = started?;
        if list.retired {
            return Ok(None);
        }
        if list.cells.len() >= most {
            return Ok(self.share(&list));
        }
        let cell = Arc::new(Cell {
            scope: Arc::clone(&self.scope),
            instance: Mutex::new(Some(instance)),
            streams: AtomicUsize::new(0),
            last_use: AtomicU64::new(u64::MAX),
            lost: AtomicBool::new(false),
        });
        if let Some(instance) = lock(&cell.instance).as_ref() {
            instance.mailbox().open(&cell);
        }
        list.cells.push(Arc::clone(&cell));
        Ok(Some(Lease::new(&cell)))
    }

    fn take_idle(&self, last_use: u64) -> Option<Arc<Cell>> {
        let mut list = lock(&self.list);
        let index = list
            .cells
            .iter()
            .position(|cell| cell.streams.load(Ordering::Acquire) == 0 && cell.last_use() == last_use)?;
        Some(list.cells.swap_remove(index))
    }

    fn retire_if_empty(&self) -> bool {
        let mut list = lock(&self.list);
        list.cells.retain(|cell| !cell.lost.load(Ordering::Acquire));
        list.retired = list.cells.is_empty() && list.starting == 0 && list.ordered == 0;
        list.retired
    }
}

impl Cell {
    fn last_use(&self) -> u64 {
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
    fn end(self: &Arc<Self>) {
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

    /// Ends the root context and drops the instance, whether it wants time to finish or not: its place is needed.
    fn end_now(&self) {
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

    /// Tells the instance of an event: on this thread, or, where its plugin was slow, on that for slow ones. One of those
    /// with too much to do already is not told.
    pub(crate) fn tell(self: Arc<Self>, event: Event) {
        if !self.scope.is_slow() {
            self.handle(event);
            return;
        }
        let scope = Arc::clone(&self.scope);
        if scope.plugin.threads.submit(Worker::Slow(&scope), move || self.handle(event)).is_err() {
            Counters::add(&scope.plugin.counters.refused_while_slow);
        }
    }

    /// Tells the instance of an event; a trap ends it.
    fn handle(&self, event: Event) {
        let mut guard = self.instance();
        let Some(instance) = guard.as_mut() else { return };
        match instance.handle(event) {
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
    /// Only under the list's lock.
    fn new(cell: &Arc<Cell>) -> Self {
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

    /// Lets no more streams come to the instance.
    pub(crate) fn abandon(&self) {
        self.0.lost.store(true, Ordering::Release);
    }

    /// Runs callbacks on the instance, alone. A trap ends it, at once and for all its streams.
    pub(crate) fn with<R>(
        &self,
        run: impl FnOnce(&mut Instance) -> Result<R, Box<Trap>>,
    ) -> Result<R, StreamError> {
        let cell = &self.0;
        let mut guard = cell.instance();
        let Some(instance) = guard.as_mut() else {
            return Err(StreamError::InstanceLost { plugin: Arc::clone(&cell.scope.plugin.name) });
        };
        run(instance).map_err(|trap| {
            cell.lost.store(true, Ordering::Release);
            *guard = None;
            StreamError::Trap(trap)
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}
