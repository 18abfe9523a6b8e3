//! Tenants. They are made by the registration of their first user: [`super::Users::register`].

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, Versioned, change};
use super::page::{load_all, page_keys};
use super::{Context, Page, UpdateError, load};
use crate::changes::{self, Change};
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, Key, Keyspace, TenantScope};
use crate::records::{Tenant, TenantStatus};

/// Tenants.
pub struct Tenants<'a> {
    context: &'a Context,
}

impl<'a> Tenants<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// A tenant.
    pub async fn get(&self, id: Uuid) -> Result<Option<Tenant>, StoreError> {
        let key = &self.context.keys.tenant(id).tenant();
        self.context.run(|transaction| async move { load(&transaction, key).await }).await
    }

    /// All tenants, in the order of their ids, from the one after `after` on.
    pub async fn list(&self, after: Option<Uuid>, limit: usize) -> Result<Page<Tenant, Uuid>, StoreError> {
        let keys = &self.context.keys;
        self.context
            .run(|transaction| async move {
                let mut span = keys.global_span(GlobalFamily::Tenants, &());
                if let Some(after) = after {
                    span = span.beyond(&keys.global(GlobalFamily::Tenants, &(after,)), false);
                }
                let (entries, more) = page_keys(&transaction, span, limit, false).await?;
                let ids = entries
                    .iter()
                    .map(|entry| keys.global_unpack(GlobalFamily::Tenants, entry).map(|(id,): (Uuid,)| id))
                    .collect::<Result<Vec<_>, _>>()?;
                let items = load_all(&transaction, ids.iter().map(|id| keys.tenant(*id).tenant())).await?;
                Ok(Page { items, next: ids.last().copied().filter(|_| more) })
            })
            .await
    }

    /// Keeps a tenant's members from doing anything from `now` (Unix milliseconds) on, and returns it as it is now.
    /// All replicas, this one too, learn of it by the change feed. A tenant that is suspended already keeps since
    /// when and gets the new reason.
    pub async fn suspend(&self, id: Uuid, reason: Option<&str>, now: i64) -> Result<Tenant, UpdateError> {
        self.set_status(id, Change::TenantSuspended { tenant: id }, now, |tenant| {
            tenant.status = TenantStatus::Suspended;
            tenant.suspended_at = tenant.suspended_at.or(Some(now));
            tenant.reason = reason.map(str::to_owned);
        })
        .await
    }

    /// Ends a suspension at `now` (Unix milliseconds): the same logins are good again.
    pub async fn resume(&self, id: Uuid, now: i64) -> Result<Tenant, UpdateError> {
        self.set_status(id, Change::TenantResumed { tenant: id }, now, |tenant| {
            tenant.status = TenantStatus::Active;
            tenant.suspended_at = None;
            tenant.reason = None;
        })
        .await
    }

    /// Changes the status and tells of it, in one transaction. What is so already is not told again.
    async fn set_status(
        &self,
        id: Uuid,
        told: Change,
        now: i64,
        how: impl Fn(&mut Tenant) + Send + Sync,
    ) -> Result<Tenant, UpdateError> {
        let (keys, told, how) = (&self.context.keys, &told, &how);
        let scope = &keys.tenant(id);
        self.context
            .once(|transaction| async move {
                let old: Tenant = load(&transaction, &scope.tenant()).await?.ok_or(UpdateError::NotFound)?;
                let new = change(&transaction, keys, scope, &old, |tenant| {
                    how(tenant);
                    if *tenant != old {
                        tenant.updated_at = now;
                    }
                })
                .await?;
                if new.status != old.status {
                    changes::append(&transaction, keys, now, told)?;
                }
                Ok(new)
            })
            .await
    }

    /// Changes a tenant and returns it as it is now. Id and creation time stay as they are.
    pub async fn update(
        &self,
        id: Uuid,
        expected: Option<u64>,
        change: impl Fn(&mut Tenant) + Send + Sync,
    ) -> Result<Tenant, UpdateError> {
        let scope = self.context.keys.tenant(id);
        self.context.update(&scope, &scope.tenant(), expected, |_| true, change).await
    }
}

impl Indexed for Tenant {
    fn tenant(&self) -> Uuid {
        self.id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        scope.tenant()
    }

    fn global_entries(&self, keys: &Keyspace, scope: &TenantScope) -> Vec<IndexEntry> {
        vec![IndexEntry::plain(keys.global(GlobalFamily::Tenants, &(scope.id(),)))]
    }
}

impl Versioned for Tenant {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.id = old.id;
        self.created_at = old.created_at;
    }
}
