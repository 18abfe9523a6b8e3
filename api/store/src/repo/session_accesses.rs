//! When workspaces were last accessed. Not a write for each access: an access that another one preceded by less than
//! [`ACCESS_INTERVAL`] is forgotten. It is kept in a key of its own, so that it neither counts as a change of the
//! workspace nor gets in the way of one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coditect_auth::Clock;
use futures::future::try_join_all;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use super::sessions::owned_at_snapshot;
use super::{Repositories, Sessions};
use crate::error::StoreError;
use crate::keyspace::{Key, TenantScope};
use crate::records::Session;
use crate::transaction::Transaction;

/// Accesses of one workspace are noted at most this often by one process.
pub const ACCESS_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How many workspaces' last accesses are remembered. One that fell out costs one write.
const REMEMBERED: usize = 10_000;
/// How many notes are written at a time; accesses beyond that are noted another time.
const NOTED_AT_ONCE: usize = 16;
/// How long a note may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Notes accesses of workspaces, beside the requests that make them. Clones share it.
#[derive(Clone)]
pub struct Accesses {
    inner: Arc<Inner>,
}

struct Inner {
    repositories: Repositories,
    clock: Arc<dyn Clock>,
    /// (tenant, workspace) → Unix milliseconds of the last note.
    noted: Cache<(Uuid, Uuid), i64>,
    slots: Arc<Semaphore>,
}

impl Accesses {
    /// Notes in these repositories.
    pub fn new(repositories: Repositories, clock: Arc<dyn Clock>) -> Self {
        let (noted, slots) = (Cache::new(REMEMBERED), Arc::new(Semaphore::new(NOTED_AT_ONCE)));
        Self { inner: Arc::new(Inner { repositories, clock, noted, slots }) }
    }

    /// A user accessed a workspace of theirs. Returns at once; a failure is told to the log alone.
    ///
    /// Must be called within a Tokio runtime.
    pub fn note(&self, tenant: Uuid, user: Uuid, session: Uuid) {
        let now = self.inner.clock.now_millis();
        let interval = i64::try_from(ACCESS_INTERVAL.as_millis()).unwrap_or(i64::MAX);
        // A clock that was set back is no reason to stop noting.
        let recent = |noted: i64| (0..interval).contains(&now.saturating_sub(noted));
        if self.inner.noted.get(&(tenant, session)).is_some_and(recent) {
            return;
        }
        let Ok(slot) = Arc::clone(&self.inner.slots).try_acquire_owned() else { return };
        self.inner.noted.insert((tenant, session), now);
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let _slot = slot;
            let sessions = inner.repositories.sessions();
            let noted = timeout(DEADLINE, sessions.touch(tenant, user, session, now)).await;
            let failure = match noted {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it took too long".to_owned(),
            };
            inner.noted.remove(&(tenant, session));
            tracing::warn!(%session, failure, "the access of a workspace could not be noted");
        });
    }
}

impl Sessions<'_> {
    /// Notes that a user's workspace was accessed at `now` (Unix milliseconds); false if there is none. An earlier
    /// time than the one known changes nothing. Neither version nor `updated_at` change.
    pub async fn touch(&self, tenant: Uuid, user: Uuid, id: Uuid, now: i64) -> Result<bool, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                let Some(session) = owned_at_snapshot(&transaction, scope, user, id).await? else {
                    return Ok(false);
                };
                // Checked at commit, so that this and a removal of the workspace cannot both happen.
                let key = scope.session_access(id);
                let known = transaction.get(&key).await?.map(|value| decode(&value)).transpose()?;
                if now > known.unwrap_or(session.last_accessed_at) {
                    transaction.set(key, Bytes::copy_from_slice(&now.to_le_bytes()))?;
                }
                Ok(true)
            })
            .await
    }
}

/// A workspace with the time of its last access.
pub(super) async fn with_access(
    transaction: &Transaction,
    scope: &TenantScope,
    session: Session,
) -> Result<Session, StoreError> {
    let noted = at(transaction, &scope.session_access(session.id)).await?;
    Ok(Session { last_accessed_at: session.last_accessed_at.max(noted.unwrap_or(i64::MIN)), ..session })
}

/// Workspaces with the times of their last accesses.
pub(super) async fn with_accesses(
    transaction: &Transaction,
    scope: &TenantScope,
    sessions: Vec<Session>,
) -> Result<Vec<Session>, StoreError> {
    try_join_all(sessions.into_iter().map(|session| with_access(transaction, scope, session))).await
}

/// When a workspace was accessed, if that was noted.
pub(super) async fn at(transaction: &Transaction, key: &Key) -> Result<Option<i64>, StoreError> {
    transaction.get_snapshot(key).await?.map(|value| decode(&value)).transpose()
}

fn decode(value: &[u8]) -> Result<i64, StoreError> {
    value.try_into().map(i64::from_le_bytes).map_err(|_| StoreError::Record {
        family: "session_accesses",
        reason: format!("{} bytes instead of 8", value.len()),
    })
}
