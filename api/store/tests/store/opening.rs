//! Files that cannot be opened: each gets an error that says what it is, and stays as it is, byte for byte.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::{Embedded, EmbeddedOptions, OpenError, Store, SystemMonotonicClock};
use tempfile::TempDir;

use crate::support::{put, value};

fn open(path: &Path) -> Result<Store, OpenError> {
    let backend = Embedded::open(&EmbeddedOptions::new(path), Arc::new(SystemMonotonicClock::new()))?;
    Ok(Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1))))
}

/// A closed store with a hundred keys.
async fn filled() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let store = open(&path).unwrap();
    for i in 0..100 {
        put(&store, &format!("key{i}"), &"v".repeat(500)).await;
    }
    store.close().await.unwrap();
    (dir, path)
}

/// Opens the file, which must fail and leave it alone.
fn refused(path: &Path) -> OpenError {
    let before = std::fs::read(path).unwrap();
    let modified = std::fs::metadata(path).unwrap();
    let error = open(path).err().unwrap_or_else(|| panic!("{} was opened", path.display()));
    assert!(error.to_string().contains(path.to_str().unwrap()), "names the file: {error}");
    assert!(std::fs::read(path).unwrap() == before, "{} was changed: {error}", path.display());
    let after = std::fs::metadata(path).unwrap();
    let times = |metadata: &std::fs::Metadata| (metadata.mtime(), metadata.mtime_nsec());
    assert_eq!(times(&after), times(&modified), "{} was written to", path.display());
    error
}

#[tokio::test]
async fn files_that_are_no_usable_database() {
    let (dir, path) = filled().await;
    let good = std::fs::read(&path).unwrap();
    let entropy = SeededEntropy::new(5);
    let mut random = vec![0; 1 << 16];
    entropy.fill(&mut random);
    let mut bad_header = good.clone();
    bad_header[70] ^= 0xff;
    bad_header[198] ^= 0xff;
    let magic_alone = [&good[..9], &random[..]].concat();
    for (name, content) in [
        ("random", random),
        ("one byte", vec![0]),
        ("zeros", vec![0; 1 << 20]),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("cut to the header", good[..4096].to_vec()),
        ("cut in the header", good[..100].to_vec()),
        ("magic and noise", magic_alone),
        ("both commit slots damaged", bad_header),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = refused(&path);
        assert!(matches!(error, OpenError::Damaged { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("restore it from a backup"), "{name}: {error}");
    }
}

/// A copy of the file as a killed process leaves it.
async fn not_closed(path: &Path) -> PathBuf {
    let copy = path.with_extension("copy");
    let store = open(path).unwrap();
    put(&store, "last", "1").await;
    std::fs::copy(path, &copy).unwrap();
    store.close().await.unwrap();
    copy
}

/// redb checks everything only after an unclean end.
#[tokio::test]
async fn a_valid_header_with_a_damaged_middle() {
    let (_dir, path) = filled().await;
    let path = not_closed(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        if let Some(value) = page.windows(500).position(|window| window == [b'v'; 500]) {
            page[value] = b'x';
        }
    }
    std::fs::write(&path, bytes).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_store_that_was_not_closed_is_repaired() {
    let (_dir, path) = filled().await;
    let store = open(&not_closed(&path).await).unwrap();
    assert_eq!(value(&store, "key99").await, Some("v".repeat(500)));
    assert_eq!(value(&store, "last").await.as_deref(), Some("1"));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_newer_format() {
    let (_dir, path) = filled().await;
    let not_closed = path.with_extension("copy");
    {
        let meta: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("coditect_meta");
        let database = redb::Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(meta).unwrap().insert("format", 2).unwrap();
        write.commit().unwrap();
        std::fs::copy(&path, &not_closed).unwrap();
    }
    for path in [&path, &not_closed] {
        let error = refused(path);
        assert!(matches!(error, OpenError::NewerFormat { found: 2, .. }), "{error:?}");
        assert!(error.to_string().contains("run the newer program"), "{error}");
    }
}

#[test]
fn a_database_of_another_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.redb");
    {
        let database = redb::Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        let table: redb::TableDefinition<u64, u64> = redb::TableDefinition::new("theirs");
        write.open_table(table).unwrap().insert(1, 1).unwrap();
        write.commit().unwrap();
    }
    let error = refused(&path);
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn a_locked_file() {
    let (_dir, path) = filled().await;
    let store = open(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    assert!(redb::Database::open(&path).is_err(), "redb's own programs respect the lock");
    store.close().await.unwrap();
    let theirs = redb::Database::open(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, OpenError::Locked { .. }), "and the store respects theirs: {error:?}");
    drop(theirs);
    open(&path).unwrap().close().await.unwrap();
}

#[test]
fn a_directory_and_what_is_below_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("directory"), "{error}");
    let file = dir.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let error = open(&file.join("s.redb")).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
}

#[tokio::test]
async fn a_file_without_permission() {
    if rustix::process::geteuid().is_root() {
        println!("not run: root may read everything");
        return;
    }
    let (_dir, path) = filled().await;
    let permissions = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o000, 0o400] {
        permissions(mode);
        let error = open(&path).err().unwrap();
        assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains("ermission denied"), "{error}");
    }
    permissions(0o600);
    open(&path).unwrap().close().await.unwrap();
}

#[tokio::test]
async fn an_empty_file_and_what_a_start_that_was_cut_off_left_behind_become_databases() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let cut_off = dir.path().join("cut-off");
    let rest = dir.path().join("cut-off.new");
    std::fs::write(&rest, vec![0; 100_000]).unwrap();
    for path in [&empty, &cut_off] {
        let store = open(path).unwrap();
        put(&store, "k", "1").await;
        store.close().await.unwrap();
        assert_eq!(value(&open(path).unwrap(), "k").await.as_deref(), Some("1"));
    }
    assert!(!rest.exists());
}
