//! Workspaces ("sessions" in the API). A workspace belongs to one user; to everybody else it does not exist.

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, Versioned, expect, insert, replace};
use super::page::{id_page, load_all, time_page};
use super::{Context, Order, Page, TimeCursor, UpdateError, files, keys_in, load};
use crate::contract::ReadMode;
use crate::error::StoreError;
use crate::keyspace::{Key, Keyspace, TenantFamily, TenantScope};
use crate::records::{Session, SessionStatus};
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
    pub async fn create(&self, session: &Session) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(session.tenant_id);
        self.context.run(|transaction| async move { insert(&transaction, keys, scope, session).await }).await
    }

    /// A user's workspace: one point read.
    pub async fn get(&self, tenant: Uuid, user: Uuid, id: Uuid) -> Result<Option<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context.run(|transaction| async move { owned(&transaction, scope, user, id).await }).await
    }

    /// A user's workspaces, newest first, at most `limit`, however many that is.
    pub async fn list(&self, tenant: Uuid, user: Uuid, limit: usize) -> Result<Vec<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::SessionsByUser, &(user,));
        self.context
            .run(|transaction| async move {
                let keys = keys_in(&transaction, index.span(), limit, true, ReadMode::Serializable).await?;
                let ids = keys
                    .iter()
                    .map(|key| index.unpack(key).map(|(_, id): (i64, Uuid)| id))
                    .collect::<Result<Vec<_>, _>>()?;
                load_all(&transaction, ids.iter().map(|id| scope.session(*id))).await
            })
            .await
    }

    /// A page of a user's workspaces, newest first.
    pub async fn page(
        &self,
        tenant: Uuid,
        user: Uuid,
        after: Option<&TimeCursor>,
        limit: usize,
    ) -> Result<Page<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::SessionsByUser, &(user,));
        self.context
            .run(|transaction| async move {
                let order = Order::NewestFirst;
                time_page(&transaction, index, after, order, limit, |place| scope.session(place.id)).await
            })
            .await
    }

    /// A page of the user's workspaces that name a path, in the order of their ids, from the one after `after`
    /// on.
    pub async fn by_path(
        &self,
        tenant: Uuid,
        user: Uuid,
        path: &str,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Session, Uuid>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::SessionsByPath, &(user, path));
        self.context
            .run(|transaction| async move {
                id_page(&transaction, index, after, limit, |id| scope.session(id)).await
            })
            .await
    }

    /// Changes a user's workspace and returns it as it is now.
    ///
    /// `change` may run several times, each time on the record as stored. Ids, owner and creation time stay as
    /// they are whatever it does.
    pub async fn update(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
        change: impl Fn(&mut Session) + Send + Sync,
    ) -> Result<Session, UpdateError> {
        let scope = self.context.keys.tenant(tenant);
        let theirs = |session: &Session| session.user_id == user && session.status != SessionStatus::Deleting;
        self.context.update(&scope, &scope.session(id), expected, theirs, change).await
    }

    /// Pauses or resumes a user's workspace at `now` (Unix milliseconds); nothing changes if it is paused or
    /// active already.
    pub async fn set_status(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
        status: SessionStatus,
        now: i64,
    ) -> Result<Session, UpdateError> {
        self.update(tenant, user, id, expected, |session| {
            if session.status != status {
                session.status = status;
                session.updated_at = now;
            }
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
        let touched = self
            .update(tenant, user, id, None, |session| {
                session.last_accessed_at = session.last_accessed_at.max(now);
            })
            .await;
        match touched {
            Ok(session) => Ok(Some(session)),
            Err(UpdateError::NotFound) => Ok(None),
            Err(error) => Err(error.into_store_error("sessions")),
        }
    }

    /// Removes a user's workspace with its files; false if there is none. Its conversations stay the user's.
    ///
    /// First the workspace is hidden, then its files are removed, some in each transaction, and it with the
    /// last of them. If this fails between, calling it again goes on.
    pub async fn delete(&self, tenant: Uuid, user: Uuid, id: Uuid) -> Result<bool, StoreError> {
        match self.delete_expected(tenant, user, id, None).await {
            Ok(()) => Ok(true),
            Err(UpdateError::NotFound) => Ok(false),
            Err(error) => Err(error.into_store_error("sessions")),
        }
    }

    /// As [`Self::delete`], if the workspace has the version expected.
    pub async fn delete_expected(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
    ) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        // From here on nobody puts files into it, so the removal conflicts with nobody.
        let hidden = &self
            .context
            .once(|transaction| async move { hide(&transaction, keys, scope, user, id, expected).await })
            .await?;
        let now = self.context.clock.now_millis();
        let mut all = false;
        while !all {
            all = self
                .context
                .once(|transaction| async move {
                    let all = files::remove_some(self.context, &transaction, scope, id, now).await?;
                    if all {
                        replace(&transaction, keys, scope, Some(hidden), None).await?;
                    }
                    Ok::<_, UpdateError>(all)
                })
                .await?;
        }
        Ok(())
    }
}

/// Marks a user's workspace as being removed, if it is not yet, and returns it.
async fn hide(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    user: Uuid,
    id: Uuid,
    expected: Option<u64>,
) -> Result<Session, UpdateError> {
    let old: Option<Session> = load(transaction, &scope.session(id)).await?;
    let old = old.filter(|session| session.user_id == user).ok_or(UpdateError::NotFound)?;
    if old.status == SessionStatus::Deleting {
        return Ok(old);
    }
    expect(&old, expected)?;
    let hidden = Session { status: SessionStatus::Deleting, ..old.clone() };
    replace(transaction, keys, scope, Some(&old), Some(&hidden)).await?;
    Ok(hidden)
}

impl Indexed for Session {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        scope.session(self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        if self.status == SessionStatus::Deleting {
            return Vec::new();
        }
        let by_user = scope.session_by_user(self.user_id, self.created_at, self.id);
        let by_path = self
            .workspace_path
            .as_ref()
            .map(|path| scope.key(TenantFamily::SessionsByPath, &(self.user_id, path.as_str(), self.id)));
        [by_user].into_iter().chain(by_path).map(IndexEntry::plain).collect()
    }
}

impl Versioned for Session {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.id = old.id;
        self.tenant_id = old.tenant_id;
        self.user_id = old.user_id;
        self.created_at = old.created_at;
        if self.status == SessionStatus::Deleting {
            self.status = old.status;
        }
    }
}

/// A workspace, unless it is being removed.
pub(super) async fn live(
    transaction: &Transaction,
    scope: &TenantScope,
    id: Uuid,
) -> Result<Option<Session>, StoreError> {
    let session: Option<Session> = load(transaction, &scope.session(id)).await?;
    Ok(session.filter(|session| session.status != SessionStatus::Deleting))
}

/// A workspace, if it is this user's.
pub(super) async fn owned(
    transaction: &Transaction,
    scope: &TenantScope,
    user: Uuid,
    id: Uuid,
) -> Result<Option<Session>, StoreError> {
    Ok(live(transaction, scope, id).await?.filter(|session| session.user_id == user))
}
