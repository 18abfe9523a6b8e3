//! What may be done to a tenant's members, and by whom. Decided in the transaction that does it, so that no two
//! changes at once leave a tenant without an owner, or let somebody act on a role they have just lost.

use uuid::Uuid;

use super::indexed::{change, expect, insert};
use super::users::{normalised, write_tenant};
use super::{AuthSessions, RegistrationError, UpdateError, Users, load};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{TenantFamily, TenantScope};
use crate::records::{Record, Role, Tenant, User, UserStatus};
use crate::transaction::Transaction;

/// Members looked at in one read.
const MEMBERS_AT_A_TIME: usize = 200;

/// Who asks for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Whoever runs the service.
    Operator,
    /// A user of the same tenant.
    Member(Uuid),
}

impl Users<'_> {
    /// Adds a member to the tenant that the user names. The e-mail is normalised here; the id must be fresh.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if there is no such tenant, [`UpdateError::Taken`] if any user of any tenant has the
    /// address, [`UpdateError::NotAllowed`] if `by` may not add a member of that role.
    pub async fn add(&self, by: By, user: &User) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let user = &normalised(user);
        let scope = &keys.tenant(user.tenant_id);
        self.context
            .run(|transaction| async move {
                if transaction.get(scope.tenant()).await?.is_none() {
                    return Err(UpdateError::NotFound);
                }
                reach(&transaction, scope, by).await?.includes(user.role)?;
                insert(&transaction, keys, scope, user).await
            })
            .await
    }

    /// Makes a tenant and its first owner, who is not logged in by it. Happens at most once; see [`Self::register`].
    ///
    /// # Errors
    ///
    /// [`RegistrationError::EmailTaken`] if any user of any tenant has the address.
    pub async fn found(&self, tenant: &Tenant, owner: &User) -> Result<(), RegistrationError> {
        let keys = &self.context.keys;
        let owner = &normalised(owner);
        self.context
            .once(|transaction| async move { write_tenant(&transaction, keys, tenant, owner).await })
            .await
    }

    /// Changes a member in any way, role and status included, and returns it as it is now; see [`Self::update`].
    /// Where that has disabled the member, call [`Self::revoke_logins`] next.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotAllowed`] if `by` is neither owner nor admin, or an admin who would change an owner or make
    /// one; [`UpdateError::LastOwner`] if no other owner could log in then.
    pub async fn administer(
        &self,
        by: By,
        tenant: Uuid,
        user: Uuid,
        expected: Option<u64>,
        how: impl Fn(&mut User) + Send + Sync,
    ) -> Result<User, UpdateError> {
        let (keys, how) = (&self.context.keys, &how);
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let old: User = load(&transaction, &scope.user(user)).await?.ok_or(UpdateError::NotFound)?;
                let reach = reach(&transaction, scope, by).await?;
                reach.includes(old.role)?;
                expect(&old, expected)?;
                let new = change(&transaction, keys, scope, &old, how).await?;
                reach.includes(new.role)?;
                if !is_owner(&new) {
                    keep_owner(&transaction, scope, &old).await?;
                }
                Ok(new)
            })
            .await
    }

    /// Keeps a user from logging in and revokes the user's logins at `now` (Unix milliseconds). Returns the
    /// user and the families revoked; the caller must then also tell [`coditect_auth::Families`] of these.
    ///
    /// The user is disabled first: if this fails later, calling it again goes on.
    ///
    /// # Errors
    ///
    /// As [`Self::administer`].
    pub async fn disable(
        &self,
        by: By,
        tenant: Uuid,
        user: Uuid,
        expected: Option<u64>,
        now: i64,
    ) -> Result<(User, Vec<Uuid>), UpdateError> {
        let disabled = self
            .administer(by, tenant, user, expected, |user| {
                if user.status != UserStatus::Disabled {
                    user.status = UserStatus::Disabled;
                    user.updated_at = now;
                }
            })
            .await?;
        let families = self.revoke_logins(tenant, user, None, now).await?;
        Ok((disabled, families))
    }

    /// Revokes all of a user's logins at `now` (Unix milliseconds), but for the family `kept`. Returns those that
    /// were not revoked before; the caller must then also tell [`coditect_auth::Families`].
    pub async fn revoke_logins(
        &self,
        tenant: Uuid,
        user: Uuid,
        kept: Option<Uuid>,
        now: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        AuthSessions::new(self.context).revoke_others(tenant, user, kept, now.div_euclid(1000)).await
    }
}

/// Members of which roles somebody may do anything to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach(Role);

impl Reach {
    /// Refuses if it ends before this role.
    pub(super) fn includes(self, role: Role) -> Result<(), UpdateError> {
        match (self.0, role) {
            (Role::Owner, _) | (Role::Admin, Role::Admin | Role::Member) => Ok(()),
            (Role::Admin, Role::Owner) | (Role::Member, _) => Err(UpdateError::NotAllowed),
        }
    }
}

/// How far `by` reaches, before this transaction changes anything.
pub(super) async fn reach(
    transaction: &Transaction,
    scope: &TenantScope,
    by: By,
) -> Result<Reach, UpdateError> {
    let By::Member(actor) = by else { return Ok(Reach(Role::Owner)) };
    let actor: Option<User> = load(transaction, &scope.user(actor)).await?;
    let actor = actor.filter(|actor| actor.status == UserStatus::Active).ok_or(UpdateError::NotAllowed)?;
    Ok(Reach(actor.role))
}

/// Refuses if a user who is to stop being an owner is the last one who can log in.
pub(super) async fn keep_owner(
    transaction: &Transaction,
    scope: &TenantScope,
    leaving: &User,
) -> Result<(), UpdateError> {
    if !is_owner(leaving) {
        return Ok(());
    }
    let mut span = scope.span(TenantFamily::Users, &());
    loop {
        let read = RangeRead::new(span.begin.clone(), span.end.clone(), MEMBERS_AT_A_TIME);
        let page = transaction.range(read).await?;
        for row in &page.rows {
            let member = User::decode(&row.value)?;
            if member.id != leaving.id && is_owner(&member) {
                return Ok(());
            }
        }
        match page.rows.last() {
            Some(last) if page.more => {
                span.begin.clone_from(&last.key);
                span.begin.push(0);
            }
            _ => return Err(UpdateError::LastOwner),
        }
    }
}

/// Whether a user can log in and do everything.
fn is_owner(user: &User) -> bool {
    user.role == Role::Owner && user.status == UserStatus::Active
}
