//! The disk is full: the store says so, refuses writes, goes on reading, and writes again once there is space.
//!
//! Shown in a small file system where this process may mount one (in a mount namespace of its own, so that nothing
//! is left behind), and under a limit on the file's size, which every process may set itself. Both need a process
//! of their own: this test binary, started again with [`CHILD`] set.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use coditect_auth::SeededEntropy;
use coditect_store::{Embedded, EmbeddedOptions, Store, StoreError, SystemMonotonicClock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::value;

/// Set in the child: a directory of its own.
const CHILD: &str = "CODITECT_STORE_DISK_FULL_CHILD";
/// The size of the small file system.
const SIZE: &str = "size=6m";
/// So little that nearly every page is read from the disk.
const CACHE_BYTES: usize = 16 << 10;
/// How long the store may take to notice that there is space again.
const PATIENCE: Duration = Duration::from_secs(20);
/// More commits of 60 kB than can fit.
const MOST_COMMITS: usize = 1000;

fn open(path: &Path) -> Store {
    let options = EmbeddedOptions { path: path.into(), cache_bytes: CACHE_BYTES };
    let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)))
}

fn content(number: usize, length: usize) -> String {
    format!("{number:06}").repeat(length / 6)
}

async fn put(store: &Store, number: usize, length: usize) -> Result<(), StoreError> {
    let transaction = store.begin();
    transaction.set(format!("key{number}"), content(number, length))?;
    transaction.set("last", number.to_string())?;
    transaction.commit().await.map(|_| ())
}

async fn all_are_there(store: &Store, lengths: &[usize]) {
    for (number, length) in lengths.iter().enumerate() {
        assert_eq!(value(store, &format!("key{number}")).await, Some(content(number, *length)), "{number}");
    }
    assert_eq!(value(store, "last").await, Some((lengths.len() - 1).to_string()));
}

/// Writes until the disk, which `fill` fills, is full; then, after `free`, goes on.
async fn scenario(directory: &Path, fill: impl FnOnce(&Path), free: impl FnOnce()) {
    let path = directory.join("s.redb");
    let store = open(&path);
    // How long the value of each key is that was acknowledged.
    let mut lengths = Vec::new();
    for number in 0..200 {
        put(&store, number, 1200).await.unwrap();
        lengths.push(1200);
    }
    fill(&path);
    let error = loop {
        assert!(lengths.len() < MOST_COMMITS, "the disk never became full");
        match put(&store, lengths.len(), 60_000).await {
            Ok(()) => lengths.push(60_000),
            Err(error) => break error,
        }
    };
    println!("after {} commits: {error}", lengths.len());
    assert!(matches!(error, StoreError::Backend { .. }), "certainly not committed: {error:?}");
    assert!(error.to_string().contains("s.redb is full"), "{error}");
    let told = store.ping().await.unwrap_err().to_string();
    assert!(told.contains("s.redb is full"), "{told}");
    all_are_there(&store, &lengths).await;
    let refused = put(&store, lengths.len(), 10).await.unwrap_err();
    assert!(refused.to_string().contains("s.redb is full"), "{refused}");
    all_are_there(&store, &lengths).await;

    free();
    let recovered = async {
        while store.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, recovered).await.expect("writing goes on when there is space");
    for _ in 0..20 {
        put(&store, lengths.len(), 60_000).await.unwrap();
        lengths.push(60_000);
    }
    all_are_there(&store, &lengths).await;
    store.close().await.unwrap();
    let store = open(&path);
    all_are_there(&store, &lengths).await;
    store.close().await.unwrap();
}

/// The directory, if this is the child.
fn child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs a test of this file again as a child: `wrapper` starts it. Returns its output; fails if it fails.
fn run(test: &str, wrapper: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("disk_full::{test}"), "--nocapture", "--test-threads=1"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "the child failed: {}", output.status);
}

#[tokio::test]
async fn a_limit_on_the_size_of_files() {
    let Some(directory) = child() else {
        // Beyond the limit there is a signal, which ends the process unless it is ignored; that is inherited.
        return run("a_limit_on_the_size_of_files", &["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    };
    let before = getrlimit(Resource::Fsize);
    let limit = |path: &Path| {
        let size = std::fs::metadata(path).unwrap().len() + (1 << 20);
        setrlimit(Resource::Fsize, Rlimit { current: Some(size), ..before }).unwrap();
    };
    scenario(&directory, limit, || setrlimit(Resource::Fsize, before).unwrap()).await;
}

/// How to start a process that may mount; `None` where it is not allowed.
fn unshare() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] =
        [&["unshare", "--mount"], &["unshare", "--user", "--map-root-user", "--mount"]];
    WAYS.into_iter().find(|way| {
        let mount = ["mount", "-t", "tmpfs", "-o", SIZE, "coditect-test", "/tmp"];
        let tried = Command::new(way[0]).args(&way[1..]).args(mount).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

#[tokio::test]
async fn a_small_file_system() {
    let Some(directory) = child() else {
        return match unshare() {
            Some(way) => run("a_small_file_system", way),
            None => println!("not run: this process may not mount a file system"),
        };
    };
    let mount = ["-t", "tmpfs", "-o", SIZE, "coditect-test"];
    assert!(Command::new("mount").args(mount).arg(&directory).status().unwrap().success());
    let filler = directory.join("filler");
    let fill = |_: &Path| {
        let mut file = std::fs::File::create(&filler).unwrap();
        let mut left = 3 << 20;
        while left > 0 && file.write_all(&[1; 4096]).is_ok() {
            left -= 4096;
        }
    };
    scenario(&directory, fill, || std::fs::remove_file(&filler).unwrap()).await;
}
