//! A FoundationDB cluster as a backend of the store.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use foundationdb::options::DatabaseOption;
use foundationdb::{Database, FdbError, Transaction};
use tokio::sync::watch;
use tokio::time::Instant;

use super::errors::{Doing, Fault};
use super::network;
use super::options::FoundationDbOptions;
use super::transaction::{FoundationDbTransaction, within};
use crate::contract::{Backend, BackendTransaction};
use crate::error::StoreError;
use crate::limits::{MAX_TRANSACTION_BYTES, MAX_WATCHES};

/// How much longer than FoundationDB's own time limit an answer is waited for.
const GRACE: Duration = Duration::from_secs(1);
/// How long the cluster may take to answer a ping.
const PING_LIMIT: Duration = Duration::from_secs(1);
/// How long a ping's answer is given to others who ask.
const PING_FRESH: Duration = Duration::from_millis(500);
/// Watches the client library is let have. More than ours, because it notices a dropped one a moment later.
const CLIENT_WATCHES: usize = 2 * MAX_WATCHES;

/// Why FoundationDB could not be opened. Nothing of this has to do with whether the cluster answers:
/// [`Backend::ping`] tells that.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFoundationDbError {
    /// The cluster file is not there or cannot be read.
    #[error("the cluster file {} cannot be read: {reason}", path.display())]
    ClusterFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A path holds what the client library's API cannot be given.
    #[error("the path {} is not UTF-8 or holds a NUL, which FoundationDB's client library cannot take", .0.display())]
    Path(PathBuf),
    /// The directory for trace files cannot be made.
    #[error("the trace directory {} cannot be made: {reason}", path.display())]
    TraceDirectory {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The `libfdb_c` found at run time is older than this program's API version.
    #[error(
        "libfdb_c speaks API version {newest} at most, 710 is needed: install FoundationDB's client 7.1 or later"
    )]
    ClientTooOld {
        /// The newest API version it speaks.
        newest: i32,
    },
    /// A network option was refused.
    #[error("FoundationDB's client library refuses {name}: {fault}")]
    Option {
        /// The option.
        name: &'static str,
        /// What it said.
        fault: Fault,
    },
    /// The client library could not be set up.
    #[error("FoundationDB's client library cannot be started: {0}")]
    Network(Fault),
    /// Its thread could not be started.
    #[error("FoundationDB's network thread cannot be started: {0}")]
    Thread(String),
    /// FoundationDB was opened in this process before, with other network options: those cannot be changed.
    #[error(
        "FoundationDB's network runs with other trace or TLS settings; it can be set up only once in a process"
    )]
    OtherNetworkOptions,
    /// The network thread was stopped: [`FoundationDb::stop_network`].
    #[error("FoundationDB's network was stopped; it cannot be started again in this process")]
    Stopped,
    /// The database could not be opened.
    #[error("the cluster of {} cannot be opened: {fault}", path.display())]
    Database {
        /// The cluster file.
        path: PathBuf,
        /// What the client library said.
        fault: Fault,
    },
}

impl OpenFoundationDbError {
    pub(super) fn network(error: FdbError) -> Self {
        Self::Network(error.into())
    }
}

impl From<FdbError> for Fault {
    fn from(error: FdbError) -> Self {
        Self {
            code: error.code(),
            message: error.message(),
            maybe_committed: error.is_maybe_committed(),
            retryable_not_committed: error.is_retryable_not_committed(),
        }
    }
}

/// What transactions share with the backend.
pub(super) struct Shared {
    /// `None` once closed.
    database: RwLock<Option<Database>>,
    pub(super) timeout: Duration,
    /// True once closed.
    pub(super) closed: watch::Sender<bool>,
    /// Held for reading by each commit in progress.
    pub(super) commits: tokio::sync::RwLock<()>,
    /// Watches that exist, in force or not.
    pub(super) watches: Arc<AtomicUsize>,
}

impl Shared {
    /// Begins a transaction of the client library. Asks the cluster nothing.
    pub(super) fn begin(&self) -> Result<Transaction, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        database.create_trx().map_err(|error| Fault::from(error).during(Doing::Begin))
    }

    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if *self.closed.borrow() { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// How long any one answer is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.timeout + GRACE
    }
}

/// A ping's answer, and when it came.
struct Pinged {
    at: Instant,
    answer: Result<(), StoreError>,
}

/// The FoundationDB backend.
///
/// The process must stop FoundationDB's network thread before it ends. That happens by itself at a regular
/// exit; [`FoundationDb::stop_network`] does it at a moment of one's choice.
pub struct FoundationDb {
    shared: Arc<Shared>,
    /// Locked while the cluster is asked: others wait for that answer instead of asking again.
    pinged: tokio::sync::Mutex<Option<Pinged>>,
}

impl FoundationDb {
    /// Opens the cluster of a cluster file, and starts FoundationDB's network thread if this is the first time
    /// in the process. Does not wait for the cluster: [`Backend::ping`] says whether it answers.
    ///
    /// # Errors
    ///
    /// The cluster file cannot be read, or the client library refuses what it is given.
    pub fn open(options: &FoundationDbOptions) -> Result<Self, OpenFoundationDbError> {
        let path = &options.cluster_file;
        // The client library tells it only as one more way in which the cluster does not answer.
        std::fs::read(path).map_err(|error| OpenFoundationDbError::ClusterFile {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        if let Some(directory) = &options.network.trace_dir {
            make_directory(directory)?;
        }
        network::start(&options.network)?;
        let database = Database::from_path(&network::text(path)?)
            .and_then(|database| limit(&database).map(|()| database))
            .map_err(|error| OpenFoundationDbError::Database { path: path.clone(), fault: error.into() })?;
        let shared = Shared {
            database: RwLock::new(Some(database)),
            timeout: options.transaction_timeout,
            closed: watch::Sender::new(false),
            commits: tokio::sync::RwLock::new(()),
            watches: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared), pinged: tokio::sync::Mutex::new(None) })
    }

    /// Stops FoundationDB's network thread and waits for its end, a few seconds at most. Every FoundationDB of
    /// this process stops working, and none can be opened again. Blocks; does nothing if none was opened.
    pub fn stop_network() {
        if !network::stop() {
            tracing::error!("FoundationDB's network thread did not end in time");
        }
    }

    /// Asks the cluster for a version, which it only gives out while it can commit.
    async fn ask(&self) -> Result<(), StoreError> {
        let transaction = self.shared.begin()?;
        within(PING_LIMIT, Doing::ReadVersion, transaction.get_read_version()).await.map(|_| ())
    }
}

fn make_directory(path: &Path) -> Result<(), OpenFoundationDbError> {
    std::fs::create_dir_all(path).map_err(|error| OpenFoundationDbError::TraceDirectory {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Sets what holds for each transaction of the database. Their time limit begins later than they do.
fn limit(database: &Database) -> Result<(), FdbError> {
    let number = |number| i32::try_from(number).unwrap_or(i32::MAX);
    database.set_option(DatabaseOption::TransactionRetryLimit(0))?;
    database.set_option(DatabaseOption::TransactionSizeLimit(number(MAX_TRANSACTION_BYTES)))?;
    database.set_option(DatabaseOption::MaxWatches(number(CLIENT_WATCHES)))
}

#[async_trait]
impl Backend for FoundationDb {
    fn name(&self) -> &'static str {
        "foundationdb"
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        Box::new(FoundationDbTransaction::new(Arc::clone(&self.shared)))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut pinged = self.pinged.lock().await;
        self.shared.check_open()?;
        if let Some(last) = &*pinged
            && last.at.elapsed() < PING_FRESH
        {
            return last.answer.clone();
        }
        let answer = self.ask().await;
        *pinged = Some(Pinged { at: Instant::now(), answer: answer.clone() });
        answer
    }

    async fn close(&self) -> Result<(), StoreError> {
        // New work is refused and watches end from here on.
        self.shared.closed.send_replace(true);
        // Each commit in progress ends within this time.
        let ended = tokio::time::timeout(self.shared.patience() + GRACE, self.shared.commits.write()).await;
        self.shared.database.write().unwrap_or_else(PoisonError::into_inner).take();
        match ended {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::TimedOut),
        }
    }
}
