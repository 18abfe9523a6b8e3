//! The command line.

use crate::keys::KeysArgs;
use crate::plugin::PluginArgs;
use crate::store::{AuditArgs, StoreArgs, TenantArgs, UserArgs};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;

/// The edge of a multi-tenant cloud IDE: routes, authenticates, runs Wasm policies, serves the API and terminals.
///
/// Without a command it serves; without a file it uses the configuration that is built in (see config/edge.toml).
/// Environment: JWT_SECRET (signs tokens; at least 32 bytes), HOST and PORT (where to listen), FDB_CLUSTER_FILE
/// (FoundationDB is the store, in a build that has it), RUST_LOG (what is logged on standard error). SIGTERM drains and exits 0; SIGHUP reads the configuration again.
#[derive(Debug, Parser)]
#[command(name = "coditect-edge", version)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve (the same as no command).
    Serve,
    /// Validate a configuration, load its plugins and print its route table. Exits 1 where anything is wrong.
    Check {
        /// Print JSON for machines.
        #[arg(long)]
        json: bool,
    },
    /// Make, show and rotate the keys that sign tokens. A running edge takes changes within seconds.
    ///
    /// The keys are in one file, `key_set` of [auth], readable by its owner only. Give all replicas the same one. Exits
    /// 0; 1 if there is no such key, or no key set; 2 if it could not be carried out.
    Keys(KeysArgs),
    /// Look at the audit trails, check them, sign where they end. Works while the edge runs.
    ///
    /// Exits 0; 1 if problems were found; 2 if it could not be carried out.
    Audit(AuditArgs),
    /// Check, run, test and measure a plugin here; push it to a running edge and put it to work there.
    ///
    /// Exits 0; 1 if the plugin is refused or fails, a case fails, or the edge refuses it; 2 if it could not be carried
    /// out.
    Plugin(Box<PluginArgs>),
    /// Look into the store, check it, back it up, move it. Most of it works while the edge runs.
    ///
    /// Exits 0; 1 if problems were found or a key is not there; 2 if it could not be carried out.
    Store(StoreArgs),
    /// Add, list and show users, keep them out and let them in, set their passwords. Works while the edge runs.
    ///
    /// Exits 0; 1 if there is no such user, or it was refused; 2 if it could not be carried out.
    User(UserArgs),
    /// List, show, suspend, resume, export and remove tenants. Works while the edge runs.
    ///
    /// Exits 0; 1 if there is no such tenant, or it was refused; 2 if it could not be carried out.
    Tenant(TenantArgs),
    /// Confine this process to a workspace and become a shell (the edge starts terminals with it).
    #[command(name = coditect_terminal::LAUNCH_SUBCOMMAND, hide = true)]
    LaunchShell {
        /// The workspace's directory.
        workspace: PathBuf,
        /// The shell.
        shell: PathBuf,
    },
    /// Ask a running edge whether it lives (for container health checks). Exits 0 if it does, 1 if not.
    Health {
        /// The operators' address of that edge.
        #[arg(long, default_value = "http://127.0.0.1:9090", value_name = "URL")]
        admin: String,
    },
}

/// Writes a line for people to standard output. A closed pipe is no reason to fail.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Writes a line to standard error.
pub(crate) fn complain(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Asks a person at a terminal something, on standard error, and stays in the line.
pub(crate) fn ask_on_terminal(question: &str) {
    let mut out = std::io::stderr().lock();
    drop(out.write_all(question.as_bytes()).and_then(|()| out.flush()));
}

/// An error with its causes in one line; a cause that an error's own text tells is not told again.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::with_causes;
    use coditect_store::dump::{BackupError, FormatError, ImportError};
    use std::io;

    #[test]
    fn every_cause_is_told_once() {
        let full = || io::Error::other("the disk is full");
        let backup = BackupError::Io { doing: "made", path: "/b".into(), source: full() };
        let import =
            ImportError::Unfinished { source: Box::new(ImportError::Format(FormatError::Io(full()))) };
        let told = [
            anyhow::Error::from(backup).context("context"),
            anyhow::Error::from(import).context("context"),
            anyhow::Error::from(full()).context("context"),
        ];
        for error in told {
            let text = with_causes(&error);
            assert!(text.starts_with("context: "), "{text}");
            assert_eq!(text.matches("the disk is full").count(), 1, "{text}");
        }
    }
}
