//! Whose a workspace is, and who must learn of its end.

use crate::reply::BoxError;
use async_trait::async_trait;
use coditect_auth::{Claims, Clock};
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long an answer "theirs" is believed, in seconds, where nobody tells that the workspace has ended.
const BELIEVED_SECONDS: i64 = 5;
/// How many answers are kept.
const KEPT: usize = 10_000;
/// How long the store may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// From this many workspaces with sockets on, those that have none any more are forgotten now and then.
const SWEPT_FROM: usize = 1024;

/// Where the gate asks; the edge answers from the store.
#[async_trait]
pub trait Workspaces: Send + Sync {
    /// Whether `workspace` exists, is the caller's and can be used; one that is paused is resumed by this.
    async fn owned(&self, caller: &Claims, workspace: Uuid) -> Result<bool, BoxError>;
    /// Notes that the caller opened `workspace` now.
    async fn opened(&self, caller: &Claims, workspace: Uuid) -> Result<(), BoxError>;
    /// The caller's workspace that was opened last.
    async fn last_opened(&self, caller: &Claims) -> Result<Option<Uuid>, BoxError>;
}

/// Which workspaces end, told to the sockets that lead into them and to the gate. Clones share it.
#[derive(Clone, Default)]
pub struct WorkspaceEnds {
    registry: Arc<Mutex<Registry>>,
}

/// A tenant's workspace.
type Place = (Uuid, Uuid);

#[derive(Default)]
struct Registry {
    sockets: HashMap<Place, Weak<CancellationToken>>,
    sweep_at: usize,
    /// How many ends there were. What was looked up before one may be what that one made wrong.
    generation: u64,
    /// Answers the gate believes.
    known: Option<Arc<Cache<(Uuid, Uuid), Known>>>,
}

/// An answer "theirs".
#[derive(Clone, Copy)]
struct Known {
    user: Uuid,
    /// Unix seconds.
    at: i64,
}

/// Waits for the end of one workspace; see [`WorkspaceEnds`].
#[derive(Clone, Debug)]
pub(crate) struct WorkspaceEnd(Arc<CancellationToken>);

impl WorkspaceEnd {
    /// Resolves when the workspace ends. Cancellation safe.
    pub(crate) async fn ended(&self) {
        self.0.cancelled().await;
    }
}

impl WorkspaceEnds {
    /// Ends a workspace here: its sockets are closed, and the gate asks anew whether it can be used. What is opened in it
    /// from now on is not concerned.
    pub fn end(&self, tenant: Uuid, workspace: Uuid) {
        let mut registry = self.registry();
        registry.generation += 1;
        if let Some(known) = &registry.known {
            known.remove(&(tenant, workspace));
        }
        let socket = registry.sockets.remove(&(tenant, workspace)).and_then(|socket| socket.upgrade());
        drop(registry);
        if let Some(socket) = socket {
            socket.cancel();
        }
    }

    /// The workspaces, with their tenants, that sockets lead into: for those who may have missed an end.
    pub fn with_sockets(&self) -> Vec<(Uuid, Uuid)> {
        let registry = self.registry();
        let live = registry.sockets.iter().filter(|(_, socket)| socket.strong_count() > 0);
        live.map(|(place, _)| *place).collect()
    }

    /// Waits for the end of a workspace from now on.
    pub(crate) fn subscribe(&self, tenant: Uuid, workspace: Uuid) -> WorkspaceEnd {
        let mut registry = self.registry();
        if let Some(known) = registry.sockets.get(&(tenant, workspace)).and_then(Weak::upgrade) {
            return WorkspaceEnd(known);
        }
        if registry.sockets.len() >= registry.sweep_at.max(SWEPT_FROM) {
            registry.sockets.retain(|_, socket| socket.strong_count() > 0);
            registry.sweep_at = registry.sockets.len() * 2;
        }
        let socket = Arc::new(CancellationToken::new());
        registry.sockets.insert((tenant, workspace), Arc::downgrade(&socket));
        WorkspaceEnd(socket)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`Workspaces`] with a deadline and a short memory, since the gate asks for every request.
pub(super) struct KnownWorkspaces {
    source: Arc<dyn Workspaces>,
    clock: Arc<dyn Clock>,
    ends: WorkspaceEnds,
    known: Arc<Cache<(Uuid, Uuid), Known>>,
}

impl KnownWorkspaces {
    pub(super) fn new(source: Arc<dyn Workspaces>, clock: Arc<dyn Clock>, ends: WorkspaceEnds) -> Self {
        let known = Arc::new(Cache::new(KEPT));
        ends.registry().known = Some(Arc::clone(&known));
        Self { source, clock, ends, known }
    }

    /// The end of a workspace. Take it before asking whose the workspace is: then none is missed.
    pub(super) fn end_of(&self, caller: &Claims, workspace: Uuid) -> WorkspaceEnd {
        self.ends.subscribe(caller.tenant_id, workspace)
    }

    pub(super) async fn owned(&self, caller: &Claims, workspace: Uuid) -> Result<bool, BoxError> {
        let place = (caller.tenant_id, workspace);
        let now = self.clock.now();
        let believed = |known: &Known| {
            known.user == caller.sub && (known.at..known.at + BELIEVED_SECONDS).contains(&now)
        };
        if self.known.get(&place).is_some_and(|known| believed(&known)) {
            return Ok(true);
        }
        let generation = self.ends.registry().generation;
        let owned = tokio::time::timeout(DEADLINE, self.source.owned(caller, workspace)).await??;
        // An answer from before an end must not be believed after it.
        let registry = self.ends.registry();
        if owned && registry.generation == generation {
            self.known.insert(place, Known { user: caller.sub, at: now });
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use coditect_auth::ManualClock;
    use futures::FutureExt;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    const TENANT: Uuid = Uuid::from_u128(1);
    const WORKSPACE: Uuid = Uuid::from_u128(2);

    /// Says yes, and counts; where it is told to wait it does so before it answers.
    #[derive(Default)]
    struct Source {
        asked: AtomicUsize,
        waits: Option<Notify>,
    }

    #[async_trait]
    impl Workspaces for Source {
        async fn owned(&self, _: &Claims, _: Uuid) -> Result<bool, BoxError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if let Some(waits) = &self.waits {
                waits.notified().await;
            }
            Ok(true)
        }

        async fn opened(&self, _: &Claims, _: Uuid) -> Result<(), BoxError> {
            Ok(())
        }

        async fn last_opened(&self, _: &Claims) -> Result<Option<Uuid>, BoxError> {
            Ok(None)
        }
    }

    fn claims(user: u128) -> Claims {
        let (user, none) = (Uuid::from_u128(user), Uuid::nil());
        serde_json::from_value(json!({
            "sub": user, "tenant_id": TENANT, "email": "", "session_id": none, "token_family": none,
            "exp": 900, "iat": 0, "iss": "", "aud": "", "jti": none,
        }))
        .unwrap()
    }

    fn known(source: Source) -> (Arc<Source>, KnownWorkspaces, WorkspaceEnds) {
        let (source, ends) = (Arc::new(source), WorkspaceEnds::default());
        let known = KnownWorkspaces::new(source.clone(), Arc::new(ManualClock::new(1)), ends.clone());
        (source, known, ends)
    }

    #[tokio::test]
    async fn an_end_reaches_the_sockets_of_its_workspace_and_no_later_ones() {
        let ends = WorkspaceEnds::default();
        let (one, two) = (ends.subscribe(TENANT, WORKSPACE), ends.subscribe(TENANT, WORKSPACE));
        let other = ends.subscribe(TENANT, Uuid::from_u128(3));
        let foreign = ends.subscribe(Uuid::from_u128(9), WORKSPACE);
        assert_eq!(ends.with_sockets().len(), 3);
        ends.end(TENANT, WORKSPACE);
        assert!(one.ended().now_or_never().is_some() && two.ended().now_or_never().is_some());
        let later = ends.subscribe(TENANT, WORKSPACE);
        for spared in [&other, &foreign, &later] {
            assert!(spared.ended().now_or_never().is_none());
        }
        drop((other, foreign, later));
        assert!(ends.with_sockets().is_empty());
    }

    #[tokio::test]
    async fn an_answer_is_believed_for_its_user_until_the_workspace_ends() {
        let (source, known, ends) = known(Source::default());
        for _ in 0..3 {
            assert!(known.owned(&claims(5), WORKSPACE).await.unwrap());
        }
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
        known.owned(&claims(6), WORKSPACE).await.unwrap();
        assert_eq!(source.asked.load(Ordering::SeqCst), 2, "another user is another question");
        known.owned(&claims(6), WORKSPACE).await.unwrap();
        ends.end(TENANT, WORKSPACE);
        known.owned(&claims(6), WORKSPACE).await.unwrap();
        assert_eq!(source.asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn an_answer_from_before_an_end_is_not_believed_after_it() {
        let (source, known, ends) = known(Source { waits: Some(Notify::new()), ..Source::default() });
        let owner = claims(5);
        let (answered, ()) = tokio::join!(known.owned(&owner, WORKSPACE), async {
            ends.end(TENANT, WORKSPACE);
            source.waits.as_ref().unwrap().notify_one();
        });
        assert!(answered.unwrap());
        source.waits.as_ref().unwrap().notify_one();
        known.owned(&owner, WORKSPACE).await.unwrap();
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn workspaces_without_sockets_are_forgotten() {
        let ends = WorkspaceEnds::default();
        for number in 0..10_000 {
            drop(ends.subscribe(TENANT, Uuid::from_u128(number)));
        }
        assert!(ends.registry().sockets.len() <= SWEPT_FROM);
    }
}
