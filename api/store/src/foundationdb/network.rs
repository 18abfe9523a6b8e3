//! FoundationDB's network thread: started once in a process, stopped before it ends.
//!
//! The client library demands both, so its state here is the one static of this program: the C API can be set
//! up once in a process, and its event loop can be run once.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use foundationdb::FdbError;
use foundationdb::api::{FdbApiBuilder, NetworkBuilder, NetworkRunner, NetworkStop, get_max_api_version};
use foundationdb::options::NetworkOption;
use secrecy::ExposeSecret;

use super::database::OpenFoundationDbError;
use super::options::NetworkOptions;

/// The API version this program is written against. Later client libraries still speak it.
const API_VERSION: i32 = 710;
/// How long the network thread may take to end once it was told to.
const STOP_WAIT: Duration = Duration::from_secs(5);

static NETWORK: Mutex<Network> = Mutex::new(Network::NotStarted);

enum Network {
    NotStarted,
    Running(Running),
    /// It could not be started; the C API does not let us try again.
    Failed(OpenFoundationDbError),
    Stopped,
}

struct Running {
    options: NetworkOptions,
    stop: NetworkStop,
    thread: JoinHandle<()>,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
}

/// Starts the network thread unless it runs. Blocks for a moment.
///
/// # Errors
///
/// It runs with other options, was stopped, or the client library refuses to start it.
pub(super) fn start(options: &NetworkOptions) -> Result<(), OpenFoundationDbError> {
    let mut network = NETWORK.lock().unwrap_or_else(PoisonError::into_inner);
    match &*network {
        Network::Running(running) if running.options == *options => Ok(()),
        Network::Running(_) => Err(OpenFoundationDbError::OtherNetworkOptions),
        Network::Failed(error) => Err(error.clone()),
        Network::Stopped => Err(OpenFoundationDbError::Stopped),
        Network::NotStarted => match run(options) {
            Ok(running) => {
                *network = Network::Running(running);
                Ok(())
            }
            Err(error) => {
                *network = Network::Failed(error.clone());
                Err(error)
            }
        },
    }
}

/// Stops the network thread and waits for its end, a few seconds at most. Nothing of FoundationDB works in this
/// process afterwards. Does nothing if it does not run.
pub(super) fn stop() {
    let mut network = NETWORK.lock().unwrap_or_else(PoisonError::into_inner);
    let Network::Running(running) = std::mem::replace(&mut *network, Network::Stopped) else { return };
    if let Err(error) = running.stop.stop() {
        tracing::error!(%error, "FoundationDB's network thread could not be told to stop");
        return;
    }
    match running.ended.recv_timeout(STOP_WAIT) {
        // The thread holds the other end and never sends: it has ended, or is about to.
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if running.thread.join().is_err() {
                tracing::error!("FoundationDB's network thread had panicked");
            }
        }
        Err(RecvTimeoutError::Timeout) => {
            tracing::error!(
                limit_s = STOP_WAIT.as_secs(),
                "FoundationDB's network thread did not end in time"
            );
        }
    }
}

fn run(options: &NetworkOptions) -> Result<Running, OpenFoundationDbError> {
    let newest = get_max_api_version();
    if newest < API_VERSION {
        return Err(OpenFoundationDbError::ClientTooOld { newest });
    }
    let network = |error| OpenFoundationDbError::network(error);
    let builder = FdbApiBuilder::default().set_runtime_version(API_VERSION).build().map_err(network)?;
    let (runner, wait) = apply(builder, options)?.build().map_err(network)?;
    stop_at_exit()?;
    let (alive, ended) = channel();
    let thread = std::thread::Builder::new()
        .name("fdb-network".to_owned())
        .spawn(move || {
            event_loop(runner);
            drop(alive);
        })
        .map_err(|error| OpenFoundationDbError::Thread(error.to_string()))?;
    let stop = wait.wait();
    Ok(Running { options: options.clone(), stop, thread, ended })
}

/// Runs the event loop to its end.
#[allow(unsafe_code)]
fn event_loop(runner: NetworkRunner) {
    // SAFETY: the loop must be stopped before the process ends. `stop_at_exit` has seen to that, and a process
    // that is killed or aborts does not matter.
    if let Err(error) = unsafe { runner.run() } {
        tracing::error!(%error, "FoundationDB's network thread failed: the store does not answer any more");
    }
}

/// Has the network thread stopped wherever the process exits: tests and errors at start never come to an
/// orderly shutdown.
#[allow(unsafe_code)]
fn stop_at_exit() -> Result<(), OpenFoundationDbError> {
    extern "C" fn at_exit() {
        stop();
    }
    // SAFETY: `at_exit` is a function for the whole life of the process, takes nothing and does not unwind:
    // `stop` does not panic, and if it did, the process would abort. It uses no thread-local state. The library
    // was loaded before this call, so its own clean-up runs after ours.
    let refused = unsafe { libc::atexit(at_exit) } != 0;
    if refused {
        return Err(OpenFoundationDbError::Thread("no exit handler can be registered".to_owned()));
    }
    Ok(())
}

/// Sets the network options. They hold for the process.
fn apply(
    mut builder: NetworkBuilder,
    options: &NetworkOptions,
) -> Result<NetworkBuilder, OpenFoundationDbError> {
    let mut set = Vec::new();
    if let Some(directory) = &options.trace_dir {
        set.push(("trace_dir", NetworkOption::TraceEnable(text(directory)?)));
        set.push(("trace_dir", NetworkOption::TraceFormat("json".to_owned())));
    }
    let tls = &options.tls;
    if let Some(path) = &tls.cert {
        set.push(("tls_cert", NetworkOption::TLSCertPath(text(path)?)));
    }
    if let Some(path) = &tls.key {
        set.push(("tls_key", NetworkOption::TLSKeyPath(text(path)?)));
    }
    if let Some(path) = &tls.ca {
        set.push(("tls_ca", NetworkOption::TLSCaPath(text(path)?)));
    }
    if let Some(peers) = &tls.verify_peers {
        set.push(("tls_verify_peers", NetworkOption::TLSVerifyPeers(peers.clone().into_bytes())));
    }
    if let Some(password) = &tls.password {
        set.push(("the TLS password", NetworkOption::TLSPassword(password.expose_secret().to_owned())));
    }
    for (name, option) in set {
        builder = builder
            .set_option(option)
            .map_err(|error: FdbError| OpenFoundationDbError::Option { name, fault: error.into() })?;
    }
    Ok(builder)
}

/// A path as the C API takes it.
pub(super) fn text(path: &Path) -> Result<String, OpenFoundationDbError> {
    match path.to_str() {
        Some(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(OpenFoundationDbError::Path(path.to_owned())),
    }
}
