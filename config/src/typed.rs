//! The configuration after validation: what the other crates see.

use ipnet::IpNet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// A whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners and limits of the client side.
    pub server: ServerConfig,
    /// Where state lives.
    pub store: StoreConfig,
    /// Tokens and passwords.
    pub auth: AuthConfig,
    /// The audit trail.
    pub audit: AuditConfig,
    /// How much there may be of what users make.
    pub limits: LimitsConfig,
    /// `[files]`
    pub files: FilesConfig,
    /// The in-process terminal.
    pub terminal: TerminalConfig,
    /// Upstreams by name, in the order of their names.
    pub upstreams: Vec<UpstreamConfig>,
    /// Plugins by name, in the order of their names.
    pub plugins: Vec<PluginConfig>,
    /// What all plugins share.
    pub plugin_host: PluginHostConfig,
    /// The plugins of every route, before the route's own, in the order they run.
    pub plugin_chain: Vec<PluginUse>,
    /// Routes, in the order of the file.
    pub routes: Vec<Route>,
    /// Things that are allowed but likely wrong, one line each.
    pub warnings: Vec<String>,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The listener for clients. Port 0 lets the system choose.
    pub http: SocketAddr,
    /// The listener for operators.
    pub admin: SocketAddr,
    /// Worker threads, at least one.
    pub threads: usize,
    /// Connections of clients held at once.
    pub max_connections: usize,
    /// Whether requests are told on standard output.
    pub access_log: bool,
    /// How long requests may go on after a signal to stop.
    pub drain: Duration,
    /// How long a client may be silent in the middle of an exchange.
    pub client_timeout: Duration,
    /// How long a client's connection may idle between requests.
    pub keepalive: Duration,
    /// Origins (`scheme://host[:port]`, lower case) allowed besides the request's own.
    pub allowed_origins: Vec<String>,
    /// Whether an origin whose host and port are the request's own is allowed.
    pub allow_own_origin: bool,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The one host name, in lower case, that serves workspace routes and nothing else.
    pub workspace_host: Option<String>,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// What every key begins with: 1 to 64 printable ASCII characters.
    pub root: String,
    /// The embedded store's file.
    pub path: PathBuf,
    /// Where `store` commands reach an edge that has the file open.
    pub socket: PathBuf,
    /// How to reach FoundationDB.
    pub foundationdb: FoundationDbConfig,
}

/// `[store.foundationdb]`
#[derive(Debug, Clone)]
pub struct FoundationDbConfig {
    /// The cluster file; the store is the embedded one where there is none. `FDB_CLUSTER_FILE` wins over the file.
    pub cluster_file: Option<PathBuf>,
    /// How long a transaction may take.
    pub transaction_timeout: Duration,
    /// How long the start waits for the cluster's first answer.
    pub connect_timeout: Duration,
    /// Where the client library writes its trace files; nowhere if `None`.
    pub trace_dir: Option<PathBuf>,
    /// Our certificate chain, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// The authorities that are trusted, PEM.
    pub tls_ca: Option<PathBuf>,
    /// What the servers' certificates must say, in FoundationDB's words.
    pub tls_verify_peers: Option<String>,
}

/// `[files]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesConfig {
    /// What the files of a tenant and their versions may have, in bytes, unless an operator gave it another quota.
    pub quota_bytes_per_tenant: u64,
    /// How many files a tenant may have, unless an operator gave it another quota.
    pub quota_files_per_tenant: u64,
}

/// `[auth]`
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Where the signing key lives when `JWT_SECRET` is unset.
    pub key_file: PathBuf,
    /// The key set that signs tokens; where there is one, `key_file` and `JWT_SECRET` only verify.
    pub key_set: Option<PathBuf>,
    /// `iss` of every token.
    pub issuer: String,
    /// `aud` of access tokens.
    pub audience: String,
    /// Validity of an access token.
    pub access_token_seconds: i64,
    /// Life of a token family.
    pub family_seconds: i64,
    /// How long a rotated refresh token still gets its successor's tokens.
    pub refresh_grace_seconds: i64,
    /// The tenant whose owners and admins may do what operators do over the API; nobody's unless it is named.
    pub operator_tenant: Option<Uuid>,
    /// Argon2id's cost and pool.
    pub password: Password,
    /// How often passwords and tokens may be tried.
    pub throttle: Throttle,
}

/// `[auth.password]`
#[derive(Debug, Clone, Copy)]
pub struct Password {
    /// Memory of one hash in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes at once.
    pub workers: usize,
    /// Callers that may wait.
    pub queue: usize,
}

/// `[audit]`
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Where the key lives that signs the heads of audit trails; beside the store's file unless set.
    pub key_file: PathBuf,
}

/// `[auth.throttle]`: token buckets.
#[derive(Debug, Clone, Copy)]
pub struct Throttle {
    /// For each e-mail address, whether it is somebody's or not.
    pub account: Rate,
    /// For each client address; of IPv6 the first 64 bits.
    pub address: Rate,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back in a minute; 0: there is no limit.
    pub per_minute: u32,
    /// Tokens it holds at most, at least 1.
    pub burst: u32,
}

/// What confines a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Linux's Landlock: the system read-only, its own workspace, nothing else. No shell starts where the kernel has
    /// none.
    Landlock,
    /// Nothing: it sees what the edge sees.
    Off,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// Workspaces of one user.
    pub workspaces_per_user: usize,
}

/// `[terminal]`
#[derive(Debug, Clone)]
pub struct TerminalConfig {
    /// The program started in a terminal.
    pub shell: PathBuf,
    /// Workspaces' directories are made under this one, as `tenant/session`.
    pub workspace_root: PathBuf,
    /// Whether shells are confined to their workspace.
    pub sandbox: Sandbox,
    /// Terminals of one workspace at once.
    pub max_per_session: usize,
    /// Terminals of one user at once, over all workspaces.
    pub max_per_user: usize,
    /// Terminals of the process at once.
    pub max_total: usize,
    /// Output kept for a viewer that comes later, in bytes.
    pub scrollback_bytes: usize,
    /// How long an ended terminal is kept.
    pub idle_after_exit_seconds: u64,
}

/// `[upstreams.NAME]`
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Its name in routes and metrics.
    pub name: String,
    /// Host name or address (an IPv6 address without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
    /// What is spoken to it.
    pub protocol: UpstreamProtocol,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long the upstream may be silent in the middle of an exchange.
    pub response_timeout: Duration,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
    /// Calls of plugins to it that may be under way at once for one tenant.
    pub calls_per_tenant: usize,
}

/// What is spoken to an upstream, without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, 3.3), which gRPC needs.
    H2c,
}

/// What a trapped or missing plugin does to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMode {
    /// The request is refused with 503.
    Closed,
    /// The request goes on without the plugin.
    Open,
}

/// The least serious message of a plugin that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginLogLevel {
    /// Everything.
    Trace,
    /// For the plugin's author.
    Debug,
    /// What happens.
    Info,
    /// What should be looked at.
    Warn,
    /// What went wrong.
    Error,
    /// What must be looked at now.
    Critical,
}

/// `[plugins.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConfig {
    /// Its name in routes and metrics.
    pub name: String,
    /// The wasm module.
    pub file: PathBuf,
    /// What the plugin reads as its configuration; JSON where it was written as a table.
    pub configuration: String,
    /// The root id given to the plugin.
    pub root_id: String,
    /// The VM id: plugins that share it share data.
    pub vm_id: String,
    /// What the plugin reads as its VM's configuration; JSON where it was written as a table.
    pub vm_configuration: String,
    /// What a failure does to the request.
    pub failure: FailureMode,
    /// Messages below are dropped.
    pub log_level: PluginLogLevel,
    /// Whether a pause at headers holds the headers only, and lets the body reach the plugin.
    pub stop_iteration: bool,
    /// The names of the upstreams it may call, each configured.
    pub upstreams: Vec<String>,
    /// What it may use.
    pub limits: PluginLimits,
    /// When it is taken out of work because it keeps trapping; `None`: never.
    pub quarantine: Option<Quarantine>,
}

/// What one plugin may use: the limits in `[plugins.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginLimits {
    /// CPU time of one callback.
    pub callback_cpu: Duration,
    /// CPU time of each function of an instance's start.
    pub start_cpu: Duration,
    /// Memory of one instance, in bytes.
    pub memory_bytes: usize,
    /// Instances for one tenant, at least one.
    pub instances_per_tenant: usize,
    /// Of one request's, and of its response's, body: what may be held for the plugin, in bytes.
    pub body_bytes: usize,
    /// Calls to upstreams under way at once, for one tenant.
    pub calls_in_flight: usize,
    /// Calls to upstreams in the life of one request.
    pub calls_per_request: u32,
    /// A call's body, and its answer's, in bytes.
    pub call_body_bytes: usize,
    /// Messages waiting in one shared queue.
    pub queue_messages: usize,
    /// Bytes of the messages waiting in one shared queue.
    pub queue_bytes: usize,
    /// Lines logged in a second, for one tenant; further ones are counted and dropped.
    pub log_lines_per_second: u32,
    /// Metrics that the plugin may define for one tenant.
    pub metrics: usize,
}

/// How many traps within which time take a plugin out of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// Traps, at least one.
    pub traps: u32,
    /// Within this time.
    pub window: Duration,
}

/// `[plugin_host]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginHostConfig {
    /// Instances alive at once, over all plugins and tenants.
    pub max_instances: u32,
    /// Shared data of one `vm_id` of one tenant, in bytes.
    pub shared_data_bytes: usize,
    /// Where compiled code is kept; beside the store's file unless set. `None`, which cannot be written: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// The upstreams that plugins which operators uploaded may call, each configured.
    pub operator_upstreams: Vec<String>,
    /// The upstreams that plugins which tenants uploaded may call, each configured.
    pub tenant_upstreams: Vec<String>,
}

/// One use of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginUse {
    /// The plugin's name.
    pub plugin: String,
    /// The tenants it runs for; `None` for all, requests without a tenant included.
    pub tenants: Option<Vec<Uuid>>,
    /// The share of callers it runs for, in percent: 1 to 100.
    pub share_percent: u8,
    /// Whether it runs without changing anything; its verdict is only recorded.
    pub shadow: bool,
}

/// Who may pass a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Everybody.
    Public,
    /// A bearer token.
    Jwt,
    /// A bearer token, or the cookie of the workspace the path names.
    Workspace,
}

/// A service in the edge's own process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalService {
    /// `/api/v5`.
    Api,
    /// Terminals.
    Terminal,
    /// The built-in web page.
    Console,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An upstream, by name.
    Upstream(String),
    /// A service in the process.
    Local(LocalService),
    /// Files of a directory.
    Directory(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(name) => write!(f, "upstream {name}"),
            Self::Local(LocalService::Api) => f.write_str("local api"),
            Self::Local(LocalService::Terminal) => f.write_str("local terminal"),
            Self::Local(LocalService::Console) => f.write_str("local console"),
            Self::Directory(path) => write!(f, "directory {}", path.display()),
        }
    }
}

/// One segment of a route's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// This text, byte for byte.
    Literal(String),
    /// Any one segment.
    Any,
}

/// A route's prefix, cut at the slashes. `/` has no segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// Its segments.
    pub segments: Vec<Segment>,
}

/// A method, as the `public` list names it.
pub type Method = http::Method;

/// A path of a route that needs no credentials: exactly this method and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPath {
    /// The method; `GET` stands for `HEAD` too.
    pub method: Method,
    /// The whole path.
    pub path: String,
}

/// `[[routes]]`
#[derive(Debug, Clone)]
pub struct Route {
    /// What it matches.
    pub prefix: PathPattern,
    /// Where it leads.
    pub target: Target,
    /// Who may pass.
    pub auth: Auth,
    /// Exceptions that need no credentials.
    pub public: Vec<PublicPath>,
    /// Whether the prefix is taken off before the upstream sees the path.
    pub strip_prefix: bool,
    /// Whether the upstream gets the client's `Authorization` header.
    pub forward_authorization: bool,
    /// The largest request body, in bytes; `None` leaves it to the target.
    pub max_body_bytes: Option<u64>,
    /// Plugins, in the order they run.
    pub plugins: Vec<PluginUse>,
    /// How long a plugin may hold a request, or its response, before 504 answers.
    pub plugin_timeout: Duration,
}
