//! The audit trail: entries are added, and read by time, by who did it, and by what it was done to.

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, insert};
use super::page::time_page;
use super::{Context, Order, Page, TimeCursor, UpdateError};
use crate::error::StoreError;
use crate::keyspace::{Branch, Key, TenantFamily, TenantScope};
use crate::records::{AuditEntry, AuditObject};

/// The audit trail.
pub struct Audit<'a> {
    context: &'a Context,
}

impl<'a> Audit<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Adds an entry; its id must be fresh.
    pub async fn append(&self, entry: &AuditEntry) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(entry.tenant_id);
        self.context.run(|transaction| async move { insert(&transaction, keys, scope, entry).await }).await
    }

    /// A page of a tenant's entries.
    pub async fn list(
        &self,
        tenant: Uuid,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let scope = self.context.keys.tenant(tenant);
        self.page(&scope, &scope.branch(TenantFamily::Audit, &()), after, order, limit).await
    }

    /// A page of what a user did.
    pub async fn by_actor(
        &self,
        tenant: Uuid,
        actor: Uuid,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let scope = self.context.keys.tenant(tenant);
        let index = scope.branch(TenantFamily::AuditByActor, &(actor,));
        self.page(&scope, &index, after, order, limit).await
    }

    /// A page of what was done to something.
    pub async fn by_object(
        &self,
        tenant: Uuid,
        object: &AuditObject,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let scope = self.context.keys.tenant(tenant);
        let index = by_object(&scope, object);
        self.page(&scope, &index, after, order, limit).await
    }

    async fn page(
        &self,
        scope: &TenantScope,
        index: &Branch,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        self.context
            .run(|transaction| async move {
                let record = |place: &TimeCursor| key(scope, place.at, place.id);
                time_page(&transaction, index, after, order, limit, record).await
            })
            .await
    }
}

impl Indexed for AuditEntry {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        key(scope, self.at, self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let by_actor =
            self.actor.map(|actor| scope.key(TenantFamily::AuditByActor, &(actor, self.at, self.id)));
        let by_object = by_object(scope, &self.object).key(&(self.at, self.id));
        by_actor.into_iter().chain([by_object]).map(IndexEntry::plain).collect()
    }
}

fn key(scope: &TenantScope, at: i64, id: Uuid) -> Key {
    scope.key(TenantFamily::Audit, &(at, id))
}

fn by_object(scope: &TenantScope, object: &AuditObject) -> Branch {
    scope.branch(TenantFamily::AuditByObject, &(object.kind.as_str(), object.id.as_str()))
}
