//! Copying workspaces: settings and state in one transaction, then the files, some in each.

use uuid::Uuid;

use super::indexed::replace;
use super::sessions::{check_limit, live, owned_at_snapshot};
use super::{FileError, Files, Sessions, UpdateError, load, session_states};
use crate::records::{FIRST_VERSION, Session, SessionStatus};

/// The longest name a copy is given by itself, in characters.
const COPY_NAME_CHARS: usize = 200;
/// What is added to the name of what is copied.
const COPY_SUFFIX: &str = " (copy)";

/// A copy of a workspace to be made.
#[derive(Debug, Clone)]
pub struct Fork {
    /// Its id, which must be fresh. Beginning the same copy again does nothing.
    pub id: Uuid,
    /// Its name; without one, that of the workspace it is copied from and ` (copy)`.
    pub name: Option<String>,
    /// How many workspaces its user may have.
    pub limit: usize,
    /// Unix milliseconds.
    pub now: i64,
}

impl Sessions<'_> {
    /// Begins a copy of a user's workspace: its settings and all its state, as they are at one moment. The new workspace
    /// is [`SessionStatus::Forking`] until [`Self::finish_fork`] has copied the files.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Forking`] if the workspace is itself still being copied, [`UpdateError::LimitReached`] if the user
    /// has as many workspaces as allowed.
    pub async fn fork(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        fork: &Fork,
    ) -> Result<Session, UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let source = owned_at_snapshot(&transaction, scope, user, id).await?;
                let source = source.ok_or(UpdateError::NotFound)?;
                if source.status == SessionStatus::Forking {
                    return Err(UpdateError::Forking);
                }
                match load::<Session>(&transaction, &scope.session(fork.id)).await? {
                    // A request whose answer was lost, once more.
                    Some(made) if made.user_id == user && made.forked_from == Some(id) => return Ok(made),
                    Some(_) => return Err(UpdateError::Taken),
                    None => check_limit(&transaction, scope, user, fork.limit).await?,
                }
                let new = Session {
                    id: fork.id,
                    name: fork.name.clone().unwrap_or_else(|| copy_name(&source.name)),
                    status: SessionStatus::Forking,
                    conversation_id: None,
                    forked_from: Some(id),
                    created_at: fork.now,
                    updated_at: fork.now,
                    last_accessed_at: fork.now,
                    version: FIRST_VERSION,
                    ..source
                };
                replace(&transaction, keys, scope, None, Some(&new)).await?;
                session_states::copy(&transaction, scope, id, fork.id, fork.now).await?;
                Ok(new)
            })
            .await
    }

    /// Copies the files of a workspace that is being copied, some in each transaction, and makes it active; returns it.
    /// Each file is copied as it is at some moment. If this fails between, calling it again goes on; it does no harm if
    /// several do.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if there is no such workspace, or if what it is copied from was removed meanwhile: then
    /// it is removed too, since it would lack files. So it is with [`UpdateError::QuotaExceeded`].
    pub async fn finish_fork(&self, tenant: Uuid, id: Uuid) -> Result<Session, UpdateError> {
        match self.copy_files(tenant, id).await {
            Ok(session) => Ok(session),
            Err(UpdateError::Store(error)) => Err(UpdateError::Store(error)),
            Err(error) => {
                let scope = &self.context.keys.tenant(tenant);
                let look = |transaction| async move { live(&transaction, scope, id).await };
                let unfinished = self.context.run(look).await?;
                if let Some(unfinished) = unfinished.filter(|one| one.status == SessionStatus::Forking) {
                    self.delete_expected(tenant, unfinished.user_id, id, None).await?;
                }
                Err(error)
            }
        }
    }

    async fn copy_files(&self, tenant: Uuid, id: Uuid) -> Result<Session, UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        let look = |transaction| async move { live(&transaction, scope, id).await };
        let session = self.context.run(look).await?.ok_or(UpdateError::NotFound)?;
        let Some(from) = session.forked_from.filter(|_| session.status == SessionStatus::Forking) else {
            return Ok(session);
        };
        let now = self.context.clock.now_millis();
        let mut after: Option<String> = None;
        loop {
            let copied = Files::new(self.context).fork_some(tenant, from, id, after.as_deref(), now).await;
            after = copied.map_err(|error| match error {
                FileError::NoWorkspace => UpdateError::NotFound,
                FileError::QuotaExceeded { limit, what } => UpdateError::QuotaExceeded { limit, what },
                error => error.into_store_error().into(),
            })?;
            if after.is_none() {
                break;
            }
        }
        self.context
            .once(|transaction| async move {
                let old = live(&transaction, scope, id).await?.ok_or(UpdateError::NotFound)?;
                if old.status != SessionStatus::Forking {
                    return Ok(old);
                }
                let version = old.version.saturating_add(1);
                let new = Session { status: SessionStatus::Active, version, ..old.clone() };
                replace(&transaction, keys, scope, Some(&old), Some(&new)).await?;
                Ok(new)
            })
            .await
    }
}

/// The name of a copy: as long as it may be at most, whatever is cut off.
fn copy_name(name: &str) -> String {
    let kept = COPY_NAME_CHARS - COPY_SUFFIX.len();
    let mut copy: String = name.chars().take(kept).collect();
    copy.truncate(copy.trim_end().len());
    copy + COPY_SUFFIX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_a_name_that_fits() {
        assert_eq!(copy_name("first"), "first (copy)");
        assert_eq!(copy_name(&"é".repeat(200)).chars().count(), COPY_NAME_CHARS);
    }
}
