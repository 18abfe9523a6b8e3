//! Auth sessions and token families: login, rotation, revocation.

use async_trait::async_trait;
use coditect_auth::{
    AuthSession, FamilyRecord, FamilySource, RefreshVerdict, Rotation, SourceError, TenantState,
    judge_refresh,
};
use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, insert, replace, unpack_value};
use super::live_families::note_refresh;
use super::token_families::{load_family, revoke, sweep};
use super::{Context, Repositories, UpdateError, load, removals};
use crate::error::StoreError;
use crate::keyspace::{Key, Keyspace, TenantScope};
use crate::records::{Tenant, TenantStatus, TokenFamily, User, UserStatus};
use crate::store::RetryPolicy;
use crate::transaction::Transaction;

/// Rotations followed from a link in its grace window; more in so short a time are no honest client's.
const MAX_FOLLOWED: usize = 16;

/// What is remembered of the client that logged in or refreshed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
    /// Its address.
    pub address: Option<String>,
}

/// What became of a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// A new auth session took the old one's place, now or moments ago: give its tokens.
    Issued(AuthSession),
    /// A token rotated before was used again: this has revoked its family.
    Reused {
        /// The family that ended.
        family: Uuid,
        /// Its tenant.
        tenant: Uuid,
    },
    /// The family had been revoked.
    Revoked,
    /// The family had come to its end.
    Ended,
    /// The tenant is suspended. The token was not used up: it is good once the tenant is resumed.
    Suspended,
    /// There is no such auth session.
    NotFound,
}

/// Logins: auth sessions and token families.
pub struct AuthSessions<'a> {
    pub(super) context: &'a Context,
}

impl<'a> AuthSessions<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Stores a login: its first auth session and its family. Also removes what is left of a few of the user's
    /// families that ended before `now` (Unix seconds).
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotAllowed`] if the user has been disabled or removed, or the tenant suspended or removed, since
    /// the caller looked.
    pub async fn create(&self, session: &AuthSession, now: i64) -> Result<(), UpdateError> {
        self.begin(session, None, now).await
    }

    /// As [`Self::create`], for a login by password: `password_hash` is what the password was verified against, and must
    /// still be the user's. So no login by a password outlives a change of that password.
    pub async fn log_in(
        &self,
        session: &AuthSession,
        password_hash: &str,
        now: i64,
    ) -> Result<(), UpdateError> {
        self.begin(session, Some(password_hash), now).await
    }

    async fn begin(
        &self,
        session: &AuthSession,
        password_hash: Option<&str>,
        now: i64,
    ) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                if !may_log_in(&transaction, keys, session, password_hash).await? {
                    return Err(UpdateError::NotAllowed);
                }
                sweep(&transaction, keys, session, now).await?;
                Ok(write_login(&transaction, keys, session).await?)
            })
            .await
    }

    /// An auth session and its family, by the global index.
    pub async fn find(&self, id: Uuid) -> Result<Option<(AuthSession, TokenFamily)>, StoreError> {
        let keys = &self.context.keys;
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                let Some(scope) = scope_of(&transaction, keys, id).await? else {
                    return Ok(None);
                };
                let session = load_session(&transaction, &scope, id).await?;
                let family = load_family(&transaction, &scope, session.family).await?;
                Ok(Some((session, family)))
            })
            .await
    }

    /// Refreshes: judges the auth session at `now` (Unix seconds) and replaces it by a new one of the same
    /// family, in one transaction that happens at most once. A token used again revokes its family in the same
    /// transaction; the caller must then also tell [`coditect_auth::Families`], other replicas learn of it by the
    /// change feed.
    pub async fn rotate(
        &self,
        id: Uuid,
        grace_seconds: i64,
        now: i64,
        client: &Client,
    ) -> Result<Rotated, StoreError> {
        let keys = &self.context.keys;
        let successor = self.context.entropy.uuid();
        let marker = self.context.marker();
        self.context
            .store
            .run_once(&RetryPolicy::default(), &marker, |transaction| async move {
                let Some(scope) = scope_of(&transaction, keys, id).await? else {
                    return Ok(Rotated::NotFound);
                };
                let session = load_session(&transaction, &scope, id).await?;
                let mut family = load_family(&transaction, &scope, session.family).await?;
                if tenant_state(&transaction, &scope).await? == Some(TenantState::Suspended) {
                    return Ok(Rotated::Suspended);
                }
                let revoked = family.revoked_at.is_some();
                match judge_refresh(&session, revoked, now, grace_seconds) {
                    RefreshVerdict::Rotate => {
                        note_refresh(&transaction, &scope, &mut family, now, client)?;
                        rotate(&transaction, keys, session, successor, now, client).await.map(Rotated::Issued)
                    }
                    RefreshVerdict::Grace { successor } => {
                        let session = latest(&transaction, &scope, successor).await?;
                        Ok(Rotated::Issued(session))
                    }
                    RefreshVerdict::Reused => {
                        revoke(&transaction, keys, &mut family, now)?;
                        Ok(Rotated::Reused { family: family.id, tenant: family.tenant_id })
                    }
                    RefreshVerdict::Revoked => Ok(Rotated::Revoked),
                    RefreshVerdict::Ended => Ok(Rotated::Ended),
                }
            })
            .await
    }

    /// The family of a tenant's auth session.
    pub async fn family_of(
        &self,
        tenant: Uuid,
        auth_session: Uuid,
    ) -> Result<Option<TokenFamily>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                let key = scope.auth_session(auth_session);
                let Some(session) = load::<AuthSession>(&transaction, &key).await? else {
                    return Ok(None);
                };
                load_family(&transaction, scope, session.family).await.map(Some)
            })
            .await
    }
}

#[async_trait]
impl FamilySource for Repositories {
    async fn family_of(&self, tenant: Uuid, auth_session: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
        let scope = &self.context.keys.tenant(tenant);
        let found = self.context.run(|transaction| async move {
            let session = load::<AuthSession>(&transaction, &scope.auth_session(auth_session)).await?;
            let Some(session) = session else { return Ok(None) };
            let family = load_family(&transaction, scope, session.family).await?;
            Ok::<_, StoreError>(Some(record(family, tenant_state(&transaction, scope).await?)))
        });
        found.await.map_err(|error| SourceError(Box::new(error)))
    }

    async fn family(&self, tenant: Uuid, family: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
        let scope = &self.context.keys.tenant(tenant);
        let found = self.context.run(|transaction| async move {
            let family = load::<TokenFamily>(&transaction, &scope.family(family)).await?;
            let Some(family) = family else { return Ok(None) };
            Ok::<_, StoreError>(Some(record(family, tenant_state(&transaction, scope).await?)))
        });
        found.await.map_err(|error| SourceError(Box::new(error)))
    }
}

/// What the gate must know of a family. One whose tenant is gone counts as revoked.
fn record(family: TokenFamily, tenant: Option<TenantState>) -> FamilyRecord {
    FamilyRecord {
        family: family.id,
        user_id: family.user_id,
        tenant_id: family.tenant_id,
        ends_at: family.ends_at,
        revoked: family.revoked_at.is_some() || tenant.is_none(),
        tenant: tenant.unwrap_or_default(),
    }
}

/// Whether a tenant may do anything; `None` if it is gone.
async fn tenant_state(
    transaction: &Transaction,
    scope: &TenantScope,
) -> Result<Option<TenantState>, StoreError> {
    let tenant: Option<Tenant> = load(transaction, &scope.tenant()).await?;
    Ok(tenant.map(|tenant| match tenant.status {
        TenantStatus::Active => TenantState::Active,
        TenantStatus::Suspended => TenantState::Suspended,
    }))
}

impl Indexed for AuthSession {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        scope.auth_session(self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        vec![IndexEntry::plain(scope.auth_session_by_family(self.family, self.id))]
    }

    fn global_entries(&self, keys: &Keyspace, scope: &TenantScope) -> Vec<IndexEntry> {
        let tenant = foundationdb_tuple::pack(&(scope.id(),));
        vec![IndexEntry::unique(keys.auth_session_tenant(self.id), tenant)]
    }
}

/// Whether nothing has come between a password that was right and the login.
async fn may_log_in(
    transaction: &Transaction,
    keys: &Keyspace,
    session: &AuthSession,
    password_hash: Option<&str>,
) -> Result<bool, StoreError> {
    let scope = &keys.tenant(session.tenant_id);
    if tenant_state(transaction, scope).await? == Some(TenantState::Suspended) {
        return Ok(false);
    }
    match load::<User>(transaction, &scope.user(session.user_id)).await? {
        Some(user) => {
            let same = password_hash.is_none_or(|hash| hash == user.password_hash);
            Ok(user.status == UserStatus::Active && same)
        }
        None => Ok(!removals::is_leaving(transaction, keys, session.tenant_id, session.user_id).await?),
    }
}

/// Writes the first auth session of a family, and the family.
pub(super) async fn write_login(
    transaction: &Transaction,
    keys: &Keyspace,
    session: &AuthSession,
) -> Result<(), StoreError> {
    let scope = &keys.tenant(session.tenant_id);
    let family = TokenFamily {
        id: session.family,
        user_id: session.user_id,
        tenant_id: session.tenant_id,
        created_at: session.created_at,
        ends_at: session.family_ends_at,
        revoked_at: None,
        refreshed_at: None,
        user_agent: session.user_agent.clone(),
        address: session.address.clone(),
    };
    write_new(transaction, keys, scope, &family).await?;
    write_new(transaction, keys, scope, session).await
}

/// Writes a record whose ids must be fresh.
async fn write_new<R: Indexed + PartialEq>(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    new: &R,
) -> Result<(), StoreError> {
    let written = insert(transaction, keys, scope, new).await;
    written.map_err(|error| error.into_store_error(R::FAMILY))
}

/// Puts a new auth session in the place of `session`.
async fn rotate(
    transaction: &Transaction,
    keys: &Keyspace,
    session: AuthSession,
    successor: Uuid,
    now: i64,
    client: &Client,
) -> Result<AuthSession, StoreError> {
    let scope = &keys.tenant(session.tenant_id);
    let next = AuthSession {
        id: successor,
        created_at: now,
        rotated: None,
        user_agent: client.user_agent.clone(),
        address: client.address.clone(),
        ..session.clone()
    };
    let rotated = AuthSession { rotated: Some(Rotation { at: now, successor }), ..session.clone() };
    let written = replace(transaction, keys, scope, Some(&session), Some(&rotated)).await;
    written.map_err(|error| error.into_store_error("auth_sessions"))?;
    write_new(transaction, keys, scope, &next).await?;
    Ok(next)
}

/// The tenant an auth session belongs to.
async fn scope_of(
    transaction: &Transaction,
    keys: &Keyspace,
    auth_session: Uuid,
) -> Result<Option<TenantScope>, StoreError> {
    let Some(value) = transaction.get(keys.auth_session_tenant(auth_session)).await? else {
        return Ok(None);
    };
    let (tenant,): (Uuid,) = unpack_value("auth_session_tenant", &value)?;
    Ok(Some(keys.tenant(tenant)))
}

async fn load_session(
    transaction: &Transaction,
    scope: &TenantScope,
    id: Uuid,
) -> Result<AuthSession, StoreError> {
    load(transaction, &scope.auth_session(id))
        .await?
        .ok_or(StoreError::Orphan { family: "auth_session_tenant" })
}

/// The link that `id` has been rotated to by now: another tab may have refreshed in between, and the tokens of a link
/// that is rotated itself would soon count as reused.
async fn latest(transaction: &Transaction, scope: &TenantScope, id: Uuid) -> Result<AuthSession, StoreError> {
    let mut session = load_session(transaction, scope, id).await?;
    for _ in 0..MAX_FOLLOWED {
        match session.rotated {
            Some(rotation) => session = load_session(transaction, scope, rotation.successor).await?,
            None => break,
        }
    }
    Ok(session)
}
