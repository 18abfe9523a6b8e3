//! The service: every operation of the contract, and the terminals' life from start to shutdown.

use crate::TerminalError;
use crate::attach::AttachHandler;
use crate::driver::Driver;
use crate::handshake::Handshake;
use crate::limits::Timings;
use crate::pty::PtyMaster;
use crate::registry::{Registry, Slot};
use crate::reply::{self, Reply};
use crate::requests::{NewTerminal, Size, read_body};
use crate::routes::{Operation, Route};
use crate::shell::{self, ShellSpec};
use crate::sockets::{Socket, SocketObserver};
use crate::terminal::{Owner, Stage, Terminal};
use crate::viewer::Viewer;
use crate::workspace::{self, WorkspaceLookup};
use bytes::Bytes;
use coditect_auth::{Clock, Entropy, Identity};
use coditect_config::TerminalConfig;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Set by the edge: the client's address.
const REAL_IP: &str = "x-real-ip";

/// The terminals of one edge. Clones are handles to the same ones.
///
/// Must be made and called within a Tokio runtime that has I/O and time enabled, and shut down
/// ([`shutdown`](Self::shutdown)) before that runtime ends.
#[derive(Clone)]
pub struct TerminalService {
    inner: Arc<Inner>,
}

struct Inner {
    config: TerminalConfig,
    launcher: Option<PathBuf>,
    timings: Arc<Timings>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    workspaces: Arc<dyn WorkspaceLookup>,
    sockets: Arc<dyn SocketObserver>,
    registry: Arc<Registry>,
    stopping: CancellationToken,
    /// By when everything is to be gone, once the service is stopping.
    stop_by: OnceLock<Instant>,
    /// Every task and every viewer.
    tasks: TaskTracker,
}

/// What a shutdown achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Terminals there were, running or kept.
    pub terminals: usize,
    /// Of these, the ones whose processes were not gone by the deadline.
    pub left: usize,
}

impl TerminalService {
    /// A service without terminals. `launcher` is the program whose [`crate::LAUNCH_SUBCOMMAND`] calls
    /// [`crate::launch`], the edge's own binary; without one shells are not confined. `sockets` is told of sockets.
    pub fn new(
        config: TerminalConfig,
        launcher: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        workspaces: Arc<dyn WorkspaceLookup>,
        sockets: Arc<dyn SocketObserver>,
    ) -> Self {
        Self::with_timings(config, launcher, Timings::default(), clock, entropy, workspaces, sockets)
    }

    /// The same with other [`Timings`] than the product's.
    pub fn with_timings(
        config: TerminalConfig,
        launcher: Option<PathBuf>,
        timings: Timings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        workspaces: Arc<dyn WorkspaceLookup>,
        sockets: Arc<dyn SocketObserver>,
    ) -> Self {
        let inner = Inner {
            registry: Registry::new(config.max_per_session, config.max_per_user, config.max_total),
            config,
            launcher,
            timings: Arc::new(timings),
            clock,
            entropy,
            workspaces,
            sockets,
            stopping: CancellationToken::new(),
            stop_by: OnceLock::new(),
            tasks: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Answers a request, refusals included, in bounded time. The caller is the [`Identity`] in its extensions;
    /// without one the answer is 401.
    ///
    /// A 101 carries an [`AttachHandler`] in its extensions. Dropping the future gives a request up; a terminal it
    /// was starting is then ended.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.answer(request).await.unwrap_or_else(|error| reply::error(&error))
    }

    /// Ends every terminal of a workspace that was paused or deleted, without waiting for it; the number of terminals.
    pub fn close_session(&self, tenant: Uuid, session: Uuid) -> usize {
        let terminals = self.inner.registry.of_session(tenant, session);
        terminals.iter().for_each(|terminal| terminal.stop.cancel());
        terminals.len()
    }

    /// The workspaces, with their tenants, that have terminals.
    pub fn workspaces(&self) -> Vec<(Uuid, Uuid)> {
        self.inner.registry.workspaces()
    }

    /// Ends all terminals of a tenant, or of one of its users, who is gone. Returns how many there were.
    pub fn close_people(&self, tenant: Uuid, user: Option<Uuid>) -> usize {
        let terminals = self.inner.registry.of_people(tenant, user);
        terminals.iter().for_each(|terminal| terminal.stop.cancel());
        terminals.len()
    }

    /// The number of terminals there are, running or kept after their end.
    pub fn terminals(&self) -> usize {
        self.inner.registry.len()
    }

    /// Stops for good: closes every socket with 1012, hangs up every shell, kills what is left half-way to the end of
    /// `within`, and waits for all of it, no longer than `within`. New requests are refused from now on.
    pub async fn shutdown(&self, within: Duration) -> ShutdownReport {
        let deadline = Instant::now() + within;
        let deadline = *self.inner.stop_by.get_or_init(|| deadline);
        let terminals = self.inner.registry.close();
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        let all = timeout_at(deadline, self.inner.tasks.wait()).await;
        let left = if all.is_ok() { 0 } else { self.inner.registry.len() };
        ShutdownReport { terminals, left }
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Reply, TerminalError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let identity = parts.extensions.get::<Identity>().ok_or(TerminalError::MissingCredentials)?;
        let route = Route::of(&parts.method, parts.uri.path())?;
        if self.inner.stopping.is_cancelled() {
            return Err(TerminalError::Stopping);
        }
        let claims = &identity.claims;
        let owner = Owner { tenant: claims.tenant_id, user: claims.sub, session: route.session };
        self.check_owner(owner, &route.operation).await?;
        let body = read_body(body, self.inner.timings.body);
        match route.operation {
            Operation::List => Ok(self.list(owner)),
            Operation::Create => self.create(owner, NewTerminal::parse(&body.await?)?).await,
            Operation::Resize { terminal } => self.resize(owner, terminal, &body.await?),
            Operation::Delete { terminal } => self.delete(owner, terminal).await,
            Operation::Attach { terminal } => self.attach(owner, terminal, identity, &parts),
        }
    }

    async fn check_owner(&self, owner: Owner, operation: &Operation) -> Result<(), TerminalError> {
        let Owner { tenant, user, session } = owner;
        let workspaces = &self.inner.workspaces;
        let lookup = async {
            match operation {
                Operation::Create | Operation::Attach { .. } => workspaces.open(tenant, user, session).await,
                _ => workspaces.owned(tenant, user, session).await,
            }
        };
        match timeout(self.inner.timings.lookup, lookup).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(TerminalError::NotFound("workspace")),
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "workspace lookup failed");
                Err(TerminalError::LookupFailed)
            }
            Err(_) => Err(TerminalError::LookupFailed),
        }
    }

    fn list(&self, owner: Owner) -> Reply {
        let terminals = self.inner.registry.list(owner);
        reply::data(StatusCode::OK, terminals.iter().map(|terminal| terminal.info()).collect::<Vec<_>>())
    }

    async fn create(&self, owner: Owner, size: Size) -> Result<Reply, TerminalError> {
        let slot = self.inner.registry.reserve(owner)?;
        let (report, started) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        // In a task of its own: a request that is given up must not leave a shell nobody drives.
        self.inner.tasks.spawn(async move {
            let started = inner.start(slot, owner, size).await;
            if let Err(Ok(unwanted)) = report.send(started) {
                unwanted.stop.cancel();
            }
        });
        let within = self.inner.timings.start;
        match timeout(within, started).await {
            Ok(Ok(started)) => {
                let terminal = started?;
                // It may have been paused or removed before there was a terminal to end.
                if let Err(error) = self.check_owner(owner, &Operation::Create).await {
                    terminal.stop.cancel();
                    return Err(error);
                }
                Ok(reply::data(StatusCode::CREATED, terminal.info()))
            }
            Ok(Err(source)) => {
                Err(TerminalError::System { step: "starting the shell", source: source.into() })
            }
            Err(_) => Err(TerminalError::StartTimeout(within)),
        }
    }

    fn resize(&self, owner: Owner, id: Uuid, body: &[u8]) -> Result<Reply, TerminalError> {
        let terminal = self.inner.registry.get(owner, id)?;
        terminal.resize(Size::parse(body)?);
        Ok(reply::data(StatusCode::OK, terminal.info()))
    }

    async fn delete(&self, owner: Owner, id: Uuid) -> Result<Reply, TerminalError> {
        let terminal = self.inner.registry.get(owner, id)?;
        let mut stage = terminal.stage.subscribe();
        terminal.stop.cancel();
        // The driver's own waits are all bounded, and it reports the end of the last.
        match stage.wait_for(|stage| matches!(stage, Stage::Removed | Stage::Stuck)).await.as_deref() {
            Ok(Stage::Removed) => Ok(reply::data(StatusCode::OK, serde_json::Map::new())),
            Ok(_) | Err(_) => Err(TerminalError::NotEnded),
        }
    }

    fn attach(
        &self,
        owner: Owner,
        id: Uuid,
        identity: &Identity,
        parts: &Parts,
    ) -> Result<Reply, TerminalError> {
        let terminal = self.inner.registry.get(owner, id)?;
        let handshake = Handshake::check(parts)?;
        let address = parts.headers.get(REAL_IP).and_then(|address| address.to_str().ok()?.parse().ok());
        let socket = Socket {
            user: owner.user,
            tenant: owner.tenant,
            workspace: owner.session,
            terminal: id,
            address,
        };
        let viewer = Viewer {
            place: terminal.admit_viewer()?,
            observer: Arc::clone(&self.inner.sockets),
            socket,
            terminal,
            identity: identity.clone(),
            shutdown: self.inner.stopping.clone(),
            timings: Arc::clone(&self.inner.timings),
        };
        let tasks = self.inner.tasks.clone();
        let mut reply = handshake.answer()?;
        reply.extensions_mut().insert(AttachHandler::new(move |stream| async move {
            let _counted = tasks.token();
            viewer.serve(stream).await;
        }));
        Ok(reply)
    }
}

impl Inner {
    /// Starts a shell and the task that drives it.
    async fn start(
        self: &Arc<Self>,
        slot: Slot,
        owner: Owner,
        size: Size,
    ) -> Result<Arc<Terminal>, TerminalError> {
        let system =
            |step| move |source: std::io::Error| TerminalError::System { step, source: source.into() };
        let directory = workspace::directory(&self.config.workspace_root, owner.tenant, owner.session);
        let directory = directory.map_err(system("finding the workspace's directory"))?;
        let spec = ShellSpec {
            shell: self.config.shell.clone(),
            launcher: self.launcher.clone(),
            directory,
            session: owner.session,
            size,
        };
        let spawned = tokio::task::spawn_blocking(move || shell::spawn(&spec)).await;
        let spawned = spawned.map_err(|error| system("starting the shell")(error.into()))??;
        let pty = PtyMaster::new(&*spawned.master).map_err(system("polling the PTY"))?;
        let exit_watch = spawned.shell.exit_watch().map_err(system("watching the shell"))?;
        let (terminal, input) = Terminal::new(
            self.entropy.uuid(),
            owner,
            self.clock.now_millis(),
            size,
            self.config.scrollback_bytes,
            self.stopping.child_token(),
        );
        slot.fill(Arc::clone(&terminal));
        let driver = Driver {
            terminal: Arc::clone(&terminal),
            pty,
            shell: spawned.shell,
            exit_watch,
            input,
            timings: Arc::clone(&self.timings),
        };
        self.tasks.spawn(Arc::clone(self).live(driver));
        Ok(terminal)
    }

    /// A terminal's life: it runs, is kept for a while, and is removed.
    async fn live(self: Arc<Self>, driver: Driver) {
        let terminal = Arc::clone(&driver.terminal);
        let ended = driver.run(|| self.hangup_grace()).await;
        if ended.is_ok() {
            terminal.stage.send_replace(Stage::Finished);
            let kept = Duration::from_secs(self.config.idle_after_exit_seconds);
            // Either way it is over.
            timeout(kept, terminal.stop.cancelled()).await.unwrap_or_default();
        }
        self.registry.remove(terminal.id);
        terminal.stage.send_replace(if ended.is_ok() { Stage::Removed } else { Stage::Stuck });
    }

    /// Between SIGHUP and SIGKILL: in a shutdown no more than half of what is left of it.
    fn hangup_grace(&self) -> Duration {
        let left = self.stop_by.get().map(|by| by.saturating_duration_since(Instant::now()) / 2);
        left.map_or(self.timings.hangup_grace, |left| left.min(self.timings.hangup_grace))
    }
}

impl<B> tower::Service<Request<B>> for TerminalService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

impl std::fmt::Debug for TerminalService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TerminalService").field("terminals", &self.terminals()).finish_non_exhaustive()
    }
}
