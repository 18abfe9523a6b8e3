//! What is known of families in this process: one [`Family`] each, recent revocations, suspended tenants.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Family, FamilyRecord, TenantState};
use crate::{AuthError, Clock};

/// How many revocations are remembered, to refuse an answer the store gave just before one of them.
const REMEMBERED_REVOCATIONS: usize = 65_536;
/// How many suspended tenants are remembered. The logins of one that fell out cost a read of the store per request.
const REMEMBERED_SUSPENSIONS: usize = 65_536;

/// One [`Family`] per id, whatever number of auth sessions and sockets share it.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) families: HashMap<Uuid, Weak<Family>>,
    sweep_at: usize,
    revoked: Recent,
    suspended: Recent,
    /// How many rechecks, suspensions and resumptions have begun. A record read before one may say what that one would
    /// have found out.
    pub(super) generation: u64,
}

/// What became of a record that was read.
pub(super) enum Interned {
    Live(Arc<Family>),
    /// The family was revoked since.
    Revoked,
    /// The tenant is suspended.
    Suspended,
    /// A recheck began since: read again.
    Outdated,
}

impl Registry {
    /// The generation to read a record of the tenant in.
    ///
    /// # Errors
    /// [`AuthError::TenantSuspended`] if there is no need to read it.
    pub(super) fn begin_lookup(&self, tenant: Uuid) -> Result<u64, AuthError> {
        if self.suspended.contains(tenant) { Err(AuthError::TenantSuspended) } else { Ok(self.generation) }
    }

    /// The family of `record`, which was read when `generation` was the newest.
    pub(super) fn intern(
        &mut self,
        record: FamilyRecord,
        generation: u64,
        clock: &Arc<dyn Clock>,
    ) -> Interned {
        if self.revoked.contains(record.family) {
            return Interned::Revoked;
        }
        if self.generation != generation {
            return Interned::Outdated;
        }
        if record.tenant == TenantState::Suspended {
            self.suspend(record.tenant_id);
            return Interned::Suspended;
        }
        if let Some(known) = self.families.get(&record.family).and_then(Weak::upgrade) {
            return Interned::Live(known);
        }
        if self.families.len() >= self.sweep_at {
            self.families.retain(|_, family| family.strong_count() > 0);
            self.sweep_at = (self.families.len() * 2).max(1024);
        }
        let family = Arc::new(Family {
            id: record.family,
            user_id: record.user_id,
            tenant_id: record.tenant_id,
            ends_at: record.ends_at,
            ended: CancellationToken::new(),
            suspended: AtomicBool::new(false),
            clock: Arc::clone(clock),
        });
        self.families.insert(record.family, Arc::downgrade(&family));
        Interned::Live(family)
    }

    pub(super) fn revoke(&mut self, family: Uuid) {
        self.revoked.insert(family, REMEMBERED_REVOCATIONS);
        if let Some(known) = self.families.remove(&family).and_then(|known| known.upgrade()) {
            known.ended.cancel();
        }
    }

    pub(super) fn suspend(&mut self, tenant: Uuid) {
        self.generation += 1;
        self.suspended.insert(tenant, REMEMBERED_SUSPENSIONS);
        for family in self.take(tenant) {
            family.suspended.store(true, Ordering::Release);
            family.ended.cancel();
        }
    }

    pub(super) fn resume(&mut self, tenant: Uuid) {
        self.generation += 1;
        self.suspended.remove(tenant);
    }

    pub(super) fn remove_tenant(&mut self, tenant: Uuid) {
        self.resume(tenant);
        for family in self.take(tenant) {
            self.revoke(family.id);
            family.ended.cancel();
        }
    }

    /// Forgets which tenants are suspended: their logins are looked up again.
    pub(super) fn forget_suspensions(&mut self) {
        self.suspended = Recent::default();
    }

    /// A tenant's families, which are no longer the ones to hand out.
    fn take(&mut self, tenant: Uuid) -> Vec<Arc<Family>> {
        let families = self.families.values().filter_map(Weak::upgrade);
        let taken: Vec<_> = families.filter(|family| family.tenant_id == tenant).collect();
        for family in &taken {
            self.families.remove(&family.id);
        }
        taken
    }
}

/// Ids, the newest so many.
#[derive(Default)]
struct Recent {
    ids: HashSet<Uuid>,
    order: VecDeque<Uuid>,
}

impl Recent {
    fn contains(&self, id: Uuid) -> bool {
        self.ids.contains(&id)
    }

    fn insert(&mut self, id: Uuid, most: usize) {
        if self.ids.insert(id) {
            self.order.push_back(id);
            if self.order.len() > most
                && let Some(oldest) = self.order.pop_front()
            {
                self.ids.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, id: Uuid) {
        if self.ids.remove(&id) {
            self.order.retain(|other| *other != id);
        }
    }
}
