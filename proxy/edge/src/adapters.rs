//! How the parts meet that may not know each other: the API and the terminals as services of the proxy, the store as
//! the gate's and the terminals' source of whose a workspace is.

use crate::running::TerminalsAndSockets;
use async_trait::async_trait;
use coditect_auth::{Claims, Clock, Identity};
use coditect_proxy::{BoxError, LocalService, Reply, RequestBody, UpgradeHandler, Workspaces, full};
use coditect_store::records::SessionStatus;
use coditect_store::{Accesses, Repositories, StoreError};
use coditect_terminal::{AttachHandler, LookupError, TerminalService, WorkspaceLookup};
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tower::{Service, ServiceExt};
use uuid::Uuid;

/// How many of a user's workspaces are looked through for the one opened last.
const LOOKED_THROUGH: usize = 200;

/// The API. When it pauses or removes a workspace, what runs in it ends.
pub(crate) struct Api<S> {
    pub(crate) router: S,
    pub(crate) running: TerminalsAndSockets,
}

impl<S, B> LocalService for Api<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: BodyExt<Data = coditect_proxy::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn call(&self, request: Request<RequestBody>) -> BoxFuture<'static, Reply> {
        let router = self.router.clone();
        let ended = ended_workspace(&request);
        let running = self.running.clone();
        Box::pin(async move {
            let response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            if let Some((tenant, workspace)) = ended.filter(|_| response.status() == StatusCode::OK) {
                running.ended(tenant, workspace).await;
            }
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        })
    }
}

/// The workspace a request would remove or pause.
fn ended_workspace<B>(request: &Request<B>) -> Option<(Uuid, Uuid)> {
    let below = request.uri().path().strip_prefix("/api/v5/sessions/")?;
    let id = match *request.method() {
        Method::DELETE => below,
        Method::POST => below.strip_suffix("/pause")?,
        _ => return None,
    };
    let tenant = request.extensions().get::<Identity>()?.claims.tenant_id;
    Some((tenant, Uuid::try_parse(id).ok()?))
}

/// The terminals.
pub(crate) struct Terminals(pub(crate) TerminalService);

impl LocalService for Terminals {
    fn call(&self, request: Request<RequestBody>) -> BoxFuture<'static, Reply> {
        let terminals = self.0.clone();
        Box::pin(async move {
            let (mut parts, body) = terminals.handle(request).await.into_parts();
            if let Some(attach) = parts.extensions.remove::<AttachHandler>() {
                parts.extensions.insert(UpgradeHandler::new(|stream| async move {
                    if let Some(serve) = attach.take() {
                        serve(Box::new(stream)).await;
                    }
                }));
            }
            let bytes = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            Reply::from_parts(parts, full(bytes))
        })
    }
}

/// Whose a workspace is, from the store.
pub(crate) struct StoredWorkspaces {
    pub(crate) repositories: Repositories,
    pub(crate) accesses: Accesses,
    pub(crate) clock: Arc<dyn Clock>,
}

impl StoredWorkspaces {
    /// Opens a workspace, if it is the user's.
    async fn open(&self, tenant: Uuid, user: Uuid, workspace: Uuid) -> Result<bool, StoreError> {
        let now = self.clock.now_millis();
        let opened = self.repositories.sessions().open(tenant, user, workspace, now).await?;
        if opened {
            self.accesses.note(tenant, user, workspace);
        }
        Ok(opened)
    }
}

#[async_trait]
impl Workspaces for StoredWorkspaces {
    async fn owned(&self, caller: &Claims, workspace: Uuid) -> Result<bool, BoxError> {
        Ok(self.open(caller.tenant_id, caller.sub, workspace).await?)
    }

    async fn opened(&self, caller: &Claims, workspace: Uuid) -> Result<(), BoxError> {
        // At once and each time, unlike other accesses: the order of these is what `last_opened` tells.
        let now = self.clock.now_millis();
        self.repositories.sessions().touch(caller.tenant_id, caller.sub, workspace, now).await?;
        Ok(())
    }

    async fn last_opened(&self, caller: &Claims) -> Result<Option<Uuid>, BoxError> {
        let sessions =
            self.repositories.sessions().list(caller.tenant_id, caller.sub, LOOKED_THROUGH).await?;
        let usable = sessions.iter().filter(|session| session.status != SessionStatus::Forking);
        Ok(usable.max_by_key(|session| session.last_accessed_at).map(|session| session.id))
    }
}

#[async_trait]
impl WorkspaceLookup for StoredWorkspaces {
    async fn owned(&self, tenant: Uuid, user: Uuid, session: Uuid) -> Result<bool, LookupError> {
        let found = self.repositories.sessions().get(tenant, user, session).await;
        found.map(|found| found.is_some()).map_err(|error| LookupError(Box::new(error)))
    }

    async fn open(&self, tenant: Uuid, user: Uuid, session: Uuid) -> Result<bool, LookupError> {
        Self::open(self, tenant, user, session).await.map_err(|error| LookupError(Box::new(error)))
    }
}

/// Ready while the store answers and the edge does not drain.
pub(crate) struct Ready {
    pub(crate) repositories: Repositories,
    pub(crate) draining: AtomicBool,
}

#[async_trait]
impl coditect_proxy::Readiness for Ready {
    async fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Acquire) {
            return Err("draining".into());
        }
        self.repositories.store().ping().await.map_err(|error| format!("the store does not answer: {error}"))
    }

    fn draining(&self) {
        self.draining.store(true, Ordering::Release);
    }
}
