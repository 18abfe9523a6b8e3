//! FoundationDB's network thread: started once in a process, stopped before it ends.
//!
//! The client library demands both, so its state here is the one static of this program: the C API can be set
//! up once in a process, and its event loop can be run once.
//!
//! A second thread does nothing but stop the first. It must be one that was there before: at the process's exit
//! the main thread's thread-local state is gone already, and the client library's calls need theirs.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
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
/// Notified when [`NETWORK`] is told to stop, and when it has.
static CHANGED: Condvar = Condvar::new();

enum Network {
    NotStarted,
    /// It runs, with these options.
    Running(NetworkOptions),
    /// It could not be started; the C API does not let us try again.
    Failed(OpenFoundationDbError),
    Stopping,
    Stopped,
}

fn network() -> MutexGuard<'static, Network> {
    NETWORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the network thread unless it runs. Blocks for a moment.
///
/// # Errors
///
/// It runs with other options, was stopped, or the client library refuses to start it.
pub(super) fn start(options: &NetworkOptions) -> Result<(), OpenFoundationDbError> {
    let mut network = network();
    match &*network {
        Network::Running(running) if running == options => Ok(()),
        Network::Running(_) => Err(OpenFoundationDbError::OtherNetworkOptions),
        Network::Failed(error) => Err(error.clone()),
        Network::Stopping | Network::Stopped => Err(OpenFoundationDbError::Stopped),
        Network::NotStarted => {
            let started = run(options);
            *network = match &started {
                Ok(()) => Network::Running(options.clone()),
                Err(error) => Network::Failed(error.clone()),
            };
            started
        }
    }
}

/// Stops the network thread and waits for its end. Nothing of FoundationDB works in this process afterwards. Does
/// nothing if it does not run. False if it did not end in [`STOP_WAIT`].
///
/// Neither logs nor panics, for it runs where the thread's own state is gone.
pub(super) fn stop() -> bool {
    let mut network = network();
    match &*network {
        Network::Running(_) => *network = Network::Stopping,
        Network::Stopping => {}
        Network::NotStarted | Network::Failed(_) | Network::Stopped => return true,
    }
    CHANGED.notify_all();
    let stopping = |network: &mut Network| matches!(network, Network::Stopping);
    let waited = CHANGED.wait_timeout_while(network, STOP_WAIT, stopping);
    !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
}

fn run(options: &NetworkOptions) -> Result<(), OpenFoundationDbError> {
    let newest = get_max_api_version();
    if newest < API_VERSION {
        return Err(OpenFoundationDbError::ClientTooOld { newest });
    }
    let library = OpenFoundationDbError::network;
    let thread = |error: std::io::Error| OpenFoundationDbError::Thread(error.to_string());
    let builder = FdbApiBuilder::default().set_runtime_version(API_VERSION).build().map_err(library)?;
    let (runner, wait) = apply(builder, options)?.build().map_err(library)?;
    stop_at_exit()?;
    let events = Builder::new().name("fdb-network".to_owned());
    let events = events.spawn(move || event_loop(runner)).map_err(thread)?;
    let stop = wait.wait();
    let stopper = Builder::new().name("fdb-stop".to_owned());
    stopper.spawn(move || stop_when_told(stop, events)).map(drop).map_err(thread)
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

/// Waits until the network shall stop, stops it, and waits for its end.
fn stop_when_told(stop: NetworkStop, events: JoinHandle<()>) {
    let running = |network: &mut Network| !matches!(network, Network::Stopping);
    drop(CHANGED.wait_while(network(), running).unwrap_or_else(PoisonError::into_inner));
    if stop.stop().is_ok() {
        // A panic of that thread was told by itself.
        drop(events.join());
        *network() = Network::Stopped;
        CHANGED.notify_all();
    }
}

/// Has the network thread stopped wherever the process exits: tests and errors at start never come to an
/// orderly shutdown.
#[allow(unsafe_code)]
fn stop_at_exit() -> Result<(), OpenFoundationDbError> {
    extern "C" fn at_exit() {
        stop();
    }
    // SAFETY: `at_exit` is a function for the whole life of the process, takes nothing and does not unwind
    // (`stop` does not panic, and if it did, the process would abort). The client library was loaded before
    // this call, so its own clean-up runs after ours.
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
