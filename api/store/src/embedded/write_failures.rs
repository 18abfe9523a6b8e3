//! What happens when the disk fails: shown on a storage of our own, since a real disk fails too rarely.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coditect_auth::SeededEntropy;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::{Embedded, file};
use crate::clock::SystemMonotonicClock;
use crate::error::StoreError;
use crate::store::Store;

/// Memory whose syncs or writes fail on demand.
#[derive(Debug)]
struct Disk {
    memory: InMemoryBackend,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    write: AtomicBool,
    sync: AtomicBool,
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        match self.faults.sync.load(Ordering::SeqCst) {
            true => Err(io::Error::other("no sync")),
            false => self.memory.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        match self.faults.write.load(Ordering::SeqCst) {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => self.memory.write(offset, data),
        }
    }
}

fn store() -> (Store, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let disk = Disk { memory: InMemoryBackend::new(), faults: Arc::clone(&faults) };
    let database = redb::Database::builder().create_with_backend(disk).unwrap();
    let opened = file::prepare(Path::new("memory"), database).unwrap();
    let backend = Embedded::start(opened, Arc::new(SystemMonotonicClock::new())).unwrap();
    (Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1))), faults)
}

async fn put(store: &Store, key: &str, value: &str) -> Result<(), StoreError> {
    let transaction = store.begin();
    transaction.set(key, value.to_owned())?;
    transaction.commit().await.map(|_| ())
}

#[tokio::test]
async fn a_failed_write_or_sync_is_never_acknowledged_and_reads_go_on() {
    for sync in [false, true] {
        let (store, faults) = store();
        put(&store, "k", "1").await.unwrap();
        store.ping().await.unwrap();
        let fault = if sync { &faults.sync } else { &faults.write };
        fault.store(true, Ordering::SeqCst);
        let error = put(&store, "k", "2").await.unwrap_err();
        assert!(matches!(error, StoreError::Unknown | StoreError::Backend { .. }), "{error:?}");
        assert!(store.ping().await.is_err(), "readiness must tell");
        assert_eq!(store.begin().get("k").await.unwrap().unwrap(), "1");

        fault.store(false, Ordering::SeqCst);
        let later = put(&store, "other", "3").await.unwrap_err();
        assert!(
            matches!(later, StoreError::Backend { .. }),
            "refused until the file is opened again: {later:?}"
        );
        assert_eq!(store.begin().get("k").await.unwrap().unwrap(), "1");
        drop(store.close().await);
    }
}
