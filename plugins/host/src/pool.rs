//! A plugin's instances, by tenant.
//!
//! Locks are taken in one order: the map of tenants, a tenant's list, an instance. Only the list lock decides
//! whether an instance is in use, so nothing is evicted that a stream is about to take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::error::StreamError;
use crate::instance::Instance;
use crate::scope::{Counters, Scope};
use crate::threads::{Threads, Worker};

mod cell;
mod tenant;

pub(crate) use cell::{Cell, Lease};
pub(crate) use tenant::{Opening, Order};
use tenant::{Pick, Tenant};

/// From this many tenants on, those whose instances all trapped are looked for and forgotten.
const SWEEP_FROM: usize = 64;

/// How long one starter ends instances before others' starts have their turn.
const ENDS_PER_TURN: Duration = Duration::from_millis(5);

/// All instances of one plugin.
pub(crate) struct Pool {
    tenants: RwLock<Tenants>,
}

struct Tenants {
    map: HashMap<Arc<str>, Arc<Tenant>>,
    /// The size at which `map` is swept: twice what the last sweep left, so that sweeping costs little per tenant.
    sweep_at: usize,
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
        let tenant = tenants.map.entry(Arc::clone(&name)).or_insert_with(|| Tenant::new(new_scope(&name)));
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
        let live = tenants.map.values().map(|tenant| tenant.live());
        live.filter(|instances| *instances > 0).fold((0, 0), |(tenants, sum), more| (tenants + 1, sum + more))
    }

    /// When the idle instance that was longest unused was used.
    pub(crate) fn oldest_idle(&self) -> Option<u64> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.map.values().filter_map(|tenant| tenant.oldest_idle()).min()
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

    /// Ends all instances, one after the other. Called when the plugin and its streams are gone.
    pub(crate) fn close(&self, threads: &Arc<Threads>) {
        let tenants = std::mem::take(&mut self.tenants.write().unwrap_or_else(PoisonError::into_inner).map);
        end_all(threads, tenants.into_values().flat_map(|tenant| tenant.take_all()).collect());
    }
}

/// Guests have a last word, and whoever let go of the plugin may have requests to serve: so starters end them, and others'
/// starts come between. Where too much waits for those they end without one, as those of slow plugins do.
fn end_all(threads: &Arc<Threads>, mut cells: Vec<Arc<Cell>>) {
    if !threads.are_own() {
        cells.iter().for_each(Cell::end);
        return;
    }
    if cells.is_empty() {
        return;
    }
    let next = Arc::clone(threads);
    let end = move || {
        let until = Instant::now() + ENDS_PER_TURN;
        while let Some(cell) = cells.pop() {
            if cell.scope.is_apart() {
                cell.abandon();
            } else {
                cell.end();
            }
            if Instant::now() >= until {
                break;
            }
        }
        end_all(&next, cells);
    };
    drop(threads.submit(Worker::Starter, end));
}

impl Tenants {
    fn sweep(&mut self) {
        if self.map.len() >= self.sweep_at {
            self.map.retain(|_, tenant| !tenant.retire_if_empty());
            self.sweep_at = (2 * self.map.len()).max(SWEEP_FROM);
        }
    }
}
