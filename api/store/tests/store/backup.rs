//! Backups of the embedded store's file.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coditect_store::dump::{BackupError, Progress, backup};
use coditect_store::{Embedded, EmbeddedOptions, Store, SystemMonotonicClock};

use crate::support::{Fixture, put, value};

fn names(f: &Fixture) -> Vec<String> {
    let entries = std::fs::read_dir(f.dir.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open(path: &std::path::Path, f: &Fixture) -> Store {
    let clock = Arc::new(SystemMonotonicClock::new());
    let backend = Embedded::open(&EmbeddedOptions::new(path), clock).unwrap();
    Store::new(Arc::new(backend), f.entropy.clone())
}

#[tokio::test]
async fn a_backup_is_the_store_of_one_moment() {
    let f = Fixture::new();
    for n in 0..200 {
        put(&f.store, &format!("k{n:03}"), &"v".repeat(60_000)).await;
    }
    put(&f.store, "a", "0").await;
    put(&f.store, "z", "0").await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, done) = (f.store.clone(), Arc::clone(&done));
        async move {
            let mut count = 0_u32;
            while !done.load(Ordering::SeqCst) {
                count += 1;
                let transaction = store.begin();
                transaction.set("a", count.to_string()).unwrap();
                transaction.set("z", count.to_string()).unwrap();
                transaction.commit().await.unwrap();
            }
            count
        }
    });
    let target = f.dir.path().join("backup.redb");
    let mut reports: Vec<Progress> = Vec::new();
    let made = backup(&f.store, &target, &mut |progress| reports.push(progress)).await.unwrap();
    done.store(true, Ordering::SeqCst);
    assert!(writer.await.unwrap() > 0);
    assert_eq!(made.rows, 202);
    let length = std::fs::metadata(&target).unwrap();
    assert_eq!((length.len(), length.permissions().mode() & 0o777), (made.file_bytes, 0o600));
    assert!(
        reports.len() > 5
            && reports.windows(2).all(|two| two[0].doing != two[1].doing || two[0].rows <= two[1].rows)
    );
    assert_eq!(names(&f), ["backup.redb", "state"], "nothing else is left");

    let copy = open(&target, &f);
    assert_eq!(value(&copy, "a").await, value(&copy, "z").await, "one moment");
    assert_eq!(value(&copy, "k199").await.unwrap().len(), 60_000);
    let transaction = copy.begin();
    assert_eq!(transaction.read_version().await.unwrap().0, made.version);
    transaction.set("a", "on").unwrap();
    let committed = transaction.commit().await.unwrap().unwrap();
    assert!(committed.version.0 > made.version, "versions go on");
    copy.close().await.unwrap();
}

#[tokio::test]
async fn no_file_is_ever_overwritten() {
    let f = Fixture::new();
    put(&f.store, "k", "v").await;
    let target = f.dir.path().join("kept");
    std::fs::write(&target, "kept").unwrap();
    let refused = backup(&f.store, &target, &mut |_| ()).await;
    assert!(matches!(&refused, Err(BackupError::Exists { path }) if *path == target), "{refused:?}");
    // One that appears while the backup is made.
    let late = f.dir.path().join("late");
    let refused = backup(&f.store, &late, &mut |_| std::fs::write(&late, "kept").unwrap()).await;
    assert!(matches!(&refused, Err(BackupError::Exists { path }) if *path == late), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&late).unwrap(), "kept");
    assert_eq!(names(&f), ["kept", "late", "state"]);
    let nowhere = backup(&f.store, &f.dir.path().join("no/such/file"), &mut |_| ()).await;
    assert!(matches!(nowhere, Err(BackupError::Io { .. })), "{nowhere:?}");
    let itself = backup(&f.store, &f.path(), &mut |_| ()).await;
    assert!(matches!(itself, Err(BackupError::Exists { .. })));
}

#[tokio::test]
async fn two_backups_to_one_file_do_not_meet() {
    let f = Fixture::new();
    put(&f.store, "k", "v").await;
    let target = f.dir.path().join("b");
    let (mut quiet, mut silent) = (|_| (), |_| ());
    let (first, second) =
        tokio::join!(backup(&f.store, &target, &mut quiet), backup(&f.store, &target, &mut silent));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert_eq!(names(&f), ["b", "state"]);
}

#[tokio::test]
async fn one_that_is_broken_off_leaves_nothing() {
    let f = Fixture::new();
    for n in 0..300 {
        put(&f.store, &format!("k{n:03}"), &"v".repeat(60_000)).await;
    }
    let target = f.dir.path().join("b");
    let (begun, stop) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let mut on_progress = |progress: Progress| {
        if progress.rows > 150 {
            begun.take().map(|begun| begun.send(()));
        }
    };
    tokio::select! {
        biased;
        _ = stop => {}
        done = backup(&f.store, &target, &mut on_progress) => panic!("{done:?}"),
    }
    // What runs on the disk ends first.
    let gone = async {
        while names(&f) != ["state"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("it is removed");
}
