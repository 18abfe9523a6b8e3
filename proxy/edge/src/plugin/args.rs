//! The arguments of `coditect-edge plugin`.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use uuid::Uuid;

/// What `plugin --help` ends with.
const EXAMPLES: &str = "\
Examples, from a module to a policy at work for one's own tenant:
  coditect-edge plugin check policy.wasm
  coditect-edge plugin run policy.wasm --config policy.json --request 'GET /admin' -H 'x-region: eu'
  coditect-edge plugin test policies/ --junit report.xml
  coditect-edge plugin bench policy.wasm --config policy.json
  coditect-edge plugin push policy.wasm --name region-policy --email ada@example.com
  coditect-edge plugin activate region-policy --config policy.json --email ada@example.com
  coditect-edge plugin rollback region-policy --email ada@example.com";
/// What `plugin test --help` ends with.
const TEST_EXAMPLES: &str = "\
A file of cases, blocked.test.toml:
  plugin = \"target/policy.wasm\"
  config = { deny = [\"blocked\"] }

  [[case]]
  name = \"a blocked region is refused\"
  request = { path = \"/x\", headers = { x-region = \"blocked\" } }
  expect = { upstream = false, response = { status = 403 }, log = [\"refused\"] }

All keys: plugins/tools/src/lib.rs. In a directory, files *.test.toml and *tests*.textpb are run, the latter in the
format of GoogleCloudPlatform/service-extensions.";

/// `coditect-edge plugin …`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PluginArgs {
    /// The plugin's configuration, any bytes; `-` is standard input. (With these commands it is not the edge's.)
    #[arg(id = "config", long, short, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON for machines: one object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
}

/// What to do with a plugin.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// See whether the edge takes a module, what it is and what it may touch. Exits 1 if it is refused.
    ///
    /// It is compiled and started as the edge does it; with a configuration it is configured, too.
    Check {
        /// The module.
        file: PathBuf,
        #[command(flatten)]
        plugin: LoadArgs,
    },
    /// Run one exchange through a plugin, in memory, and show every call between host and plugin.
    ///
    /// The clock stands still at 2026-01-01, randomness is the same each time, and calls out are answered by --case or
    /// fail. Exits 1 if the plugin is refused or fails.
    Run {
        /// The module.
        file: PathBuf,
        #[command(flatten)]
        plugin: LoadArgs,
        #[command(flatten)]
        exchange: ExchangeArgs,
        /// Leave the calls out, show only what comes of them.
        #[arg(long)]
        no_trace: bool,
    },
    /// Run cases: a request and the upstream's answer in; headers, bodies, log lines and metrics out.
    ///
    /// A run is the same on every machine: guests are bounded by instructions in place of time. --config is in place of
    /// what the files say. Exits 0 if all cases pass, 1 if one fails, 2 if a file cannot be run or there is nothing to
    /// run.
    #[command(after_help = TEST_EXAMPLES)]
    Test {
        /// Files of cases, or directories that hold some.
        #[arg(required = true)]
        suites: Vec<PathBuf>,
        /// The module, in place of what the files name.
        #[arg(long, value_name = "FILE")]
        plugin: Option<PathBuf>,
        /// Only cases with this in their name.
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Write a report for CI.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Show what the plugin logged in cases that pass, too.
        #[arg(long, short)]
        verbose: bool,
    },
    /// Measure a plugin: CPU time by phase, memory of an instance, memory under 500 open streams.
    ///
    /// Use a release build, on a machine that does nothing else.
    Bench {
        /// The module.
        file: PathBuf,
        #[command(flatten)]
        plugin: LoadArgs,
        #[command(flatten)]
        exchange: ExchangeArgs,
        /// How many exchanges are measured.
        #[arg(long, default_value_t = coditect_plugin_tools::bench::ROUNDS, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rounds: u32,
    },
    /// Upload a module to a running edge, as a plugin's next version. It is at work only once it is activated.
    Push {
        /// The module.
        file: PathBuf,
        /// The plugin; it is made where there is none.
        #[arg(long)]
        name: String,
        /// What is new in it.
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        #[command(flatten)]
        edge: EdgeArgs,
    },
    /// List the plugins of a running edge; with a name, that one's versions and activations.
    List {
        /// The plugin.
        name: Option<String>,
        #[command(flatten)]
        edge: EdgeArgs,
    },
    /// Put a version to work, in the place of what is at work for the same target.
    ///
    /// The edge starts it with its configuration first, and refuses it with what is wrong.
    Activate {
        /// The plugin.
        name: String,
        /// The version; the newest if left out.
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
        version: Option<u64>,
        #[command(flatten)]
        plugin: ConfigurationArgs,
        #[command(flatten)]
        target: TargetArgs,
        /// What becomes of a request whose plugin failed.
        #[arg(long, value_enum)]
        fail: Option<Fail>,
        /// Plugins with a lower one see a request first.
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(..=1000))]
        order: Option<u16>,
        /// For this share of the requests only.
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
        share_percent: Option<u8>,
        /// Run it without changing anything; only its verdict is recorded.
        #[arg(long)]
        shadow: bool,
        #[command(flatten)]
        edge: EdgeArgs,
    },
    /// Put back to work what was so before what is now.
    Rollback {
        /// The plugin.
        name: String,
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        edge: EdgeArgs,
    },
    /// Take a plugin out of work.
    Deactivate {
        /// The plugin.
        name: String,
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        edge: EdgeArgs,
    },
}

/// How a plugin is configured.
#[derive(Debug, Args)]
pub(crate) struct ConfigurationArgs {
    /// The plugin's configuration itself, in place of a file.
    #[arg(long, value_name = "TEXT")]
    pub(crate) config_text: Option<String>,
    /// The root to start, where the module has several.
    #[arg(long, value_name = "ID")]
    pub(crate) root_id: Option<String>,
}

/// How a plugin is loaded here.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) configuration: ConfigurationArgs,
    /// An upstream that it may call. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Vec<String>,
    /// A pause at headers lets the body through to the plugin (`stop_iteration`).
    #[arg(long)]
    pub(crate) stop_iteration: bool,
}

/// One exchange.
#[derive(Debug, Args)]
#[command(next_help_heading = "The exchange")]
pub(crate) struct ExchangeArgs {
    /// Method and path of the request.
    #[arg(long, value_name = "METHOD PATH")]
    pub(crate) request: Option<String>,
    /// A header of the request. May be given several times.
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// Whom the request asks.
    #[arg(long, value_name = "HOST")]
    pub(crate) authority: Option<String>,
    /// The request's body.
    #[arg(long, value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// The request's body, from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    pub(crate) body_file: Option<PathBuf>,
    /// Whose request it is; nobody's if left out.
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<String>,
    /// A property that the plugin can read, such as source.address=192.0.2.7:1234. Write int:7 and bool:true for what is
    /// no text. May be given several times.
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) property: Vec<String>,
    /// The status that the upstream answers.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(100..=599))]
    pub(crate) status: Option<u16>,
    /// A header of the upstream's response. May be given several times.
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) response_header: Vec<String>,
    /// The body of the upstream's response.
    #[arg(long, value_name = "TEXT")]
    pub(crate) response_body: Option<String>,
    /// Take the exchange, and the plugin's settings, from a file of cases; what is given beside it wins.
    #[arg(long, value_name = "FILE")]
    pub(crate) case: Option<PathBuf>,
    /// Which of the file's cases; the first if left out.
    #[arg(long, value_name = "NAME", requires = "case")]
    pub(crate) name: Option<String>,
}

/// For which requests a version is, or was, at work.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The requests of this route, by its prefix as configured; else of all routes.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) route: Option<String>,
    /// This tenant's requests. With --operators only.
    #[arg(long, value_name = "ID", requires = "operators")]
    pub(crate) tenant: Option<Uuid>,
}

/// Which edge, and as whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "The edge")]
pub(crate) struct EdgeArgs {
    /// Where the edge serves.
    #[arg(long, env = "CODITECT_EDGE", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) edge: String,
    /// A file with an access token. Else the environment's CODITECT_TOKEN is used, or --email.
    #[arg(long, value_name = "FILE", conflicts_with = "email")]
    pub(crate) token_file: Option<PathBuf>,
    /// Log in as this user. The password is asked for on a terminal; see --password-stdin.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) email: Option<String>,
    /// Read the password from standard input: its first line.
    #[arg(long, requires = "email")]
    pub(crate) password_stdin: bool,
    /// The operators' plugins, which are for all tenants, in place of one's own tenant's.
    #[arg(long)]
    pub(crate) operators: bool,
}

/// What becomes of a request whose plugin failed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Fail {
    /// It is refused.
    Closed,
    /// It goes on.
    Open,
}
