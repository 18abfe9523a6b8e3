//! The life of workspaces: pausing, resuming, removing. What takes more than one transaction leaves a
//! workspace unsettled on its way, and is brought to its end after a crash by [`Sessions::settle`].

use uuid::Uuid;

use super::indexed::{change, expect, replace};
use super::sessions::{live, owned};
use super::{Context, FileError, Sessions, UpdateError, files, keys_in, load, session_states};
use crate::changes::{self, Change};
use crate::contract::ReadMode;
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, Keyspace, TenantScope};
use crate::records::{Session, SessionStatus};
use crate::transaction::Transaction;

/// The most unsettled workspaces given out at once.
const UNSETTLED_PAGE: usize = 100;

/// A workspace with which something is under way, or was when the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Whose tenant.
    pub tenant: Uuid,
    /// The workspace.
    pub workspace: Uuid,
}

impl Sessions<'_> {
    /// Pauses a user's workspace at `now` (Unix milliseconds), and tells all replicas; nothing happens if it is paused
    /// already. Its files and state are kept.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Forking`] if it is still being copied.
    pub async fn pause(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
        now: i64,
    ) -> Result<Session, UpdateError> {
        self.set_status(tenant, user, id, expected, SessionStatus::Paused, now).await
    }

    /// Resumes a user's workspace at `now` (Unix milliseconds); nothing happens if it is active already.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Forking`] if it is still being copied.
    pub async fn resume(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
        now: i64,
    ) -> Result<Session, UpdateError> {
        self.set_status(tenant, user, id, expected, SessionStatus::Active, now).await
    }

    /// Opens a user's workspace at `now` (Unix milliseconds): one that is paused is resumed. False if there is none, or
    /// none that can be opened yet.
    pub async fn open(&self, tenant: Uuid, user: Uuid, id: Uuid, now: i64) -> Result<bool, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let look = |transaction| async move { owned(&transaction, scope, user, id).await };
        match self.context.run(look).await?.map(|session| session.status) {
            Some(SessionStatus::Active) => Ok(true),
            Some(SessionStatus::Paused) => match self.resume(tenant, user, id, None, now).await {
                Ok(_) => Ok(true),
                Err(UpdateError::NotFound) => Ok(false),
                Err(error) => Err(error.into_store_error("sessions")),
            },
            Some(SessionStatus::Forking | SessionStatus::Deleting) | None => Ok(false),
        }
    }

    /// Whether there is such a workspace, whoever's, and it is active: what runs in it may go on.
    pub async fn is_active(&self, tenant: Uuid, id: Uuid) -> Result<bool, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let look = |transaction| async move { live(&transaction, scope, id).await };
        Ok(self.context.run(look).await?.is_some_and(|session| session.status == SessionStatus::Active))
    }

    async fn set_status(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
        status: SessionStatus,
        now: i64,
    ) -> Result<Session, UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let old = owned(&transaction, scope, user, id).await?.ok_or(UpdateError::NotFound)?;
                expect(&old, expected)?;
                if old.status == SessionStatus::Forking {
                    return Err(UpdateError::Forking);
                }
                let new = change(&transaction, keys, scope, &old, |session| {
                    if session.status != status {
                        session.status = status;
                        session.updated_at = now;
                    }
                })
                .await?;
                let new = super::session_accesses::with_access(&transaction, scope, new).await?;
                if status == SessionStatus::Paused && old.status != status {
                    tell_end(&transaction, keys, scope, id, now)?;
                }
                Ok(new)
            })
            .await
    }

    /// Removes a user's workspace with its files and state; false if there is none. Its conversations stay the user's.
    ///
    /// First the workspace is hidden, and all replicas are told; then its files are removed, some in each transaction,
    /// and it with the last of them. If this fails between, calling it again goes on.
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
        let now = self.context.clock.now_millis();
        // From here on nobody puts files into it, so the removal conflicts with nobody.
        let hidden = &self
            .context
            .once(|transaction| async move { hide(&transaction, keys, scope, user, id, expected, now).await })
            .await?;
        self.context.remove_hidden(scope, hidden).await
    }

    /// Some of the workspaces, of all tenants, with which something is under way, from the one after `after` on; none at
    /// the end.
    pub async fn unsettled(&self, after: Option<Unsettled>) -> Result<Vec<Unsettled>, StoreError> {
        let branch = &self.context.keys.branch(GlobalFamily::SessionsUnsettled, &());
        self.context
            .run(|transaction| async move {
                let mut span = branch.span();
                if let Some(Unsettled { tenant, workspace }) = after {
                    span = span.beyond(&branch.key(&(tenant, workspace)), false);
                }
                let keys = keys_in(&transaction, span, UNSETTLED_PAGE, false, ReadMode::Snapshot).await?;
                let unpack = |key: &Vec<u8>| branch.unpack(key);
                keys.iter()
                    .map(|key| unpack(key).map(|(tenant, workspace)| Unsettled { tenant, workspace }))
                    .collect()
            })
            .await
    }

    /// Brings to its end what is under way with a workspace, where whoever began it seems to be gone: a removal, or a
    /// copy begun before `begun_before` (Unix milliseconds). True if something was done.
    pub async fn settle(&self, unsettled: Unsettled, begun_before: i64) -> Result<bool, StoreError> {
        let Unsettled { tenant, workspace } = unsettled;
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        let found = self
            .context
            .run(|transaction| async move { load::<Session>(&transaction, &scope.session(workspace)).await })
            .await?;
        let done = match found {
            Some(session) if session.status == SessionStatus::Deleting => {
                self.context.remove_hidden(scope, &session).await
            }
            Some(session) if session.status == SessionStatus::Forking => {
                if session.created_at >= begun_before {
                    return Ok(false);
                }
                self.finish_fork(tenant, workspace).await.map(drop)
            }
            // It is settled by now.
            Some(_) => return Ok(false),
            None => {
                // Its tenant was removed as a whole.
                let entry = &keys.global(GlobalFamily::SessionsUnsettled, &(tenant, workspace));
                let clear = |transaction: Transaction| async move {
                    match transaction.get(scope.session(workspace)).await? {
                        Some(_) => Ok(()),
                        None => transaction.clear(entry.clone()),
                    }
                };
                self.context.run(clear).await.map_err(UpdateError::Store)
            }
        };
        match done {
            // Somebody else brought it to its end, or it could not be and was removed.
            Ok(()) | Err(UpdateError::NotFound | UpdateError::QuotaExceeded { .. }) => Ok(true),
            Err(error) => Err(error.into_store_error("sessions")),
        }
    }
}

impl Context {
    /// Removes what is left of a workspace that was hidden.
    async fn remove_hidden(&self, scope: &TenantScope, hidden: &Session) -> Result<(), UpdateError> {
        let (keys, id, now) = (&self.keys, hidden.id, self.clock.now_millis());
        let mut all = false;
        while !all {
            all = self
                .once(|transaction| async move {
                    let all = files::remove_some(self, &transaction, scope, id, now).await;
                    let all = all.map_err(FileError::into_store_error)?;
                    if all {
                        session_states::remove(&transaction, scope, id)?;
                        transaction.clear(scope.session_access(id))?;
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
    now: i64,
) -> Result<Session, UpdateError> {
    let old: Option<Session> = load(transaction, &scope.session(id)).await?;
    let old = old.filter(|session| session.user_id == user).ok_or(UpdateError::NotFound)?;
    if old.status == SessionStatus::Deleting {
        return Ok(old);
    }
    expect(&old, expected)?;
    let hidden = Session { status: SessionStatus::Deleting, ..old.clone() };
    replace(transaction, keys, scope, Some(&old), Some(&hidden)).await?;
    tell_end(transaction, keys, scope, id, now)?;
    Ok(hidden)
}

/// Tells all replicas that what runs in a workspace ends.
fn tell_end(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    workspace: Uuid,
    now: i64,
) -> Result<(), StoreError> {
    changes::append(transaction, keys, now, &Change::WorkspaceEnded { tenant: scope.id(), workspace })
}
