//! Workspaces ("sessions" in the API). A workspace belongs to one user; to everybody else it does not exist.

use futures::future::try_join_all;
use uuid::Uuid;

use super::{Context, keys_in, load, save, save_entry};
use crate::contract::ReadMode;
use crate::error::StoreError;
use crate::keyspace::{TenantFamily, TenantScope};
use crate::records::Session;
use crate::store::RetryPolicy;
use crate::transaction::Transaction;

/// Workspaces.
pub struct Sessions<'a> {
    context: &'a Context,
}

impl<'a> Sessions<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Stores a new workspace; its id must be fresh.
    pub async fn create(&self, session: &Session) -> Result<(), StoreError> {
        let scope = &self.context.keys.tenant(session.tenant_id);
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                save(&transaction, scope.session(session.id), session)?;
                save_entry(&transaction, by_user(scope, session))
            })
            .await
    }

    /// A user's workspace: one point read.
    pub async fn get(&self, tenant: Uuid, user: Uuid, id: Uuid) -> Result<Option<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .store
            .run(
                &self.context.idempotent,
                |transaction| async move { owned(&transaction, scope, user, id).await },
            )
            .await
    }

    /// A user's workspaces, newest first, at most `limit`.
    pub async fn list(&self, tenant: Uuid, user: Uuid, limit: usize) -> Result<Vec<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                let span = scope.span(TenantFamily::SessionsByUser, &(user,));
                let keys = keys_in(&transaction, span, limit, true, ReadMode::Serializable).await?;
                let transaction = &transaction;
                try_join_all(keys.iter().map(|key| async move {
                    let (_, _, id): (Uuid, i64, Uuid) = scope.unpack(TenantFamily::SessionsByUser, key)?;
                    load(transaction, &scope.session(id))
                        .await?
                        .ok_or(StoreError::Orphan { family: "sessions_by_user" })
                }))
                .await
            })
            .await
    }

    /// Changes a user's workspace and returns it as it is now; `None` if there is none.
    ///
    /// `change` may run several times, each time on the record as stored. Ids, owner and creation time stay as
    /// they are whatever it does.
    pub async fn update(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        change: impl Fn(&mut Session) + Send + Sync,
    ) -> Result<Option<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let change = &change;
        self.context
            .store
            .run(&self.context.idempotent, |transaction| async move {
                let Some(old) = owned(&transaction, scope, user, id).await? else {
                    return Ok(None);
                };
                let mut new = old.clone();
                change(&mut new);
                new.id = old.id;
                new.tenant_id = old.tenant_id;
                new.user_id = old.user_id;
                new.created_at = old.created_at;
                if new != old {
                    save(&transaction, scope.session(id), &new)?;
                }
                Ok(Some(new))
            })
            .await
    }

    /// Notes that a user's workspace was opened at `now` (Unix milliseconds) and returns it; `None` if there
    /// is none.
    pub async fn touch(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        now: i64,
    ) -> Result<Option<Session>, StoreError> {
        self.update(tenant, user, id, |session| {
            session.last_accessed_at = session.last_accessed_at.max(now);
        })
        .await
    }

    /// Removes a user's workspace; false if there is none.
    pub async fn delete(&self, tenant: Uuid, user: Uuid, id: Uuid) -> Result<bool, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let marker = self.context.marker();
        self.context
            .store
            .run_once(&RetryPolicy::default(), &marker, |transaction| async move {
                let Some(session) = owned(&transaction, scope, user, id).await? else {
                    return Ok(false);
                };
                transaction.clear(scope.session(id))?;
                transaction.clear(by_user(scope, &session))?;
                Ok(true)
            })
            .await
    }
}

fn by_user(scope: &TenantScope, session: &Session) -> crate::keyspace::Key {
    scope.session_by_user(session.user_id, session.created_at, session.id)
}

/// A workspace, if it is this user's.
async fn owned(
    transaction: &Transaction,
    scope: &TenantScope,
    user: Uuid,
    id: Uuid,
) -> Result<Option<Session>, StoreError> {
    let session: Option<Session> = load(transaction, &scope.session(id)).await?;
    Ok(session.filter(|session| session.user_id == user))
}
