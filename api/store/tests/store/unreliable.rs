//! A backend that loses the answers of commits and the calls of watches, as told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use coditect_store::contract::{
    Backend, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Version, Watch,
};
use coditect_store::{Embedded, EmbeddedOptions, StoreError, SystemMonotonicClock};
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// The next commits, two bits each: 0 nothing, 1 lost after it happened, 2 lost and did not happen, 3 a conflict.
    pub(crate) commits: AtomicU32,
    /// Watches never end by themselves.
    pub(crate) deaf: AtomicBool,
    /// Every read fails.
    pub(crate) down: AtomicBool,
    /// The next commit waits to be released.
    pub(crate) hold: AtomicBool,
    /// A commit is being held.
    pub(crate) held: Notify,
    /// Lets it go.
    pub(crate) release: Notify,
}

pub(crate) struct Unreliable {
    inner: Embedded,
    faults: Arc<Faults>,
}

impl Unreliable {
    pub(crate) fn open(path: std::path::PathBuf) -> (Self, Arc<Faults>) {
        let clock = Arc::new(SystemMonotonicClock::new());
        let inner = Embedded::open(&EmbeddedOptions::new(path), clock).unwrap();
        let faults = Arc::new(Faults::default());
        (Self { inner, faults: Arc::clone(&faults) }, faults)
    }
}

struct UnreliableTransaction {
    inner: Box<dyn BackendTransaction>,
    faults: Arc<Faults>,
}

impl UnreliableTransaction {
    fn up(&self) -> Result<(), StoreError> {
        match self.faults.down.load(Ordering::SeqCst) {
            true => {
                Err(StoreError::Backend { doing: "read", source: Arc::new(std::io::Error::other("down")) })
            }
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Backend for Unreliable {
    fn name(&self) -> &'static str {
        "unreliable"
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        Box::new(UnreliableTransaction { inner: self.inner.begin(), faults: Arc::clone(&self.faults) })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

#[async_trait]
impl BackendTransaction for UnreliableTransaction {
    async fn read_version(&self) -> Result<Version, StoreError> {
        self.inner.read_version().await
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        self.up()?;
        self.inner.get(key, mode).await
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        self.up()?;
        self.inner.range(read).await
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        self.inner.mutate(mutation)
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.inner.add_read_conflict(begin, end)
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        match self.faults.deaf.load(Ordering::SeqCst) {
            true => Ok(Watch::new(std::future::pending())),
            false => self.inner.watch(key).await,
        }
    }

    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        if self.faults.hold.swap(false, Ordering::SeqCst) {
            self.faults.held.notify_one();
            self.faults.release.notified().await;
        }
        let plan = self.faults.commits.load(Ordering::SeqCst);
        self.faults.commits.store(plan >> 2, Ordering::SeqCst);
        match plan & 3 {
            1 => {
                self.inner.commit().await?;
                Err(StoreError::Unknown)
            }
            2 => Err(StoreError::Unknown),
            3 => Err(StoreError::Conflict),
            _ => self.inner.commit().await,
        }
    }
}
