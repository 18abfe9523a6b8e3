//! The store, used as the edge uses it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coditect_auth::{Entropy, SystemEntropy};
use coditect_store::blobs::BlobRef;
use coditect_store::contract::RangeRead;
use coditect_store::{Embedded, EmbeddedOptions, Store, SystemMonotonicClock};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// Rows that are read.
pub(crate) const FILLED: u64 = 100_000;
/// Each value: 100 bytes.
pub(crate) const VALUE: &[u8] = &[b'v'; 100];

/// Keys in the order of their writing, as those of logs and messages are.
pub(crate) fn write_key(n: u64) -> Vec<u8> {
    format!("write/{n:012}").into_bytes()
}

pub(crate) fn row_key(n: u64) -> Vec<u8> {
    format!("row/{n:012}").into_bytes()
}

/// The first row of the `n`-th read: all over the place, the same for both sides.
pub(crate) fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (FILLED - 100)
}

pub(crate) struct Ours {
    pub(crate) runtime: Runtime,
    pub(crate) store: Store,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) count: Arc<AtomicU64>,
    pub(crate) last_blob: Mutex<Option<BlobRef>>,
}

impl Ours {
    pub(crate) fn open(path: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let options = EmbeddedOptions::new(path);
        let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new()));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let store = Store::new(Arc::new(backend.unwrap()), Arc::clone(&entropy));
        Self { runtime, store, entropy, count: Arc::default(), last_blob: Mutex::default() }
    }

    /// Commits one row at a time from each of `writers` tasks.
    pub(crate) fn commits(&self, writers: u64, turn: Duration) -> u64 {
        let deadline = Instant::now() + turn;
        let tasks = (0..writers).map(|_| {
            let (store, count) = (self.store.clone(), Arc::clone(&self.count));
            self.runtime.spawn(async move {
                let mut done = 0;
                while Instant::now() < deadline {
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    let transaction = store.begin();
                    transaction.set(write_key(n), VALUE).unwrap();
                    transaction.commit().await.unwrap();
                    done += 1;
                }
                done
            })
        });
        let tasks: Vec<_> = tasks.collect();
        self.runtime.block_on(async {
            let mut done = 0;
            for task in tasks {
                done += task.await.unwrap();
            }
            done
        })
    }

    pub(crate) fn fill(&self) {
        self.runtime.block_on(async {
            for first in (0..FILLED).step_by(5_000) {
                let transaction = self.store.begin();
                for n in first..first + 5_000 {
                    transaction.set(row_key(n), VALUE).unwrap();
                }
                transaction.commit().await.unwrap();
            }
        });
    }

    /// Reads `rows` rows in a transaction of its own each time.
    pub(crate) fn reads(&self, rows: u64, turn: Duration) -> u64 {
        let deadline = Instant::now() + turn;
        self.runtime.block_on(async {
            let mut done = 0;
            while Instant::now() < deadline {
                let first = spread(done);
                let transaction = self.store.begin();
                if rows == 1 {
                    let value = transaction.get(row_key(first)).await.unwrap().unwrap();
                    assert_eq!(value.len(), VALUE.len());
                } else {
                    let read = RangeRead::new(row_key(first), row_key(first + rows), 1000);
                    assert_eq!(transaction.range(read).await.unwrap().rows.len() as u64, rows);
                }
                done += 1;
            }
            done
        })
    }
}
