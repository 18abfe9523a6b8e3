//! One tenant's instances of a plugin, and which of them a new stream gets.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::cell::{Cell, Lease};
use super::lock;
use crate::error::StreamError;
use crate::instance::Instance;
use crate::scope::{Counters, Scope};

/// One tenant's.
pub(super) struct Tenant {
    pub(super) scope: Arc<Scope>,
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

pub(super) enum Pick {
    Use(Lease),
    Start,
    Retired,
}

/// Where a new stream of a tenant begins.
pub(crate) enum Opening {
    /// On an instance that runs, on the calling thread; where all are busy another one is to be started meanwhile.
    Here(Lease, Option<Order>),
    /// Where instances are started.
    Start(Order),
    /// Where slow plugins run.
    Slow(Arc<Scope>),
    /// Where one of the instances that are being started for others says, once it is there or failed.
    Wait(OwnedNotified),
}

/// The right to have an instance started. A plugin has one at a time for a tenant, however many requests wait for it.
pub(crate) struct Order(Arc<Tenant>);

impl Drop for Order {
    fn drop(&mut self) {
        let mut list = lock(&self.0.list);
        list.ordered = list.ordered.saturating_sub(1);
        drop(list);
        self.0.changed.notify_waiters();
    }
}

impl List {
    /// One that runs no callback now.
    fn free(&mut self) -> Option<Lease> {
        self.cells.retain(|cell| !cell.is_lost());
        self.cells.iter().find(|cell| cell.is_free()).map(Lease::new)
    }
}

impl Tenant {
    pub(super) fn new(scope: Arc<Scope>) -> Arc<Self> {
        Arc::new(Self { scope, list: Mutex::default(), changed: Arc::default() })
    }

    /// How many instances it has.
    pub(super) fn live(&self) -> u64 {
        lock(&self.list).cells.iter().filter(|cell| !cell.is_lost()).count() as u64
    }

    /// When the idle instance that was longest unused was used.
    pub(super) fn oldest_idle(&self) -> Option<u64> {
        let list = lock(&self.list);
        list.cells.iter().filter(|cell| cell.is_idle() && cell.is_free()).map(|cell| cell.last_use()).min()
    }

    /// Takes all instances out.
    pub(super) fn take_all(&self) -> Vec<Arc<Cell>> {
        std::mem::take(&mut lock(&self.list).cells)
    }

    pub(super) fn pick(&self, most: usize) -> Pick {
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
    pub(super) fn opening(self: &Arc<Self>, most: usize) -> Option<Opening> {
        let mut list = lock(&self.list);
        if list.retired {
            return None;
        }
        if self.scope.is_apart() {
            return Some(Opening::Slow(Arc::clone(&self.scope)));
        }
        if let Some(lease) = list.free() {
            return Some(Opening::Here(lease, None));
        }
        let order = (list.ordered == 0 && list.cells.len() < most).then(|| {
            list.ordered += 1;
            Order(Arc::clone(self))
        });
        Some(match (self.share(&list), order) {
            // It does not wait for the next one to start.
            (Some(lease), order) => Opening::Here(lease, order),
            (None, Some(order)) => Opening::Start(order),
            // From here on it hears of every start's end.
            (None, None) => Opening::Wait(Arc::clone(&self.changed).notified_owned()),
        })
    }

    /// The busy instance with the fewest streams.
    fn share(&self, list: &List) -> Option<Lease> {
        let least = list.cells.iter().min_by_key(|cell| cell.streams())?;
        Counters::add(&self.scope.plugin.counters.instances_shared);
        Some(Lease::new(least))
    }

    /// Takes a new instance in. Where others were faster and there are `most` already, one of those is used.
    pub(super) fn started(
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
        let cell = Cell::new(&self.scope, instance);
        list.cells.push(Arc::clone(&cell));
        Ok(Some(Lease::new(&cell)))
    }

    pub(super) fn take_idle(&self, last_use: u64) -> Option<Arc<Cell>> {
        let mut list = lock(&self.list);
        let unused = |cell: &Arc<Cell>| cell.is_idle() && cell.is_free() && cell.last_use() == last_use;
        let index = list.cells.iter().position(unused)?;
        Some(list.cells.swap_remove(index))
    }

    pub(super) fn retire_if_empty(&self) -> bool {
        let mut list = lock(&self.list);
        list.cells.retain(|cell| !cell.is_lost());
        // What it did lately is remembered with it.
        let quiet = !self.scope.is_apart() && !self.scope.failed_lately();
        list.retired = quiet && list.cells.is_empty() && list.starting == 0 && list.ordered == 0;
        list.retired
    }
}
