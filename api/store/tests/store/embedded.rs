//! What the embedded backend promises beyond the contract: durability, locking, clear errors, shutdown.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::RangeRead;
use coditect_store::{
    Embedded, EmbeddedOptions, OpenError, RetryPolicy, Store, StoreError, SystemMonotonicClock,
};

use crate::support::{Fixture, put, value};

fn open(path: impl Into<std::path::PathBuf>) -> Result<Embedded, OpenError> {
    Embedded::open(&EmbeddedOptions::new(path), Arc::new(SystemMonotonicClock::new()))
}

#[tokio::test]
async fn commits_and_versions_survive_a_reopen() {
    let mut f = Fixture::new();
    put(&f.store, "k", "1").await;
    let before = f.store.begin().read_version().await.unwrap();
    assert_eq!(before.0, 1);
    f.reopen().await;
    assert_eq!(value(&f.store, "k").await.as_deref(), Some("1"));
    assert_eq!(f.store.begin().read_version().await.unwrap(), before);
    put(&f.store, "k", "2").await;
    assert!(f.store.begin().read_version().await.unwrap() > before);
}

#[tokio::test]
async fn file_and_directory_are_the_owners_alone() {
    let f = Fixture::new();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&f.path()), 0o600);
    assert_eq!(mode(f.path().parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_locked_file_is_named_and_left_alone() {
    let f = Fixture::new();
    put(&f.store, "k", "1").await;
    let error = open(f.path()).err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    assert_eq!(value(&f.store, "k").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn files_that_are_no_database_are_refused_and_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut truncated = {
        let f = Fixture::new();
        put(&f.store, "k", "1").await;
        f.store.close().await.unwrap();
        std::fs::read(f.path()).unwrap()
    };
    truncated.truncate(5000);
    for (name, content) in [
        ("text", b"not a database, and longer than any header has to be".repeat(200)),
        ("short", b"x".to_vec()),
        ("truncated", truncated),
        ("zeros", vec![0; 1 << 16]),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, &content).unwrap();
        let error = open(&path).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
        assert!(std::fs::read(&path).unwrap() == content, "{name} was changed");
    }
}

/// redb panics on some damaged pages. Whatever bytes are wrong: opening and reading give an answer or an error.
#[tokio::test]
async fn a_damaged_file_never_panics_the_caller() {
    const SEEDS: u64 = 150;
    let f = Fixture::new();
    for i in 0..100 {
        put(&f.store, &format!("key{i}"), &"v".repeat(200)).await;
    }
    f.store.close().await.unwrap();
    let good = std::fs::read(f.path()).unwrap();
    let path = f.dir.path().join("damaged.redb");
    let mut refused = 0;
    for seed in 0..SEEDS {
        let entropy = SeededEntropy::new(seed);
        let mut bytes = good.clone();
        let mut random = [0; 8];
        entropy.fill(&mut random);
        // The header alone, or anywhere.
        let region = if random[0] % 2 == 0 { 4096 } else { bytes.len() };
        for _ in 0..=random[1] % 20 {
            entropy.fill(&mut random);
            let at = u32::from_le_bytes(random[..4].try_into().unwrap()) as usize % region;
            bytes[at] ^= random[4] | 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        println!("seed {seed}");
        match open(&path) {
            Err(_) => refused += 1,
            Ok(backend) => {
                let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
                let all = RangeRead::new([0], [0xff], 1000);
                refused += u32::from(store.begin().range(all).await.is_err());
                let t = store.begin();
                t.set("k", "v").unwrap();
                drop(t.commit().await);
                drop(store.close().await);
            }
        }
    }
    assert!(refused > 10, "the damage did nothing: {refused} refusals");
}

#[tokio::test]
async fn a_newer_format_and_a_foreign_database_are_refused() {
    let f = Fixture::new();
    put(&f.store, "k", "1").await;
    f.store.close().await.unwrap();
    let meta: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("coditect_meta");
    {
        let database = redb::Database::open(f.path()).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(meta).unwrap().insert("format", 2).unwrap();
        write.commit().unwrap();
    }
    let error = open(f.path()).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { found: 2, .. }), "{error:?}");

    let foreign = f.dir.path().join("foreign.redb");
    {
        let database = redb::Database::create(&foreign).unwrap();
        let write = database.begin_write().unwrap();
        let table: redb::TableDefinition<u64, u64> = redb::TableDefinition::new("theirs");
        write.open_table(table).unwrap().insert(1, 1).unwrap();
        write.commit().unwrap();
    }
    let error = open(&foreign).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    let database = redb::Database::open(&foreign).unwrap();
    use redb::ReadableDatabase;
    assert_eq!(database.begin_read().unwrap().list_tables().unwrap().count(), 1, "nothing was added");
}

#[tokio::test]
async fn close_lets_queued_commits_finish_and_releases_the_file() {
    let f = Fixture::new();
    f.store.ping().await.unwrap();
    let mut waiting = Vec::new();
    for i in 0..64 {
        let t = f.store.begin();
        t.set(format!("k{i}"), "1").unwrap();
        waiting.push(async move { t.commit().await });
    }
    let (results, closed) = tokio::join!(futures::future::join_all(waiting), f.store.close());
    closed.unwrap();
    assert!(matches!(f.store.ping().await, Err(StoreError::Closed)));
    let committed = results.iter().filter(|r| r.is_ok()).count();
    assert_eq!(committed, 64, "all were queued before the close");
    assert!(matches!(f.store.begin().get("k").await, Err(StoreError::Closed)));
    let t = f.store.begin();
    t.set("k", "v").unwrap();
    assert!(matches!(t.commit().await, Err(StoreError::Closed)));
    f.store.close().await.unwrap();

    let again = Store::new(Arc::new(open(f.path()).unwrap()), Arc::new(SeededEntropy::new(1)));
    assert_eq!(value(&again, "k63").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_tasks_count_without_losing_one() {
    const TASKS: u64 = 16;
    const EACH: u64 = 25;
    let f = Fixture::new();
    let policy = RetryPolicy {
        max_attempts: u32::MAX,
        max_time: std::time::Duration::from_secs(60),
        ..RetryPolicy::default()
    };
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, policy) = (f.store.clone(), policy.clone());
            tokio::spawn(async move {
                for _ in 0..EACH {
                    store
                        .run(&policy, |t| async move {
                            let n: u64 = match t.get("n").await? {
                                Some(bytes) => std::str::from_utf8(&bytes).unwrap().parse().unwrap(),
                                None => 0,
                            };
                            t.set("n", (n + 1).to_string())
                        })
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value(&f.store, "n").await.unwrap(), (TASKS * EACH).to_string());
}

#[tokio::test]
async fn attempts_are_bounded_and_the_last_reason_is_kept() {
    let f = Fixture::new();
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let mut attempts = 0;
    let store = &f.store;
    let result: Result<(), StoreError> = store
        .run(&policy, |t| {
            attempts += 1;
            async move {
                t.get("k").await?;
                put(store, "k", "other").await;
                t.set("k", "mine")
            }
        })
        .await;
    assert_eq!(attempts, 3);
    let error = result.unwrap_err();
    assert!(
        matches!(&error, StoreError::Exhausted { attempts: 3, last } if matches!(**last, StoreError::Conflict)),
        "{error:?}"
    );
}
