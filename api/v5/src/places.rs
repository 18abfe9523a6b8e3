//! Places for work that takes much of this process: so many for all, and fewer for each tenant, so that none takes them
//! all. Who finds none waits a while for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

/// How long a request waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many requests of a tenant wait at a time; one more is refused at once.
const MAX_WAITING: usize = 8;

/// Places. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// How many a tenant may have.
    each: usize,
    /// Only tenants that have a place or wait for one.
    tenants: Arc<Mutex<HashMap<Uuid, Tenant>>>,
}

#[derive(Debug)]
struct Tenant {
    places: Arc<Semaphore>,
    /// Requests that have a place or wait for one.
    claims: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _claim: Claim,
}

/// What keeps a tenant's entry.
#[derive(Debug)]
struct Claim {
    tenants: Arc<Mutex<HashMap<Uuid, Tenant>>>,
    tenant: Uuid,
}

impl Places {
    /// So many places for all, and so many of them for each tenant.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, tenants: Arc::default() }
    }

    /// Takes a place for a tenant, first come, first served; `None` if there is none within [`PATIENCE`], or if as many
    /// of the tenant's requests wait as may.
    ///
    /// Cancellation safe.
    pub(crate) async fn take(&self, tenant: Uuid) -> Option<Place> {
        let (claim, own) = self.claim(tenant)?;
        let taken = timeout(PATIENCE, async {
            // The tenant's first: nobody waits among all with more than they may have.
            let own = own.acquire_owned().await.ok()?;
            Some((own, Arc::clone(&self.all).acquire_owned().await.ok()?))
        });
        let (own, all) = taken.await.ok().flatten()?;
        Some(Place { _all: all, _own: own, _claim: claim })
    }

    fn claim(&self, tenant: Uuid) -> Option<(Claim, Arc<Semaphore>)> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Tenant { places: Arc::new(Semaphore::new(self.each)), claims: 0 };
        let entry = tenants.entry(tenant).or_insert_with(fresh);
        if entry.claims >= self.each + MAX_WAITING {
            return None;
        }
        entry.claims += 1;
        Some((Claim { tenants: Arc::clone(&self.tenants), tenant }, Arc::clone(&entry.places)))
    }

    /// How many places nobody has.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.all.available_permits()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = tenants.get_mut(&self.tenant) {
            entry.claims = entry.claims.saturating_sub(1);
            if entry.claims == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    fn tenant(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[tokio::test(start_paused = true)]
    async fn one_tenant_does_not_take_all_places() {
        let places = Places::new(3, 2);
        let mut own = join_all([places.take(tenant(1)), places.take(tenant(1))]).await;
        assert!(own.iter().all(Option::is_some));
        assert!(places.take(tenant(1)).await.is_none(), "it has what it may have");
        let other = places.take(tenant(2)).await;
        assert!(other.is_some());
        let mut third = Box::pin(places.take(tenant(3)));
        assert!(third.as_mut().now_or_never().is_none(), "it waits");
        own.pop();
        assert!(third.await.is_some());
        drop((own, other));
        assert_eq!((places.free(), places.tenants.lock().unwrap().len()), (3, 0), "nothing is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_wait_and_no_more_nor_longer() {
        let places = Places::new(2, 1);
        let held = places.take(tenant(1)).await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(places.take(tenant(1)))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert!(places.take(tenant(1)).now_or_never().unwrap().is_none(), "one more is refused at once");
        waiting.truncate(1);
        assert!(waiting.pop().unwrap().await.is_none(), "the place did not come in time");
        drop(held);
        assert!(places.take(tenant(1)).now_or_never().unwrap().is_some());
    }
}
