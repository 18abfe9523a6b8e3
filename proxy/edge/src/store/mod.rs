//! `coditect-edge store`: looking into the store, checking it, and moving it.
//!
//! The embedded store's file is held by one process. While an edge runs, the commands go through its socket
//! ([`server`], [`client`], [`protocol`]); while none does, and always with FoundationDB, they open the store
//! themselves. What they do ([`operations`]) is the same code on either side. The commands about users and tenants
//! ([`people`]) go the same way.

mod args;
mod audit;
mod client;
mod files;
mod operations;
mod output;
mod people;
mod place;
mod protocol;
mod server;
mod verify;

use crate::app;
use crate::cli::{complain, say, with_causes};
use crate::signals::Signals;
use crate::storage::{self, Storage};
use anyhow::{Context, bail};
use coditect_auth::{Clock, Entropy, SystemClock, SystemEntropy};
use coditect_config::Config;
use coditect_store::{AuditLog, OpenError, Repositories};
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

pub(crate) use self::args::StoreArgs;
use self::args::StoreCommand;
pub(crate) use self::audit::{AuditArgs, run as run_audit};
use self::client::Client;
use self::operations::{Opened, Sink, perform};
use self::output::{Printer, Style, print_stats};
pub(crate) use self::people::{TenantArgs, UserArgs, ask_password, run_tenant, run_user};
use self::protocol::{Outcome, Request};
pub(crate) use self::server::StoreSocket;

/// The exit code of a command that found problems, or not what it looked for.
const NOT_GOOD: u8 = 1;
/// The exit code of a command that could not be carried out.
const FAILED: u8 = 2;
/// One for the command, which may be held up writing to a pipe, and one for signals and time.
const THREADS: usize = 2;
/// How long an interrupted command has to remove what it has half made.
const CLEAN_UP: Duration = Duration::from_secs(2);

/// Runs a command. Exits 0; 1 if there are problems, or no such key; 2 if it could not be carried out.
pub(crate) fn run(config: Option<&Path>, args: StoreArgs) -> ExitCode {
    carry_out(config, "store", |config| async move { command(&config, args).await })
}

/// Runs a command on a runtime of its own; `group` names it where it fails.
fn carry_out<F, D>(config: Option<&Path>, group: &str, command: F) -> ExitCode
where
    F: FnOnce(Config) -> D + Send + 'static,
    D: Future<Output = anyhow::Result<bool>> + Send + 'static,
{
    let done = app::load(config).and_then(|config| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let runtime = runtime.context("the runtime cannot start")?;
        let done = runtime.block_on(until_interrupted(command(config)));
        runtime.shutdown_timeout(CLEAN_UP);
        done
    });
    storage::release();
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_GOOD),
        Err(error) => {
            complain(&format!("coditect-edge {group}: {}", with_causes(&error)));
            ExitCode::from(FAILED)
        }
    }
}

/// Carries a command out, or breaks it off at a signal: what it has half made is then removed.
async fn until_interrupted(
    command: impl Future<Output = anyhow::Result<bool>> + Send + 'static,
) -> anyhow::Result<bool> {
    let mut signals = Signals::listen().context("no signal can be listened to")?;
    // On a thread of its own: a pipe that nobody reads may hold it up.
    let mut task = tokio::spawn(command);
    tokio::select! {
        done = &mut task => done.context("the command broke off")?,
        _ = signals.next() => {
            task.abort();
            drop(timeout(CLEAN_UP, task).await);
            bail!("interrupted")
        }
    }
}

/// Serves the commands' socket, where the store is a file. Without it the edge works all the same.
pub(crate) async fn serve(config: &Config, storage: &Storage, entropy: &dyn Entropy) -> Option<StoreSocket> {
    if storage::names_cluster(config) {
        return None;
    }
    let opened = opened(config, storage, Arc::new(SystemClock));
    match StoreSocket::start(&config.store, opened, entropy).await {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::warn!(
                error = with_causes(&error),
                "`store` commands cannot reach this edge while it runs"
            );
            None
        }
    }
}

/// Refuses a store in which an import was cut off.
pub(crate) async fn refuse_unfinished_import(storage: &Storage) -> anyhow::Result<()> {
    if coditect_store::dump::unfinished_import(&storage.store, &storage.keys).await? {
        bail!(
            "{} holds an import that was cut off: run `coditect-edge store import FILE` again",
            storage.description
        );
    }
    Ok(())
}

fn opened(config: &Config, storage: &Storage, clock: Arc<dyn Clock>) -> Opened {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let (store, keys) = (storage.store.clone(), storage.keys.clone());
    let repositories = Repositories::new(store, keys, Arc::clone(&clock), Arc::clone(&entropy));
    Opened {
        store: storage.store.clone(),
        keys: storage.keys.clone(),
        description: storage.description.clone(),
        file: (!storage::names_cluster(config)).then(|| config.store.path.clone()),
        audit: AuditLog::new(repositories.clone(), Arc::clone(&clock), Arc::clone(&entropy)),
        audit_key: config.audit.key_file.clone(),
        repositories,
        clock,
        entropy,
    }
}

/// Carries out a command; true if all is well.
async fn command(config: &Config, args: StoreArgs) -> anyhow::Result<bool> {
    let json = args.json;
    match args.command {
        StoreCommand::Ls { path, recursive, limit, values } => {
            let request = Request::Ls { path, recursive, limit, values };
            let outcome = ask(config, &request, &mut Printer::new(json, Style::Line)).await?;
            if outcome.summary["more"] == true {
                complain(&format!("there is more; this is the limit of {limit} lines (--limit)"));
            }
            Ok(outcome.good)
        }
        StoreCommand::Get { path, raw } => {
            let request = Request::Get { path: path.clone(), raw };
            let outcome = ask(config, &request, &mut Printer::new(json, Style::Value)).await?;
            if !outcome.good {
                complain(&format!("there is no key {path}"));
            }
            Ok(outcome.good)
        }
        StoreCommand::Stats => {
            let outcome = ask(config, &Request::Stats, &mut Printer::new(json, Style::Line)).await?;
            if json {
                say(&outcome.summary.to_string())
            } else {
                print_stats(&outcome.summary)
            }
            Ok(outcome.good)
        }
        StoreCommand::Verify => {
            let outcome = ask(config, &Request::Verify, &mut Printer::new(json, Style::Line)).await?;
            let (problems, named) = (number(&outcome.summary, "problems"), number(&outcome.summary, "named"));
            let first =
                if named < problems { format!(", the first {named} are named") } else { String::new() };
            let told = format!(
                "{} keys, {} records, {problems} problems{first}",
                outcome.summary["rows"], outcome.summary["records"]
            );
            say(&if json { outcome.summary.to_string() } else { told });
            Ok(outcome.good)
        }
        StoreCommand::Export { file } => files::export(config, &Request::Export, &file, json).await,
        StoreCommand::Import { file, replace } => files::import(config, &file, replace, json).await,
        StoreCommand::Backup { file } => files::backup(config, &file, json).await,
    }
}

/// Has a request carried out, by a running edge or here.
async fn ask(config: &Config, request: &Request, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    let done = match reach(config).await? {
        Some(edge) => edge.perform(request, sink).await,
        None => {
            let storage = open(config, false).await?;
            let done = perform(request, &opened(config, &storage, Arc::new(SystemClock)), sink).await;
            close(&storage, done).await
        }
    };
    sink.end();
    done
}

/// The running edge that holds the store's file, if there is one.
async fn reach(config: &Config) -> anyhow::Result<Option<Client>> {
    if storage::names_cluster(config) { Ok(None) } else { Client::connect(&config.store).await }
}

/// Opens the store in this process. Only an import makes a file where there is none.
async fn open(config: &Config, create: bool) -> anyhow::Result<Storage> {
    let file = &config.store.path;
    if !create && !storage::names_cluster(config) && !file.exists() {
        bail!("there is no store at {}: the edge makes it at its first start", file.display());
    }
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    storage::open(config, entropy).await.map_err(|error| match error.downcast_ref::<OpenError>() {
        Some(OpenError::Locked { .. }) => error.context(format!(
            "a running edge, or another command, has the store open, but nobody answers at {}",
            config.store.socket.display()
        )),
        _ => error,
    })
}

/// Closes the store whatever came of using it.
async fn close<T>(storage: &Storage, done: anyhow::Result<T>) -> anyhow::Result<T> {
    let closed = storage.store.close().await.context("the store could not be closed cleanly");
    done.and_then(|done| closed.map(|()| done))
}

/// A number of a summary.
fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_default()
}
