//! The heads of all trails, to be kept elsewhere.

use uuid::Uuid;

use crate::error::StoreError;
use crate::keyspace::{Keyspace, TenantScope};
use crate::records::{AuditHead, Record};
use crate::repo::audit::head_key;
use crate::store::{RetryPolicy, Store};

/// Where all trails end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads {
    /// The heads, in the order of the tenants' ids, the operators' among them.
    pub heads: Vec<AuditHead>,
    /// Tenants whose head cannot be read: the verification says why. They must not keep others from a backup.
    pub unreadable: Vec<Uuid>,
}

/// The heads of all trails. Each is of the moment it was read at: one that was read before a backup began names an
/// entry that is in the backup.
///
/// # Errors
///
/// What the store says.
pub async fn heads(store: &Store, keys: &Keyspace) -> Result<Heads, StoreError> {
    let (mut found, mut after) = (Heads::default(), None);
    while let Some(scope) = store.tenant_after(keys, after).await? {
        match stored_head(store, &scope).await?.map(|stored| AuditHead::decode(&stored)) {
            Some(Ok(head)) if head.tenant_id == scope.id() => found.heads.push(head),
            Some(_) => found.unreadable.push(scope.id()),
            None => {}
        }
        after = Some(scope);
    }
    Ok(found)
}

/// A tenant's head, as it is stored.
pub(super) async fn stored_head(
    store: &Store,
    scope: &TenantScope,
) -> Result<Option<bytes::Bytes>, StoreError> {
    let key = &head_key(scope);
    store
        .run(&RetryPolicy::idempotent(), |transaction| async move { transaction.get_snapshot(key).await })
        .await
}
