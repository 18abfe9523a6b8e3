//! Token families: their revocation, one or all of a user, and the removal of those that have ended.

use coditect_auth::AuthSession;
use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed};
use super::{AuthSessions, keys_in, load, save};
use crate::changes::{self, Change};
use crate::contract::ReadMode;
use crate::error::StoreError;
use crate::keyspace::{Key, KeySpan, Keyspace, TenantFamily, TenantScope};
use crate::records::TokenFamily;
use crate::transaction::Transaction;

/// Ended families a login removes, and auth sessions of each: so what a user's past logins leave behind stays
/// bounded without a background task.
const SWEPT_FAMILIES: usize = 4;
const SWEPT_AUTH_SESSIONS: usize = 256;

/// Families revoked in one transaction with a user's others.
const REVOKED_FAMILIES: usize = 256;

impl AuthSessions<'_> {
    /// Revokes a family at `now` (Unix seconds). The first revocation's time is kept. False if the tenant has
    /// no such family. The caller must then also tell [`coditect_auth::Families`]; other replicas learn of it by the
    /// change feed.
    pub async fn revoke_family(&self, tenant: Uuid, family: Uuid, now: i64) -> Result<bool, StoreError> {
        let keys = &self.context.keys;
        let key = &keys.tenant(tenant).family(family);
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                let Some(mut family) = load::<TokenFamily>(&transaction, key).await? else {
                    return Ok(false);
                };
                if family.revoked_at.is_none() {
                    revoke(&transaction, keys, &mut family, now)?;
                }
                Ok(true)
            })
            .await
    }

    /// A tenant's family.
    pub async fn family(&self, tenant: Uuid, family: Uuid) -> Result<Option<TokenFamily>, StoreError> {
        let key = &self.context.keys.tenant(tenant).family(family);
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move { load(&transaction, key).await })
            .await
    }

    /// Revokes all families of a user that live at `now` (Unix seconds), some in each transaction; returns
    /// those that were not revoked before. The caller must then also tell [`coditect_auth::Families`].
    pub async fn revoke_user(&self, tenant: Uuid, user: Uuid, now: i64) -> Result<Vec<Uuid>, StoreError> {
        self.revoke_others(tenant, user, None, now).await
    }

    /// As [`Self::revoke_user`], but for one family, which goes on.
    pub async fn revoke_others(
        &self,
        tenant: Uuid,
        user: Uuid,
        kept: Option<Uuid>,
        now: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::FamiliesByUser, &(user,));
        let mut span = index.span();
        // A family that ends at this very second lives no more.
        span.begin = index.key(&(now.saturating_add(1),)).into();
        let mut revoked = Vec::new();
        loop {
            let page = &span;
            let (entries, families) = self
                .context
                .once(|transaction| async move {
                    let entries =
                        keys_in(&transaction, page.clone(), REVOKED_FAMILIES, false, ReadMode::Serializable)
                            .await?;
                    let families = revoke_all(&transaction, keys, scope, &entries, kept, now).await?;
                    Ok::<_, StoreError>((entries, families))
                })
                .await?;
            revoked.extend(families);
            match entries.last() {
                Some(last) if entries.len() == REVOKED_FAMILIES => {
                    span.begin.clone_from(last);
                    span.begin.push(0);
                }
                _ => return Ok(revoked),
            }
        }
    }
}

impl Indexed for TokenFamily {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        scope.family(self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        vec![IndexEntry::plain(scope.family_by_user(self.user_id, self.ends_at, self.id))]
    }
}

/// The family of an auth session, which must be there.
pub(super) async fn load_family(
    transaction: &Transaction,
    scope: &TenantScope,
    family: Uuid,
) -> Result<TokenFamily, StoreError> {
    load(transaction, &scope.family(family)).await?.ok_or(StoreError::Orphan { family: "auth_sessions" })
}

/// Revokes a family at `now` (Unix seconds) and tells other replicas, all in this transaction.
pub(super) fn revoke(
    transaction: &Transaction,
    keys: &Keyspace,
    family: &mut TokenFamily,
    now: i64,
) -> Result<(), StoreError> {
    family.revoked_at = Some(now);
    save(transaction, keys.tenant(family.tenant_id).family(family.id), family)?;
    let change = Change::FamilyRevoked { tenant: family.tenant_id, family: family.id };
    changes::append(transaction, keys, now.saturating_mul(1000), &change)
}

/// Revokes the families that index entries name; returns those that were not revoked before.
async fn revoke_all(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    entries: &[Vec<u8>],
    kept: Option<Uuid>,
    now: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let mut revoked = Vec::new();
    for entry in entries {
        let (_, _, id): (Uuid, i64, Uuid) = scope.unpack(TenantFamily::FamiliesByUser, entry)?;
        if kept == Some(id) {
            continue;
        }
        let mut family = load_family(transaction, scope, id).await?;
        if family.revoked_at.is_none() {
            revoke(transaction, keys, &mut family, now)?;
            revoked.push(id);
        }
    }
    Ok(revoked)
}

/// Removes what is left of a few families of the user that ended before `now`, oldest first. Nothing can
/// revive an ended family, so snapshot reads suffice and logins do not conflict here.
pub(super) async fn sweep(
    transaction: &Transaction,
    keys: &Keyspace,
    login: &AuthSession,
    now: i64,
) -> Result<(), StoreError> {
    let scope = keys.tenant(login.tenant_id);
    let mut span = scope.span(TenantFamily::FamiliesByUser, &(login.user_id,));
    span.end = scope.key(TenantFamily::FamiliesByUser, &(login.user_id, now)).into();
    if span.begin >= span.end {
        return Ok(());
    }
    sweep_span(transaction, keys, &scope, span).await.map(drop)
}

/// Removes what is left of a few families that nothing can revive, first those that ended first: of a part of a user's
/// in the index by user. Returns how many keys went; 0 if there are none.
pub(super) async fn sweep_span(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    span: KeySpan,
) -> Result<u64, StoreError> {
    let mut swept = 0;
    let ended = keys_in(transaction, span, SWEPT_FAMILIES, false, ReadMode::Snapshot).await?;
    for entry in ended {
        let (_, _, family): (Uuid, i64, Uuid) = scope.unpack(TenantFamily::FamiliesByUser, &entry)?;
        let members = scope.span(TenantFamily::AuthSessionsByFamily, &(family,));
        let members = keys_in(transaction, members, SWEPT_AUTH_SESSIONS, false, ReadMode::Snapshot).await?;
        let all = members.len() < SWEPT_AUTH_SESSIONS;
        swept += members.len() as u64 + 1;
        for member in members {
            let (_, id): (Uuid, Uuid) = scope.unpack(TenantFamily::AuthSessionsByFamily, &member)?;
            transaction.clear(member)?;
            transaction.clear(scope.auth_session(id))?;
            transaction.clear(keys.auth_session_tenant(id))?;
        }
        if all {
            transaction.clear(scope.family(family))?;
            transaction.clear(entry)?;
        }
    }
    Ok(swept)
}
