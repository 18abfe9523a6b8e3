//! How the parts meet that may not know each other: the API and the terminals as services of the proxy, the store as
//! the gate's and the terminals' source of whose a workspace is, the plugin host as what tries uploads out, the audit log
//! as what is told of sockets.

use crate::running::TerminalsAndSockets;
use async_trait::async_trait;
use coditect_api::{ModuleFacts, PluginRefusal, PluginTrial, PluginValidator};
use coditect_auth::{Claims, Clock, Identity};
use coditect_proxy::{BoxError, LocalService, Reply, RequestBody, UpgradeHandler, Workspaces, full};
use coditect_proxy_wasm::{CheckDepth, Engine, LoadError, LoadReason, PluginConfig, StartError};
use coditect_store::records::{AuditObject, SessionStatus};
use coditect_store::{Accesses, AuditAction, AuditEvent, AuditLog, Repositories, StoreError};
use coditect_terminal::{AttachHandler, LookupError, TerminalService, WorkspaceLookup};
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tower::{Service, ServiceExt};
use uuid::Uuid;

/// How many of a user's workspaces are looked through for the one opened last.
const LOOKED_THROUGH: usize = 200;

/// The longest refusal of a plugin that its author reads, in bytes: names of a module's own are in it.
const MAX_REFUSAL_BYTES: usize = 1024;

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

/// The plugin host, as what tries uploaded plugins out: with the limits it runs them with, on a thread for blocking work.
pub(crate) struct HostTrials(pub(crate) Engine);

impl PluginValidator for HostTrials {
    fn validate(&self, trial: PluginTrial) -> BoxFuture<'static, Result<ModuleFacts, PluginRefusal>> {
        let engine = self.0.clone();
        Box::pin(async move {
            let checked = tokio::task::spawn_blocking(move || check(&engine, trial)).await;
            checked.unwrap_or_else(|panicked| Err(PluginRefusal::Failed(Box::new(panicked))))
        })
    }
}

fn check(engine: &Engine, trial: PluginTrial) -> Result<ModuleFacts, PluginRefusal> {
    let depth = match trial.configuration {
        Some(_) => CheckDepth::Configured,
        None => CheckDepth::Started,
    };
    let config = PluginConfig {
        root_id: trial.root_id,
        configuration: trial.configuration.unwrap_or_default(),
        ..PluginConfig::new(trial.name, &*trial.module)
    };
    let facts = engine.check(config, depth).map_err(refusal)?;
    Ok(ModuleFacts { abi: facts.abi.to_string(), imports: facts.imports })
}

fn refusal(error: LoadError) -> PluginRefusal {
    if matches!(*error.reason, LoadReason::Busy { .. } | LoadReason::Canary(StartError::Exhausted { .. })) {
        return PluginRefusal::Busy;
    }
    let mut text = error.reason.to_string();
    if text.len() > MAX_REFUSAL_BYTES {
        text.truncate(text.floor_char_boundary(MAX_REFUSAL_BYTES));
        text.push('…');
    }
    PluginRefusal::Refused(text)
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

/// Notes in the audit trail that sockets open and end. A socket's end is told before the log's, so that a drain's are
/// written too.
pub(crate) struct AuditedSockets(pub(crate) AuditLog);

impl AuditedSockets {
    fn tunnel(&self, action: AuditAction, socket: &coditect_proxy::Socket, more: Value) {
        let object = match socket.workspace {
            Some(workspace) => AuditObject { kind: "session".into(), id: workspace.to_string() },
            None => AuditObject { kind: "route".into(), id: socket.route.clone() },
        };
        let mut details = Map::from_iter([("route".to_owned(), socket.route.clone().into())]);
        details.extend(more.as_object().cloned().unwrap_or_default());
        let address = socket.address.map(|address| address.to_string());
        let (tenant, actor) = (socket.tenant, Some(socket.user));
        self.0.note(AuditEvent { tenant, actor, action, object, address, details });
    }

    fn terminal(&self, action: AuditAction, socket: &coditect_terminal::Socket, more: Value) {
        let object = AuditObject { kind: "session".into(), id: socket.workspace.to_string() };
        let mut details = Map::from_iter([("terminal".to_owned(), socket.terminal.to_string().into())]);
        details.extend(more.as_object().cloned().unwrap_or_default());
        let address = socket.address.map(|address| address.to_string());
        let (tenant, actor) = (socket.tenant, Some(socket.user));
        self.0.note(AuditEvent { tenant, actor, action, object, address, details });
    }
}

impl coditect_proxy::SocketObserver for AuditedSockets {
    fn attached(&self, socket: &coditect_proxy::Socket) {
        self.tunnel(AuditAction::SocketAttach, socket, json!({}));
    }

    fn detached(&self, socket: &coditect_proxy::Socket, end: coditect_proxy::SocketEnd) {
        let end = json!({ "reason": end.reason, "received": end.received, "sent": end.sent });
        self.tunnel(AuditAction::SocketDetach, socket, end);
    }
}

impl coditect_terminal::SocketObserver for AuditedSockets {
    fn attached(&self, socket: &coditect_terminal::Socket) {
        self.terminal(AuditAction::SocketAttach, socket, json!({}));
    }

    fn detached(&self, socket: &coditect_terminal::Socket, end: coditect_terminal::SocketEnd) {
        let end = json!({ "reason": end.reason, "received": end.received, "sent": end.sent });
        self.terminal(AuditAction::SocketDetach, socket, end);
    }
}
