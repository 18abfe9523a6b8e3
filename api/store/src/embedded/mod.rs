//! The embedded backend: one `redb` file, under an optimistic layer with FoundationDB's rules.
//!
//! - Reads go to the newest published [`Snapshot`], a redb read transaction held open with its version. They
//!   run inline on the caller's thread: a page in redb's cache costs microseconds, a page in the kernel's
//!   cache a few more, and the records this program keeps are small. Only a cold disk read blocks a worker
//!   thread, for one page at a time.
//! - Writes are buffered in the transaction. At commit they go to one committer thread, which checks the read
//!   ranges against the write ranges of recent commits, puts all waiting transactions that pass into one
//!   redb commit with one fsync, publishes the new snapshot, and only then answers.
//! - The snapshot and its version are published together by that thread, so a read version can never
//!   disagree with the history it is checked against.
//!
//! When the disk fails or is full, writes are refused with an error that says so, reads go on, and it is tried
//! again every second: [`committer`], [`generation`]. On a damaged file redb may panic: in a read that becomes an
//! error; after one in a commit, writes are refused until the program is started on a good file.

mod atomic;
mod committer;
mod contain;
mod copy;
mod disk;
mod file;
mod generation;
mod group;
mod history;
mod long_snapshot;
#[cfg(test)]
mod memory;
mod merge;
mod open_error;
mod path;
mod ranges;
mod request;
#[cfg(test)]
mod torn;
mod transaction;
mod trouble;
mod watches;
#[cfg(test)]
mod write_failures;
mod writes;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use self::contain::contained;
pub(crate) use self::copy::{CopyError, FileCopy};
use self::generation::Generation;
pub use self::open_error::OpenError;
use self::watches::Watches;
use crate::clock::MonotonicClock;
use crate::contract::{Backend, BackendTransaction, SnapshotRows, Version};
use crate::error::StoreError;

/// Memory redb may use for its page cache when nothing else is said, in bytes. Pages beyond it come from the
/// kernel's cache, which costs a point read about a microsecond; a large blob passes through it whole.
pub const DEFAULT_CACHE_BYTES: usize = 6 << 20;
/// Commits that may wait for the committer thread.
const COMMIT_QUEUE: usize = 4096;
/// Bytes of writes and read ranges that may wait for the committer thread, in units of [`QUEUE_UNIT_BYTES`].
const COMMIT_QUEUE_UNITS: usize = 64 << 10;
/// The unit in which waiting writes are counted.
const QUEUE_UNIT_BYTES: usize = 1 << 10;

/// How to open the embedded store.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The database file. It and its directory are created if absent (0600, 0700).
    pub path: PathBuf,
    /// Memory for redb's page cache, in bytes.
    pub cache_bytes: usize,
}

impl EmbeddedOptions {
    /// The file at `path` with the default cache.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), cache_bytes: DEFAULT_CACHE_BYTES }
    }
}

impl From<&coditect_config::StoreConfig> for EmbeddedOptions {
    fn from(config: &coditect_config::StoreConfig) -> Self {
        Self::new(&config.path)
    }
}

/// A committed state of the database, as a redb read transaction.
struct Snapshot {
    version: Version,
    table: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    generation: Arc<Generation>,
}

impl Snapshot {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        contained(|| Ok(self.table.get(key)?.map(|guard| Bytes::copy_from_slice(guard.value()))))
            .map_err(|damage| self.failed("read a key", damage))?
            .map_err(|error: redb::StorageError| self.failed("read a key", error))
    }

    /// What it means that reading failed.
    fn failed(
        &self,
        doing: &'static str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> StoreError {
        // Pages that were not read before its generation ended may be overwritten: another attempt reads anew.
        match self.generation.is_fenced() {
            true => StoreError::TooOld,
            false => StoreError::backend(doing, error),
        }
    }
}

/// What transactions share with the committer thread.
struct Shared {
    clock: Arc<dyn MonotonicClock>,
    /// The newest snapshot; `None` once closed.
    snapshot: RwLock<Option<Arc<Snapshot>>>,
    /// The way to the committer; `None` once closed.
    queue: Mutex<Option<mpsc::Sender<request::Request>>>,
    /// Bounds the memory of waiting writes.
    queue_units: Arc<Semaphore>,
    /// Who waits for which key to change.
    watches: Arc<Watches>,
    /// Why the last commit failed in the backend, until one succeeds.
    failure: Mutex<Option<StoreError>>,
}

impl Shared {
    fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    fn publish(&self, snapshot: Option<Arc<Snapshot>>) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    fn queue(&self) -> Result<mpsc::Sender<request::Request>, StoreError> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    /// Fails once closing has begun.
    fn check_open(&self) -> Result<(), StoreError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.is_some() { Ok(()) } else { Err(StoreError::Closed) }
    }

    fn report(&self, failure: Option<StoreError>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn stop_queue(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The embedded backend. Dropping it without [`Backend::close`] still finishes queued commits, but nobody
/// waits for them.
pub struct Embedded {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens or creates the database. Blocks on the disk; after a crash also for redb's repair, whose time
    /// grows with the file and which the log tells of.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing is written before the file was found in order.
    pub fn open(options: &EmbeddedOptions, clock: Arc<dyn MonotonicClock>) -> Result<Self, OpenError> {
        let (site, opened) = path::open(options)?;
        Self::start(site, opened, clock)
            .map_err(|source| OpenError::Io { path: options.path.clone(), source })
    }

    fn start(site: file::Site, opened: file::Opened, clock: Arc<dyn MonotonicClock>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(COMMIT_QUEUE);
        let shared = Arc::new(Shared {
            clock,
            snapshot: RwLock::new(Some(Arc::clone(&opened.snapshot))),
            queue: Mutex::new(Some(sender)),
            queue_units: Arc::new(Semaphore::new(COMMIT_QUEUE_UNITS)),
            watches: Arc::default(),
            failure: Mutex::new(None),
        });
        let committer = committer::spawn(site, opened, Arc::clone(&shared), receiver)?;
        Ok(Self { shared, committer: Mutex::new(Some(committer)) })
    }
}

#[async_trait]
impl Backend for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        Box::new(transaction::EmbeddedTransaction::new(Arc::clone(&self.shared)))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        if self.shared.queue()?.is_closed() {
            return Err(StoreError::Closed);
        }
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(Ok(()), Err)
    }

    fn long_snapshot(&self) -> Result<Option<Box<dyn SnapshotRows>>, StoreError> {
        Ok(Some(Box::new(long_snapshot::LongSnapshot::new(self.shared.snapshot()?))))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.stop_queue();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(committer) = committer else {
            return Ok(());
        };
        // The thread ends when the queue is empty and every sender is gone.
        let joined = tokio::task::spawn_blocking(move || committer.join()).await;
        match joined {
            Ok(Ok(())) => Ok(()),
            _ => Err(StoreError::backend(
                "closed",
                io::Error::other("the committer thread had panicked: the file is likely damaged"),
            )),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.stop_queue();
    }
}
