//! The composition root: every part is made here, from the configuration, and joined to the others.

use crate::adapters::{Api, AuditedSockets, HostTrials, Ready, StoredWorkspaces, Terminals};
use crate::audit::Audit;
use crate::audit_key::AuditKey;
use crate::cli::say;
use crate::feed::{Feed, OnGone, Told};
use crate::keys::{TokenSigning, token_signing};
use crate::log;
use crate::running::TerminalsAndSockets;
use crate::signals::{Asked, Signals};
use crate::storage;
use crate::store::{self, StoreSocket};
use crate::stored_plugins::{PluginChanges, StoredPlugins};
use crate::upkeep::Upkeep;
use anyhow::Context;
use coditect_api::{ApiMetrics, ApiState, ForkPlaces, PluginTrials, Throttle, Transfers};
use coditect_auth::{
    Clock, Entropy, Families, PasswordHasher, PasswordSettings, SystemClock, SystemEntropy, TokenIssuer,
    TokenSettings, TokenVerifier,
};
use coditect_config::{AuthConfig, Config, Environment, Sandbox, TerminalConfig};
use coditect_proxy::{
    AccessLog, Callouts, EmbeddedFile, Gate, Live, Metrics, Parts, PluginLoader, Server, Services,
    WorkspaceEnds,
};
use coditect_store::{Accesses, Quota, Repositories};
use coditect_terminal::TerminalService;
use prometheus::Registry;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The built-in console.
const CONSOLE: &[EmbeddedFile] = include!(concat!(env!("OUT_DIR"), "/console.rs"));
/// How long tasks have to notice that the runtime ends.
const RUNTIME_END: Duration = Duration::from_secs(1);

/// Reads the configuration as the environment has it.
pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Config> {
    let environment = Environment {
        host: std::env::var("HOST").ok(),
        port: std::env::var("PORT").ok(),
        cluster_file: std::env::var_os("FDB_CLUSTER_FILE").map(PathBuf::from),
    };
    Ok(coditect_config::load(file, &environment)?)
}

/// Serves until told to stop.
pub(crate) fn serve(file: Option<&Path>) -> anyhow::Result<ExitCode> {
    log::start()?;
    let config = load(file)?;
    // Keys are in this memory: no core dump, no debugger of the same user.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .context("the process cannot be made undumpable")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.server.threads)
        .thread_name("edge")
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let served = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        // The start may wait for the store.
        let started = tokio::select! {
            started = App::start(config, file) => Some(started?),
            () = signals.stop() => None,
        };
        match started {
            Some(app) => app.run(signals).await,
            None => {
                tracing::info!("stopped before anything was served");
                Ok(())
            }
        }
    });
    runtime.shutdown_timeout(RUNTIME_END);
    storage::release();
    served.map(|()| ExitCode::SUCCESS)
}

/// A running edge.
struct App {
    config: Config,
    file: Option<PathBuf>,
    server: Server,
    terminals: TerminalService,
    repositories: Repositories,
    /// What runs beside requests; ends before the store does.
    background: JoinSet<()>,
    /// Ends after all that it is told of, and before the store does.
    audit: Audit,
    store_socket: Option<StoreSocket>,
    live: Arc<Live>,
    callouts: Callouts,
    metrics: Metrics,
    /// Has the key set read at once.
    read_keys: Arc<Notify>,
}

impl App {
    async fn start(config: Config, file: Option<&Path>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let read_keys = Arc::<Notify>::default();
        let TokenSigning { keys: token_keys, watcher, told: tokens_told } =
            token_signing(&config.auth, &clock, &*entropy, &read_keys)?;
        let (_, audit_key_made) = AuditKey::load_or_create(&config.audit.key_file, &*entropy)?;

        let storage = storage::open(&config, Arc::clone(&entropy)).await?;
        store::refuse_unfinished_import(&storage).await?;
        storage.claim().await?;
        let store_socket = store::serve(&config, &storage, &*entropy).await;
        let (store, keys) = (storage.store, storage.keys);
        let repositories =
            Repositories::new(store.clone(), keys.clone(), Arc::clone(&clock), Arc::clone(&entropy))
                .with_quota(Quota {
                    bytes: config.files.quota_bytes_per_tenant,
                    files: config.files.quota_files_per_tenant,
                });
        let families = Arc::new(Families::new(Arc::new(repositories.clone()), Arc::clone(&clock)));
        let mut background = JoinSet::new();
        let upkeep =
            Upkeep::new(repositories.clone(), keys.clone(), Arc::clone(&clock), Arc::clone(&entropy));
        background.spawn(upkeep.run());

        if let Some(watcher) = watcher {
            background.spawn(watcher.follow());
        }
        let registry = Registry::new();
        let audit = Audit::start(repositories.clone(), Arc::clone(&clock), Arc::clone(&entropy), &registry)?;
        let sockets = Arc::new(AuditedSockets(audit.log()));

        let tokens = TokenSettings {
            issuer: config.auth.issuer.clone(),
            audience: config.auth.audience.clone(),
            access_seconds: config.auth.access_token_seconds,
        };
        let verifier = TokenVerifier::with_keys(Arc::clone(&token_keys), &tokens);
        let issuer = Arc::new(TokenIssuer::with_keys(token_keys, tokens, Arc::clone(&entropy)));
        let accesses = Accesses::new(repositories.clone(), Arc::clone(&clock));
        let workspaces = Arc::new(StoredWorkspaces {
            repositories: repositories.clone(),
            accesses: accesses.clone(),
            clock: Arc::clone(&clock),
        });
        let terminals = TerminalService::new(
            config.terminal.clone(),
            launcher(&config.terminal),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            workspaces.clone(),
            sockets.clone(),
        );
        let metrics = Metrics::new(&registry)?;
        let callouts = Callouts::new(tokio::runtime::Handle::current(), metrics.clone());
        let (guest_clock, guest_entropy) = (Arc::clone(&clock), Arc::clone(&entropy));
        let plugins =
            PluginLoader::new(&config.plugin_host, guest_clock, guest_entropy, Some(callouts.clone()))
                .context("the plugin host cannot start")?;
        background.spawn(coditect_proxy::drive_plugins(plugins.engine().clone()));
        plugins.register(&registry)?;
        let plugin_changes = Arc::<PluginChanges>::default();
        let running = TerminalsAndSockets {
            repositories: repositories.clone(),
            terminals: terminals.clone(),
            sockets: WorkspaceEnds::default(),
        };
        let gone: OnGone = {
            let terminals = terminals.clone();
            Box::new(move |tenant, user| {
                terminals.close_people(tenant, user);
            })
        };
        let told = Told { running: Arc::new(running.clone()), gone, plugins: Arc::clone(&plugin_changes) };
        let feed = Feed::new(store, keys, Arc::clone(&families), told);
        background.spawn(feed.follow());
        let router = coditect_api::router(ApiState {
            repositories: repositories.clone(),
            issuer: Arc::clone(&issuer),
            families: Arc::clone(&families),
            passwords: Arc::new(password_hasher(&config.auth, &entropy)?),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            accesses,
            auth: config.auth.clone(),
            plugins: PluginTrials::new(Arc::new(HostTrials(plugins.engine().clone()))),
            limits: config.limits.clone(),
            forks: ForkPlaces::default(),
            throttle: Throttle::new(&config.auth.throttle, Arc::clone(&clock)),
            transfers: Transfers::default(),
            metrics: Arc::new(ApiMetrics::new(&registry)?),
            audit: audit.log(),
        });

        let services = Services {
            api: Arc::new(Api { router, running: running.clone() }),
            terminal: Arc::new(Terminals(terminals.clone())),
            console: CONSOLE,
        };
        let live = Arc::new(Live::start(&config, services, plugins, metrics.clone()).await?);
        let stored_plugins = StoredPlugins::new(repositories.clone(), Arc::clone(&live), plugin_changes);
        let started = stored_plugins.start(&mut background).await;
        started.context("which plugins are at work cannot be read")?;
        let access_log = match config.server.access_log {
            true => AccessLog::to(std::io::stdout(), metrics.access_log_dropped())
                .context("the access log cannot start")?,
            false => AccessLog::off(metrics.access_log_dropped()),
        };
        let parts = Parts {
            snapshot: live.snapshot(),
            gate: Gate::new(
                verifier,
                issuer,
                families,
                workspaces,
                running.sockets,
                Arc::new(repositories.clone()),
                Arc::clone(&clock),
            ),
            metrics: metrics.clone(),
            registry,
            readiness: Arc::new(Ready {
                repositories: repositories.clone(),
                draining: AtomicBool::new(false),
            }),
            access_log,
            sockets,
            clock,
            entropy,
        };
        let server = Server::start(&config.server, parts)?;
        let app = Self {
            config,
            file: file.map(Path::to_owned),
            server,
            terminals,
            repositories,
            background,
            audit,
            store_socket,
            live,
            callouts,
            metrics,
            read_keys,
        };
        app.introduce(&tokens_told, audit_key_made, &storage.description);
        Ok(app)
    }

    /// Tells a person what is served, and where.
    fn introduce(&self, tokens: &str, audit_key_made: bool, store: &str) {
        let (http, admin) = (self.server.http_addr(), self.server.admin_addr());
        say(&format!("coditect-edge {}", env!("CARGO_PKG_VERSION")));
        say(&format!(
            "  http    http://{http}  (console at /, API at /api/v5, {} routes)",
            self.config.routes.len()
        ));
        say(&format!("  admin   http://{admin}  (/metrics, /livez, /readyz)"));
        say(&format!("  store   {store}"));
        say(&format!("  tokens  {tokens}"));
        let made = if audit_key_made { " (made now; keep it)" } else { "" };
        say(&format!("  audit   heads signed with {}{made}", self.config.audit.key_file.display()));
        for warning in &self.config.warnings {
            tracing::warn!("{warning}");
        }
    }

    async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        while signals.next().await == Asked::Reload {
            tokio::select! {
                biased;
                // A reload may take long; dropped, it leaves the old configuration at work.
                () = signals.stop() => break,
                () = self.reload() => {}
            }
        }
        tracing::info!(limit_s = self.config.server.drain.as_secs(), "draining");
        let limit = self.config.server.drain;
        let (whole, report) = tokio::join!(self.server.drain(limit), self.terminals.shutdown(limit));
        if !whole {
            tracing::warn!("some requests did not end in time and were cut off");
        }
        if report.left > 0 {
            tracing::warn!(left = report.left, "some terminals' processes did not end in time");
        }
        self.callouts.shutdown().await;
        // Each of their steps is a transaction, so they can be cut off anywhere.
        self.background.shutdown().await;
        self.audit.finish().await;
        if let Some(socket) = self.store_socket {
            socket.close().await;
        }
        self.repositories.store().close().await.context("the store could not be closed cleanly")?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Takes routes, upstreams and plugins from the file anew. A bad file changes nothing.
    async fn reload(&self) {
        self.read_keys.notify_one();
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || load(file.as_deref())).await;
        let taken = async {
            let config = read??;
            self.live.take(&config).await?;
            anyhow::Ok(config)
        };
        let taken = taken.await;
        self.metrics.reloaded(taken.is_ok());
        match taken {
            Ok(config) => {
                tracing::info!(
                    routes = config.routes.len(),
                    "configuration reloaded; listeners, store, auth, terminals and the plugin host keep theirs until \
                     a restart"
                );
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "the new configuration was refused, the old one goes on"
            ),
        }
    }
}

/// The edge's own binary, which confines a shell before it runs. The name stays right when the file is replaced.
fn launcher(config: &TerminalConfig) -> Option<PathBuf> {
    if config.sandbox == Sandbox::Off {
        return None;
    }
    if !coditect_terminal::can_confine() {
        tracing::warn!("this kernel has no Landlock, so no terminal will start; see `sandbox` in [terminal]");
    }
    Some(PathBuf::from("/proc/self/exe"))
}

pub(crate) fn password_hasher(
    config: &AuthConfig,
    entropy: &Arc<dyn Entropy>,
) -> anyhow::Result<PasswordHasher> {
    let settings = PasswordSettings {
        memory_kib: config.password.memory_kib,
        iterations: config.password.iterations,
        parallelism: config.password.parallelism,
        workers: config.password.workers,
        queue: config.password.queue,
    };
    Ok(PasswordHasher::new(settings, Arc::clone(entropy))?)
}
