//! Removals of whole tenants and users.
//!
//! One transaction marks the removal, removes the tenant's or user's own record, and tells all replicas: from then on
//! nobody gets in. What they had goes after that, some in each transaction ([`Removals::run`]); whoever finds the mark
//! later goes on. The mark stays for [`SETTLED_AFTER`], since requests that were let in before may still write.

mod tenant;
mod user;

use uuid::Uuid;

use super::indexed::{expect, replace};
use super::members::{By, keep_owner, reach};
use super::page::page_keys;
use super::{Context, UpdateError, keys_in, load, save};
use crate::changes::{self, Change};
use crate::contract::ReadMode;
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, Key, Keyspace, TenantFamily, TenantScope};
use crate::records::{Removal, Role, Tenant, User, UserStatus};
use crate::transaction::Transaction;

/// How long after its begin a removal is looked after, in milliseconds: longer than any request that was let in before
/// it goes on writing.
pub const SETTLED_AFTER: i64 = 15 * 60 * 1000;

/// Removals of whole tenants and users.
pub struct Removals<'a> {
    context: &'a Context,
}

/// What a run of a removal did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Keys that went, about; not those of global indexes.
    pub rows: u64,
}

impl<'a> Removals<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Begins to remove a tenant at `now` (Unix milliseconds): its record is gone, its logins are refused. One that is
    /// being removed already stays so; its audit trail goes if either call says so.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if there is no such tenant and no such removal.
    pub async fn begin_tenant(
        &self,
        by: By,
        tenant: Uuid,
        with_audit: bool,
        now: i64,
    ) -> Result<Removal, UpdateError> {
        let keys = &self.context.keys;
        let begun = self.context.once(|transaction| async move {
            reach(&transaction, &keys.tenant(tenant), by).await?.includes(Role::Owner)?;
            mark_tenant(&transaction, keys, tenant, with_audit, now).await
        });
        self.began(begun.await)
    }

    /// Begins to remove a user at `now` (Unix milliseconds): the address is free, logins are refused. One who is being
    /// removed already stays so.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if there is no such user, [`UpdateError::VersionMismatch`];
    /// [`UpdateError::NotAllowed`] and [`UpdateError::LastOwner`] as for [`super::Users::administer`], but that
    /// everybody may remove themselves.
    pub async fn begin_user(
        &self,
        by: By,
        tenant: Uuid,
        user: Uuid,
        expected: Option<u64>,
        now: i64,
    ) -> Result<Removal, UpdateError> {
        let keys = &self.context.keys;
        let begun = self.context.once(|transaction| async move {
            mark_user(&transaction, keys, by, tenant, user, expected, now).await
        });
        self.began(begun.await)
    }

    /// Begins to remove a user who wants to leave: with the whole tenant, if it has no other member.
    ///
    /// # Errors
    ///
    /// As [`Self::begin_user`].
    pub async fn begin_account(&self, tenant: Uuid, user: Uuid, now: i64) -> Result<Removal, UpdateError> {
        let keys = &self.context.keys;
        let begun = self.context.once(|transaction| async move {
            // Whoever was disabled meanwhile decides nothing any more.
            let leaving: Option<User> = load(&transaction, &keys.tenant(tenant).user(user)).await?;
            if leaving.is_some_and(|user| user.status != UserStatus::Active) {
                return Err(UpdateError::NotAllowed);
            }
            let members = keys.tenant(tenant).span(TenantFamily::Users, &());
            let members = keys_in(&transaction, members, 2, false, ReadMode::Serializable).await?;
            match members.as_slice() {
                [only] if only.as_slice() == keys.tenant(tenant).user(user).as_ref() => {
                    mark_tenant(&transaction, keys, tenant, false, now).await
                }
                _ => mark_user(&transaction, keys, By::Member(user), tenant, user, None, now).await,
            }
        });
        self.began(begun.await)
    }

    /// The removal of a tenant, if it is under way.
    pub async fn of_tenant(&self, tenant: Uuid) -> Result<Option<Removal>, StoreError> {
        let key = &key(&self.context.keys, tenant, None);
        self.context.run(|transaction| async move { load(&transaction, key).await }).await
    }

    /// Waits until a removal begins in this process. Cancellation safe; one that began while nobody waited counts.
    pub async fn begun(&self) {
        self.context.removal_began.notified().await;
    }

    /// Removes what is left to remove, in transactions of bounded size; `progress` is told how many keys went so far.
    ///
    /// Cancellation safe: what is left goes the next time. Several at once do no harm.
    pub async fn run(
        &self,
        removal: &Removal,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        let mut tell = |rows: u64| {
            removed.rows += rows;
            progress(removed.rows);
        };
        match removal.user_id {
            None => tenant::remove(self.context, removal, &mut tell).await?,
            Some(user) => user::remove(self.context, removal.tenant_id, user, &mut tell).await?,
        }
        Ok(removed)
    }

    /// Goes on with every removal at `now` (Unix milliseconds), and ends those that have settled. Returns how many are
    /// left; one that failed is among them, keeps none of the others from going on, and its error is logged. Any number
    /// of replicas may do this.
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    ///
    /// Those of reading which removals there are; [`StoreError::Closed`] as soon as one of them meets it.
    pub async fn run_all(&self, now: i64) -> Result<usize, StoreError> {
        let keys = &self.context.keys;
        let (mut after, mut left): (Option<Key>, usize) = (None, 0);
        loop {
            let place = &after;
            let (page, more) = self
                .context
                .run(|transaction| async move {
                    let mut span = keys.global_span(GlobalFamily::Removals, &());
                    if let Some(after) = place {
                        span = span.beyond(after, false);
                    }
                    page_keys(&transaction, span, super::MAX_PAGE, false).await
                })
                .await?;
            for entry in &page {
                let (tenant, user): (Uuid, Uuid) = keys.global_unpack(GlobalFamily::Removals, entry)?;
                let key = key(keys, tenant, Some(user));
                match self.go_on(&key, now).await {
                    Ok(ended) => left += usize::from(!ended),
                    Err(StoreError::Closed) => return Err(StoreError::Closed),
                    Err(error) => {
                        tracing::warn!(%tenant, %user, %error, "a removal failed; it is tried again in its time");
                        left += 1;
                    }
                }
                after = Some(key);
            }
            if !more {
                return Ok(left);
            }
        }
    }

    /// Goes on with the removal of a mark; returns whether nothing is left to do.
    async fn go_on(&self, key: &Key, now: i64) -> Result<bool, StoreError> {
        let found = self.context.run(|transaction| async move { load(&transaction, key).await });
        let Some(removal) = found.await? else { return Ok(true) };
        self.run(&removal, |_| ()).await?;
        self.end(&removal, now).await
    }

    /// Takes the mark of a removal away that began long enough ago, and whose run found nothing left.
    async fn end(&self, removal: &Removal, now: i64) -> Result<bool, StoreError> {
        if now.saturating_sub(removal.began_at) < SETTLED_AFTER {
            return Ok(false);
        }
        let key = &key(&self.context.keys, removal.tenant_id, removal.user_id);
        self.context
            .run(|transaction| async move {
                let found: Option<Removal> = load(&transaction, key).await?;
                let same = found.is_none_or(|found| found == *removal);
                if same {
                    transaction.clear(key.clone())?;
                }
                Ok(same)
            })
            .await
    }

    fn began(&self, begun: Result<Removal, UpdateError>) -> Result<Removal, UpdateError> {
        if begun.is_ok() {
            self.context.removal_began.notify_one();
        }
        begun
    }
}

/// The mark's key; a user of all zeros, whom nobody is, stands for the whole tenant.
pub(crate) fn key(keys: &Keyspace, tenant: Uuid, user: Option<Uuid>) -> Key {
    keys.global(GlobalFamily::Removals, &(tenant, user.unwrap_or_default()))
}

/// Whether a login may not begin any more because the user, or the tenant, is being removed.
pub(super) async fn is_leaving(
    transaction: &Transaction,
    keys: &Keyspace,
    tenant: Uuid,
    user: Uuid,
) -> Result<bool, StoreError> {
    Ok(transaction.get(key(keys, tenant, None)).await?.is_some()
        || transaction.get(key(keys, tenant, Some(user))).await?.is_some())
}

async fn mark_tenant(
    transaction: &Transaction,
    keys: &Keyspace,
    id: Uuid,
    with_audit: bool,
    now: i64,
) -> Result<Removal, UpdateError> {
    let (scope, key) = (&keys.tenant(id), key(keys, id, None));
    if let Some(found) = load::<Removal>(transaction, &key).await? {
        let removal = Removal { with_audit: found.with_audit || with_audit, ..found };
        save(transaction, key, &removal)?;
        return Ok(removal);
    }
    let tenant: Tenant = load(transaction, &scope.tenant()).await?.ok_or(UpdateError::NotFound)?;
    let removal =
        Removal { tenant_id: id, user_id: None, name: tenant.name.clone(), with_audit, began_at: now };
    save(transaction, key, &removal)?;
    replace(transaction, keys, scope, Some(&tenant), None).await?;
    changes::append(transaction, keys, now, &Change::TenantRemoved { tenant: id })?;
    Ok(removal)
}

async fn mark_user(
    transaction: &Transaction,
    keys: &Keyspace,
    by: By,
    tenant: Uuid,
    id: Uuid,
    expected: Option<u64>,
    now: i64,
) -> Result<Removal, UpdateError> {
    let (scope, key) = (&keys.tenant(tenant), key(keys, tenant, Some(id)));
    let Some(user) = load::<User>(transaction, &scope.user(id)).await? else {
        let begun: Option<Removal> = load(transaction, &key).await?;
        return begun.ok_or(UpdateError::NotFound);
    };
    if by != By::Member(id) {
        reach(transaction, scope, by).await?.includes(user.role)?;
    }
    expect(&user, expected)?;
    keep_owner(transaction, scope, &user).await?;
    let removal = Removal {
        tenant_id: tenant,
        user_id: Some(id),
        name: user.email.clone(),
        with_audit: false,
        began_at: now,
    };
    save(transaction, key, &removal)?;
    replace(transaction, keys, scope, Some(&user), None).await?;
    changes::append(transaction, keys, now, &Change::UserRemoved { tenant, user: id })?;
    Ok(removal)
}

/// Whether all of a tenant's data is on its way out.
pub(crate) async fn is_removed(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
) -> Result<bool, StoreError> {
    Ok(transaction.get_snapshot(key(keys, scope.id(), None)).await?.is_some())
}
