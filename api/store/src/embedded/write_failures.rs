//! What happens when the disk fails, and when it works again: shown on a disk in memory, since a real one fails
//! too rarely.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coditect_auth::SeededEntropy;

use super::Embedded;
use super::memory::{Done, Faults, MemoryDisk};
use super::trouble::PROBE_INTERVAL;
use crate::clock::{ManualMonotonicClock, MonotonicClock, SystemMonotonicClock};
use crate::contract::{RangeRead, Version};
use crate::error::StoreError;
use crate::store::Store;

/// So little that every page is read from the disk each time.
const NO_CACHE: usize = 0;
/// How many keys each test begins with.
const KEYS: usize = 50;

struct Rig {
    disk: MemoryDisk,
    clock: Arc<ManualMonotonicClock>,
    store: Store,
}

fn store(disk: &MemoryDisk, clock: Arc<dyn MonotonicClock>) -> Store {
    let site = disk.site(NO_CACHE);
    let opened = site.open(Version(0)).unwrap();
    let backend = Embedded::start(site, opened, clock).unwrap();
    Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)))
}

async fn rig() -> Rig {
    let disk = MemoryDisk::default();
    let clock = Arc::new(ManualMonotonicClock::default());
    let store = store(&disk, Arc::clone(&clock) as _);
    for i in 0..KEYS {
        put(&store, &format!("key{i:03}"), &"old".repeat(300)).await.unwrap();
    }
    Rig { disk, clock, store }
}

async fn put(store: &Store, key: &str, value: &str) -> Result<(), StoreError> {
    let transaction = store.begin();
    transaction.set(key, value.to_owned())?;
    transaction.commit().await.map(|_| ())
}

async fn get(store: &Store, key: &str) -> Option<String> {
    let value = store.begin().get(key).await.unwrap();
    value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

async fn all_are_old(store: &Store) {
    let page = store.begin().range(RangeRead::new("key", "kez", 1000)).await.unwrap();
    assert_eq!(page.rows.len(), KEYS);
    assert!(page.rows.iter().all(|row| row.value == "old".repeat(300)));
}

fn faults() -> [(&'static str, Faults); 5] {
    let none = Faults::default();
    [
        ("write", Faults { write: true, ..none }),
        ("full", Faults { full_from: Some(4096), ..none }),
        ("everything full", Faults { full_from: Some(0), ..none }),
        ("sync", Faults { sync: true, ..none }),
        ("write and sync", Faults { write: true, sync: true, ..none }),
    ]
}

#[tokio::test]
async fn a_failed_write_is_not_acknowledged_reads_go_on_and_writes_too_once_the_disk_works() {
    for (name, fault) in faults() {
        println!("{name}");
        let Rig { disk, clock, store } = rig().await;
        store.ping().await.unwrap();
        let before = store.begin();
        assert!(before.get("key000").await.unwrap().is_some());

        disk.set(fault);
        let error = put(&store, "key001", "new").await.unwrap_err();
        assert!(matches!(error, StoreError::Unknown | StoreError::Backend { .. }), "{name}: {error:?}");
        let told = store.ping().await.unwrap_err().to_string();
        let expected = if fault.full_from.is_some() { "is full" } else { "the cable is loose" };
        assert!(told.contains(expected), "{name}: readiness must tell why: {told}");

        let reads = disk.state().reads;
        all_are_old(&store).await;
        assert!(disk.state().reads > reads, "{name}: the pages came from the disk");
        for _ in 0..3 {
            let refused = put(&store, "key002", "new").await.unwrap_err();
            assert!(matches!(refused, StoreError::Backend { .. }), "{name}: {refused:?}");
            clock.advance(PROBE_INTERVAL);
        }

        disk.set(Faults::default());
        clock.advance(PROBE_INTERVAL);
        put(&store, "later", "yes").await.unwrap();
        store.ping().await.unwrap();
        all_are_old(&store).await;
        assert_eq!(get(&store, "later").await.unwrap(), "yes");

        // A snapshot of before reads rightly or not at all.
        for i in 0..KEYS {
            match before.get(format!("key{i:03}")).await {
                Ok(value) => assert_eq!(value.unwrap(), "old".repeat(300)),
                Err(error) => assert!(matches!(error, StoreError::TooOld), "{name}: {error:?}"),
            }
        }
        store.close().await.unwrap();
        let again = self::store(&disk, clock);
        all_are_old(&again).await;
        assert_eq!(get(&again, "later").await.unwrap(), "yes");
        again.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_commit_that_is_refused_has_not_happened_not_even_after_a_crash() {
    let none = Faults::default();
    for fault in [Faults { full_from: Some(4096), ..none }, Faults { one_sync: true, ..none }] {
        let Rig { disk, store, .. } = rig().await;
        disk.set(fault);
        let error = put(&store, "key001", "new").await.unwrap_err();
        assert!(matches!(error, StoreError::Backend { .. }), "the header could be put back: {error:?}");
        // The process dies now.
        let image = disk.state().bytes.clone();
        let after = self::store(&MemoryDisk::with(image), Arc::new(SystemMonotonicClock::new()));
        all_are_old(&after).await;
    }
}

#[tokio::test]
async fn reads_that_failed_work_again_when_the_disk_does() {
    let Rig { disk, clock, store } = rig().await;
    disk.set(Faults { read: true, ..Faults::default() });
    let error = store.begin().get("key001").await.unwrap_err();
    assert!(matches!(error, StoreError::Backend { .. }), "{error:?}");
    let refused = put(&store, "key001", "new").await.unwrap_err();
    assert!(matches!(refused, StoreError::Backend { .. }), "{refused:?}");
    disk.set(Faults::default());
    clock.advance(PROBE_INTERVAL);
    put(&store, "later", "yes").await.unwrap();
    all_are_old(&store).await;
}

#[tokio::test]
async fn writing_goes_on_without_anybody_asking() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let disk = MemoryDisk::default();
    let store = store(&disk, Arc::new(SystemMonotonicClock::new()));
    disk.set(Faults { write: true, ..Faults::default() });
    put(&store, "k", "1").await.unwrap_err();
    disk.set(Faults::default());
    let recovered = tokio::time::timeout(PATIENCE, async {
        while store.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    recovered.await.unwrap();
    put(&store, "k", "2").await.unwrap();
}

#[tokio::test]
async fn watches_outlive_a_failure() {
    let Rig { disk, clock, store } = rig().await;
    let transaction = store.begin();
    let watch = transaction.watch("key001").await.unwrap();
    transaction.commit().await.unwrap();
    disk.set(Faults { sync: true, ..Faults::default() });
    put(&store, "key001", "new").await.unwrap_err();
    disk.set(Faults::default());
    clock.advance(PROBE_INTERVAL);
    put(&store, "key001", "newer").await.unwrap();
    watch.await.unwrap();
}

#[tokio::test]
async fn after_damage_was_found_in_a_commit_nothing_is_written_nor_tried_again() {
    let Rig { disk, clock, store } = rig().await;
    disk.state().bytes.chunks_mut(4096).skip(1).for_each(|page| page[0] = 0xee);
    let error = put(&store, "key001", "new").await.unwrap_err();
    assert!(matches!(error, StoreError::Backend { .. }), "{error:?}");
    let told = store.ping().await.unwrap_err().to_string();
    assert!(told.contains("memory is damaged") && told.contains("from a backup"), "{told}");
    let image = disk.state().bytes.clone();
    let reads = disk.state().reads;
    clock.advance(PROBE_INTERVAL * 100);
    put(&store, "key001", "new").await.unwrap_err();
    assert!(store.begin().get("key001").await.is_err(), "an error, not a panic");
    assert!(disk.state().reads < reads + 20, "it was opened again");
    store.close().await.unwrap();
    assert!(disk.state().bytes == image, "something was written");
}

#[tokio::test]
async fn a_newest_commit_that_was_damaged_is_not_taken_back() {
    let Rig { disk, clock, store } = rig().await;
    disk.state().recording = true;
    put(&store, "key001", "acknowledged").await.unwrap();
    disk.set(Faults { read: true, ..Faults::default() });
    assert!(store.begin().get("key001").await.is_err());
    put(&store, "key002", "new").await.unwrap_err();
    {
        let mut state = disk.state();
        state.recording = false;
        for done in std::mem::take(&mut state.done) {
            if let Done::Write { offset: offset @ 1.., .. } = done {
                state.bytes[offset + 10] ^= 1;
            }
        }
    }
    disk.set(Faults::default());
    clock.advance(PROBE_INTERVAL);
    put(&store, "key002", "new").await.unwrap_err();
    let told = store.ping().await.unwrap_err().to_string();
    assert!(told.contains("damaged") && told.contains("were durable"), "{told}");
}

/// Writes one number under all keys.
async fn put_all(store: &Store, number: usize) -> Result<(), StoreError> {
    let transaction = store.begin();
    for i in 0..KEYS {
        transaction.set(format!("key{i:03}"), format!("{number:0500}"))?;
    }
    transaction.commit().await.map(|_| ())
}

/// A transaction that goes on while the disk fails and the database is opened again sees one state or an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn snapshots_never_mix_states_while_the_disk_comes_and_goes() {
    const FAILURES: usize = 40;
    let Rig { disk, clock, store } = rig().await;
    put_all(&store, 0).await.unwrap();
    let end = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, end) = (store.clone(), Arc::clone(&end));
            tokio::spawn(async move {
                let (mut whole, mut ended) = (0, 0);
                while !end.load(Ordering::Relaxed) {
                    let transaction = store.begin();
                    let mut first = None;
                    whole += 1;
                    for i in 0..KEYS {
                        match transaction.get(format!("key{i:03}")).await {
                            Ok(value) => assert_eq!(*first.get_or_insert(value.clone()), value),
                            Err(StoreError::TooOld) => {
                                ended += 1;
                                break;
                            }
                            Err(error) => panic!("{error:?}"),
                        }
                        tokio::task::yield_now().await;
                    }
                }
                (whole, ended)
            })
        })
        .collect();
    for number in 1..=FAILURES {
        put_all(&store, number).await.unwrap();
        let none = Faults::default();
        disk.set(if number % 2 == 0 {
            Faults { sync: true, ..none }
        } else {
            Faults { write: true, ..none }
        });
        put_all(&store, 1_000_000).await.unwrap_err();
        disk.set(none);
        clock.advance(PROBE_INTERVAL);
        put_all(&store, number).await.unwrap();
    }
    end.store(true, Ordering::Relaxed);
    for reader in readers {
        let (whole, ended) = reader.await.unwrap();
        println!("{whole} transactions, {ended} ended by a new generation");
        assert!(ended < whole);
    }
}
