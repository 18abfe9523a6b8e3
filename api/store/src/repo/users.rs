//! Users and tenants.

use coditect_auth::AuthSession;
use uuid::Uuid;

use super::{Context, auth_sessions, load, save};
use crate::error::{StoreError, TransactionError};
use crate::records::{Tenant, User, normalise_email};
use crate::store::RetryPolicy;

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
    context: &'a Context,
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
        let mut user = registration.user.clone();
        user.email = normalise_email(&user.email);
        let (user, tenant) = (&user, &registration.tenant);
        let auth_session = &registration.auth_session;
        let scope = &keys.tenant(tenant.id);
        let by_email = &keys.user_by_email(&user.email);
        let marker = self.context.marker();
        self.context
            .store
            .run_once(&RetryPolicy::default(), &marker, |transaction| async move {
                if transaction.get(by_email).await?.is_some() {
                    return Err(RegistrationError::EmailTaken);
                }
                let owner = foundationdb_tuple::pack(&(tenant.id, user.id));
                transaction.set(by_email.clone(), owner)?;
                save(&transaction, scope.tenant(), tenant)?;
                save(&transaction, scope.user(user.id), user)?;
                auth_sessions::write_login(&transaction, keys, auth_session)?;
                Ok(())
            })
            .await
    }

    /// The user with an e-mail address, in whatever tenant.
    pub async fn by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let keys = &self.context.keys;
        let index = &keys.user_by_email(&normalise_email(email));
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                let Some(owner) = transaction.get(index).await? else {
                    return Ok(None);
                };
                let (tenant, user): (Uuid, Uuid) = foundationdb_tuple::unpack(&owner).map_err(|error| {
                    StoreError::Record { family: "users_by_email", reason: format!("{error:?}") }
                })?;
                let record = load(&transaction, &keys.tenant(tenant).user(user)).await?;
                record.map(Some).ok_or(StoreError::Orphan { family: "users_by_email" })
            })
            .await
    }

    /// A user of a tenant.
    pub async fn get(&self, tenant: Uuid, user: Uuid) -> Result<Option<User>, StoreError> {
        let key = &self.context.keys.tenant(tenant).user(user);
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move { load(&transaction, key).await })
            .await
    }
}
