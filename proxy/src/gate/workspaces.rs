//! Whose a workspace is.

use crate::reply::BoxError;
use async_trait::async_trait;
use coditect_auth::{Claims, Clock};
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long an answer "theirs" is believed, in seconds. A deleted workspace stays open for so long at most.
const BELIEVED_SECONDS: i64 = 5;
/// How many answers are kept.
const KEPT: usize = 10_000;
/// How long the store may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// Where the gate asks; the edge answers from the store.
#[async_trait]
pub trait Workspaces: Send + Sync {
    /// Whether `workspace` exists and is the caller's.
    async fn owned(&self, caller: &Claims, workspace: Uuid) -> Result<bool, BoxError>;
    /// Notes that the caller opened `workspace` now.
    async fn opened(&self, caller: &Claims, workspace: Uuid) -> Result<(), BoxError>;
    /// The caller's workspace that was opened last.
    async fn last_opened(&self, caller: &Claims) -> Result<Option<Uuid>, BoxError>;
}

/// [`Workspaces`] with a deadline and a short memory, since the gate asks for every request.
pub(super) struct KnownWorkspaces {
    source: Arc<dyn Workspaces>,
    clock: Arc<dyn Clock>,
    owned: Cache<(Uuid, Uuid, Uuid), i64>,
}

impl KnownWorkspaces {
    pub(super) fn new(source: Arc<dyn Workspaces>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, owned: Cache::new(KEPT) }
    }

    pub(super) async fn owned(&self, caller: &Claims, workspace: Uuid) -> Result<bool, BoxError> {
        let key = (caller.tenant_id, caller.sub, workspace);
        let now = self.clock.now();
        if self.owned.get(&key).is_some_and(|seen| (seen..seen + BELIEVED_SECONDS).contains(&now)) {
            return Ok(true);
        }
        let owned = tokio::time::timeout(DEADLINE, self.source.owned(caller, workspace)).await??;
        if owned {
            self.owned.insert(key, now);
        } else {
            self.owned.remove(&key);
        }
        Ok(owned)
    }

    pub(super) async fn opened(&self, caller: &Claims, workspace: Uuid) -> Result<(), BoxError> {
        tokio::time::timeout(DEADLINE, self.source.opened(caller, workspace)).await?
    }

    pub(super) async fn last_opened(&self, caller: &Claims) -> Result<Option<Uuid>, BoxError> {
        tokio::time::timeout(DEADLINE, self.source.last_opened(caller)).await?
    }
}
