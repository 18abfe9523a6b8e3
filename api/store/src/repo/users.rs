//! Users: registration, the members of a tenant, and the e-mail addresses that log in.

use coditect_auth::AuthSession;
use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, Versioned, insert, unpack_value};
use super::page::id_page;
use super::{Context, Page, UpdateError, auth_sessions, load};
use crate::error::{StoreError, TransactionError};
use crate::keyspace::{Key, Keyspace, TenantFamily, TenantScope};
use crate::records::{Tenant, User, normalise_email};
use crate::transaction::Transaction;

/// Everything a registration creates. The ids are fresh and refer to each other.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The tenant of the user alone.
    pub tenant: Tenant,
    /// The user, owner of that tenant.
    pub user: User,
    /// The first login.
    pub auth_session: AuthSession,
}

/// Why a registration failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistrationError {
    /// Another user has this e-mail address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TransactionError for RegistrationError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::EmailTaken => None,
        }
    }
}

/// Users and their tenants.
pub struct Users<'a> {
    pub(super) context: &'a Context,
}

impl<'a> Users<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Creates tenant, user and first login, all or nothing. Happens at most once even if a commit's result is
    /// lost. The user's e-mail is normalised here.
    ///
    /// # Errors
    ///
    /// [`RegistrationError::EmailTaken`] if any user of any tenant has the address.
    pub async fn register(&self, registration: &Registration) -> Result<(), RegistrationError> {
        let keys = &self.context.keys;
        let (user, tenant) = (&normalised(&registration.user), &registration.tenant);
        self.context
            .once(|transaction| async move {
                write_tenant(&transaction, keys, tenant, user).await?;
                auth_sessions::write_login(&transaction, keys, &registration.auth_session).await?;
                Ok(())
            })
            .await
    }

    /// The user with an e-mail address, in whatever tenant.
    pub async fn by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let keys = &self.context.keys;
        let index = &keys.user_by_email(&normalise_email(email));
        self.context
            .run(|transaction| async move {
                let Some(owner) = transaction.get(index).await? else {
                    return Ok(None);
                };
                let (tenant, user): (Uuid, Uuid) = unpack_value("users_by_email", &owner)?;
                let record = load(&transaction, &keys.tenant(tenant).user(user)).await?;
                record.map(Some).ok_or(StoreError::Orphan { family: "users_by_email" })
            })
            .await
    }

    /// A user of a tenant.
    pub async fn get(&self, tenant: Uuid, user: Uuid) -> Result<Option<User>, StoreError> {
        let key = &self.context.keys.tenant(tenant).user(user);
        self.context.run(|transaction| async move { load(&transaction, key).await }).await
    }

    /// The members of a tenant, in the order of their ids, from the one after `after` on.
    pub async fn list(
        &self,
        tenant: Uuid,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<User, Uuid>, StoreError> {
        let users = &self.context.keys.tenant(tenant).branch(TenantFamily::Users, &());
        self.context
            .run(|transaction| async move {
                id_page(&transaction, users, after, limit, |id| users.key(&(id,))).await
            })
            .await
    }

    /// Changes a user and returns it as it is now. Id, tenant and creation time stay as they are. A changed
    /// e-mail address is normalised, and moves in the index over all tenants.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Taken`] if another user of any tenant has the new address.
    pub async fn update(
        &self,
        tenant: Uuid,
        user: Uuid,
        expected: Option<u64>,
        change: impl Fn(&mut User) + Send + Sync,
    ) -> Result<User, UpdateError> {
        let scope = self.context.keys.tenant(tenant);
        self.context.update(&scope, &scope.user(user), expected, |_| true, change).await
    }

    /// Gives a user another e-mail address; see [`Self::update`]. `now` is in Unix milliseconds.
    pub async fn change_email(
        &self,
        tenant: Uuid,
        user: Uuid,
        expected: Option<u64>,
        email: &str,
        now: i64,
    ) -> Result<User, UpdateError> {
        self.update(tenant, user, expected, |user| {
            email.clone_into(&mut user.email);
            user.updated_at = now;
        })
        .await
    }
}

impl Indexed for User {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        scope.user(self.id)
    }

    fn global_entries(&self, keys: &Keyspace, scope: &TenantScope) -> Vec<IndexEntry> {
        let owner = foundationdb_tuple::pack(&(scope.id(), self.id));
        vec![IndexEntry::unique(keys.user_by_email(&self.email), owner)]
    }
}

impl Versioned for User {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.id = old.id;
        self.tenant_id = old.tenant_id;
        self.created_at = old.created_at;
        self.email = normalise_email(&self.email);
    }
}

/// Writes a new tenant and its first user, whose address must be free.
pub(super) async fn write_tenant(
    transaction: &Transaction,
    keys: &Keyspace,
    tenant: &Tenant,
    user: &User,
) -> Result<(), RegistrationError> {
    let scope = &keys.tenant(tenant.id);
    let written = insert(transaction, keys, scope, tenant).await;
    written.map_err(|error| error.into_store_error("tenant"))?;
    insert(transaction, keys, scope, user).await.map_err(|error| match error {
        UpdateError::Taken => RegistrationError::EmailTaken,
        error => error.into_store_error("users").into(),
    })
}

pub(super) fn normalised(user: &User) -> User {
    User { email: normalise_email(&user.email), ..user.clone() }
}
