//! Exports of stores and imports into stores.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::SeededEntropy;
use coditect_store::contract::{
    Backend, BackendTransaction, Committed, Mutation, RangePage, RangeRead, ReadMode, Row, Version, Watch,
};
use coditect_store::dump::{
    Decoder, Encoder, Export, Header, ImportError, Progress, import, unfinished_import,
};
use coditect_store::{
    ClaimError, Embedded, EmbeddedOptions, Keyspace, MonotonicClock, Store, StoreError, SystemMonotonicClock,
};
use foundationdb_tuple::pack;

use super::{MADE_AT, all, decode, export, fill, import_bytes, keys, rows};
use crate::faulty::{Fate, Faulty};
use crate::support::Fixture;

fn identity(root: &str) -> Row {
    Row { key: pack(&(root, "global", "store")), value: Bytes::copy_from_slice(&1_u64.to_le_bytes()) }
}

fn marker(root: &str) -> Vec<u8> {
    pack(&(root, "global", "import"))
}

/// Rows without the marker that an import leaves.
async fn data(store: &Store, root: &str) -> Vec<Row> {
    let rows = all(store, &Keyspace::new(root)).await;
    rows.into_iter().filter(|row| row.key != marker(root)).collect()
}

#[tokio::test]
async fn an_export_restores_the_same_rows_under_another_root() {
    let f = Fixture::new();
    let mut given = rows("test", &f.entropy, 400);
    given.insert(0, identity("test"));
    fill(&f.store, &given).await;
    fill(&f.store, &rows("tes", &f.entropy, 3)).await;
    fill(&f.store, &rows("test2", &f.entropy, 3)).await;
    let (file, exported) = export(&f.store).await;
    assert!(file.len() > 2 << 20, "several blocks: {}", file.len());
    assert_eq!(exported.summary.rows, 401);
    assert_eq!(decode(&file).unwrap().len(), 401);
    assert_eq!(export(&f.store).await.0, file, "the same rows make the same file");

    let target = Fixture::new();
    let other = Keyspace::new("elsewhere, longer");
    let imported = import_bytes(&target.store, &other, &file, false).await.unwrap();
    assert_eq!((imported.rows, imported.bytes), (401, exported.bytes));
    assert!(imported.header.one_snapshot && imported.header.created_at == MADE_AT);
    assert!(!unfinished_import(&target.store, &other).await.unwrap());
    let strip = |rows: Vec<Row>, keys: &Keyspace| -> Vec<_> {
        rows.into_iter().map(|row| (row.key[keys.root().len()..].to_vec(), row.value)).collect()
    };
    let restored = strip(data(&target.store, "elsewhere, longer").await, &other);
    assert_eq!(restored, strip(given, &keys()));
}

#[tokio::test]
async fn an_export_of_the_embedded_store_is_of_one_moment_however_long_it_takes() {
    let f = Fixture::new();
    let given = rows("test", &f.entropy, 800);
    fill(&f.store, &given).await;
    let mut export = Export::start(&f.store, &keys(), MADE_AT).unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        file.extend_from_slice(&chunk);
        f.clock.advance(Duration::from_secs(6));
        let transaction = f.store.begin();
        let span = keys().span();
        transaction.clear_range(span.begin, span.end).unwrap();
        transaction.set(pack(&("test", "tenant", f.clock.elapsed().as_secs())), "new").unwrap();
        transaction.commit().await.unwrap();
    }
    assert!(Decoder::start(file.as_slice()).unwrap().header().one_snapshot);
    let read = decode(&file).unwrap();
    assert!(read.iter().map(|row| &row.value).eq(given.iter().map(|row| &row.value)));
}

#[tokio::test]
async fn what_only_this_store_understands_is_left_out() {
    let f = Fixture::new();
    for family in ["idempotency", "changes", "changes_head", "changes_horizon", "import", "changes_other"] {
        fill(&f.store, &[Row { key: pack(&("test", "global", family, 1)), value: Bytes::from("v") }]).await;
    }
    let (file, _) = export(&f.store).await;
    let found: Vec<_> = decode(&file).unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(found, [pack(&("global", "changes_other", 1))]);
}

#[tokio::test]
async fn other_data_is_never_mixed_with_an_import() {
    let f = Fixture::new();
    let given = rows("test", &f.entropy, 30);
    fill(&f.store, &given).await;
    let (file, _) = export(&f.store).await;
    let target = Fixture::new();
    let theirs = rows("test", &f.entropy, 700);
    fill(&target.store, &theirs).await;
    let refused = import_bytes(&target.store, &keys(), &file, false).await;
    assert!(matches!(refused, Err(ImportError::NotEmpty)), "{refused:?}");
    assert_eq!(all(&target.store, &keys()).await, theirs, "nothing was touched");
    fill(&target.store, &rows("neighbour", &f.entropy, 3)).await;
    import_bytes(&target.store, &keys(), &file, true).await.unwrap();
    assert_eq!(data(&target.store, "test").await, given);
    assert_eq!(all(&target.store, &Keyspace::new("neighbour")).await.len(), 3);
    let again = import_bytes(&target.store, &keys(), &file, false).await;
    assert!(matches!(again, Err(ImportError::NotEmpty)), "an import that ended is data: {again:?}");
}

#[tokio::test]
async fn what_no_edge_could_use_is_refused_before_anything_is_removed() {
    let f = Fixture::new();
    let theirs = rows("test", &f.entropy, 3);
    fill(&f.store, &theirs).await;
    let of = |key: &[u8], value: &[u8]| {
        let (mut encoder, begin) = Encoder::start(Header { created_at: MADE_AT, one_snapshot: true });
        let block = encoder.push(key, value).unwrap_or_default();
        [&begin[..], &block, &encoder.finish(1).0].concat()
    };
    // Under the root "test" this is a key of the root "test\0".
    for key in [&[0xff, 1][..], &[]] {
        let refused = import_bytes(&f.store, &keys(), &of(key, b"v"), true).await;
        assert!(matches!(refused, Err(ImportError::Outside)), "{key:?}: {refused:?}");
    }
    let newer = of(&pack(&("global", "store")), &2_u64.to_le_bytes());
    let refused = import_bytes(&f.store, &keys(), &newer, true).await;
    assert!(matches!(refused, Err(ImportError::Claim(ClaimError::Newer { found: 2, .. }))), "{refused:?}");
    assert_eq!(f.store.begin().range(RangeRead::new([], [0xff], 100)).await.unwrap().rows, theirs);
}

#[tokio::test]
async fn an_edge_without_data_left_nothing_that_hinders() {
    let f = Fixture::new();
    let given = rows("test", &f.entropy, 3);
    fill(&f.store, &given).await;
    let (file, _) = export(&f.store).await;
    let target = Fixture::new();
    let mut left = identity("test");
    left.value = Bytes::from_static(b"another");
    let stale = Row { key: pack(&("test", "global", "idempotency", 1)), value: Bytes::from("1") };
    fill(&target.store, &[left, stale]).await;
    import_bytes(&target.store, &keys(), &file, false).await.unwrap();
    assert_eq!(data(&target.store, "test").await, given, "and nothing of it stays");
}

#[tokio::test]
async fn a_damaged_file_changes_nothing() {
    let f = Fixture::new();
    fill(&f.store, &rows("test", &f.entropy, 600)).await;
    let (file, _) = export(&f.store).await;
    let target = Fixture::new();
    let mut flipped = file.clone();
    let near_the_end = file.len() - 100;
    flipped[near_the_end] ^= 4;
    for damaged in [&flipped, &file[..file.len() - 1]] {
        let refused = import_bytes(&target.store, &keys(), damaged, true).await;
        assert!(matches!(refused, Err(ImportError::Format(_))), "{refused:?}");
        assert_eq!(all(&target.store, &keys()).await, [], "nothing was imported");
    }
    let root = "r".repeat(9_960);
    let long = import_bytes(&target.store, &Keyspace::new(&root), &file, false).await;
    assert!(matches!(long, Err(ImportError::KeyTooLong { .. })), "{long:?}");
}

/// A file that does something when it is read for the second time.
struct Second<F> {
    file: Cursor<Vec<u8>>,
    rewinds: u32,
    then: F,
}

impl<F: FnMut(&mut Vec<u8>)> Second<F> {
    fn new(file: &[u8], then: F) -> Self {
        Self { file: Cursor::new(file.to_vec()), rewinds: 0, then }
    }
}

impl<F> Read for Second<F> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.file.read(buf)
    }
}

impl<F: FnMut(&mut Vec<u8>)> Seek for Second<F> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.rewinds += 1;
        if self.rewinds == 2 {
            (self.then)(self.file.get_mut());
        }
        self.file.seek(to)
    }
}

#[tokio::test]
async fn an_import_that_was_cut_off_is_seen_and_run_again() {
    let f = Fixture::new();
    let mut given = rows("test", &f.entropy, 500);
    given.insert(0, identity("test"));
    fill(&f.store, &given).await;
    let (file, _) = export(&f.store).await;
    let target = Fixture::new();
    fill(&target.store, &rows("test", &f.entropy, 50)).await;
    let mut cut = Second::new(&file, |file| file.truncate(file.len() - 60));
    let entropy = SeededEntropy::new(1);
    let error = import(&target.store, &keys(), &mut cut, true, &entropy, &mut |_| ()).await.unwrap_err();
    assert!(matches!(error, ImportError::Unfinished { .. }), "{error}");
    assert!(unfinished_import(&target.store, &keys()).await.unwrap());
    let there = data(&target.store, "test").await;
    assert!(there.len() > 100 && !there.contains(&identity("test")), "rows, but no identity");

    import_bytes(&target.store, &keys(), &file, false).await.unwrap();
    assert!(!unfinished_import(&target.store, &keys()).await.unwrap());
    assert_eq!(data(&target.store, "test").await, given);
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_does_not_pass() {
    let f = Fixture::new();
    fill(&f.store, &rows("test", &f.entropy, 5)).await;
    let (file, _) = export(&f.store).await;
    fill(&f.store, &rows("test", &f.entropy, 5)).await;
    let (other, _) = export(&f.store).await;
    let target = Fixture::new();
    let mut swapped = Second::new(&file, move |file| file.clone_from(&other));
    let entropy = SeededEntropy::new(1);
    let error = import(&target.store, &keys(), &mut swapped, false, &entropy, &mut |_| ()).await.unwrap_err();
    let ImportError::Unfinished { source } = error else { panic!("{error}") };
    assert!(matches!(*source, ImportError::Changed), "{source}");
    assert!(unfinished_import(&target.store, &keys()).await.unwrap());
}

#[tokio::test]
async fn of_two_imports_the_later_wins_and_the_earlier_stops() {
    let f = Fixture::new();
    fill(&f.store, &rows("test", &f.entropy, 50)).await;
    let (file, _) = export(&f.store).await;
    let target = Fixture::new();
    let store = target.store.clone();
    let mut overtaken = Second::new(&file, move |_| {
        let transaction = store.begin();
        transaction.set(marker("test"), vec![9; 17]).unwrap();
        futures::executor::block_on(transaction.commit()).unwrap();
    });
    let entropy = SeededEntropy::new(1);
    let error =
        import(&target.store, &keys(), &mut overtaken, false, &entropy, &mut |_| ()).await.unwrap_err();
    let ImportError::Unfinished { source } = error else { panic!("{error}") };
    assert!(matches!(*source, ImportError::TakenOver), "{source}");
    assert_eq!(data(&target.store, "test").await, [], "it wrote nothing after that");
}

/// A backend without long snapshots, of which commits may lose their answers.
struct Plain {
    inner: Embedded,
    lossy: Arc<AtomicBool>,
}

struct Lossy {
    inner: Box<dyn BackendTransaction>,
    lossy: Arc<AtomicBool>,
}

#[async_trait]
impl Backend for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn begin(&self) -> Box<dyn BackendTransaction> {
        Box::new(Lossy { inner: self.inner.begin(), lossy: Arc::clone(&self.lossy) })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

#[async_trait]
impl BackendTransaction for Lossy {
    async fn read_version(&self) -> Result<Version, StoreError> {
        self.inner.read_version().await
    }

    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key, mode).await
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        self.inner.range(read).await
    }

    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError> {
        self.inner.mutate(mutation)
    }

    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.inner.add_read_conflict(begin, end)
    }

    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        self.inner.watch(key).await
    }

    /// While it is lossy, every other commit happens and is not told of.
    async fn commit(&self) -> Result<Option<Committed>, StoreError> {
        let committed = self.inner.commit().await?;
        let lost = committed.is_some() && self.lossy.fetch_xor(true, Ordering::SeqCst);
        if lost { Err(StoreError::Unknown) } else { Ok(committed) }
    }
}

#[tokio::test]
async fn any_backend_will_do_even_one_that_loses_answers() {
    let f = Fixture::new();
    let given = rows("test", &f.entropy, 200);
    fill(&f.store, &given).await;
    let (file, _) = export(&f.store).await;
    for first in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::new(dir.path().join("s.redb"));
        let inner = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
        let plain = Plain { inner, lossy: Arc::new(AtomicBool::new(first)) };
        let store = Store::new(Arc::new(plain), f.entropy.clone());
        import_bytes(&store, &keys(), &file, false).await.unwrap();
        assert_eq!(data(&store, "test").await, given);
        assert!(!unfinished_import(&store, &keys()).await.unwrap());
        let (again, exported) = export(&store).await;
        assert_eq!(decode(&again).unwrap(), decode(&file).unwrap());
        assert!(!Decoder::start(again.as_slice()).unwrap().header().one_snapshot, "it cannot promise that");
        assert_eq!(exported.summary.snapshots, 1, "but it may happen");
    }
}

/// A commit of the clearing that is on its way when rows are being written already.
#[tokio::test]
async fn a_late_clearing_takes_no_imported_rows() {
    let f = Fixture::new();
    let given = rows("test", &f.entropy, 400);
    fill(&f.store, &given).await;
    let (file, _) = export(&f.store).await;
    let (backend, faults) = Faulty::open(f.dir.path().join("target.redb"));
    let store = Store::new(Arc::new(backend), f.entropy.clone());
    fill(&store, &given).await;
    faults.withheld.store(true, Ordering::SeqCst);
    faults.plan([Fate::Fine, Fate::Late]);
    let mut let_go = |progress: Progress| {
        if progress.doing == "importing" {
            faults.withheld.store(false, Ordering::SeqCst);
        }
    };
    let entropy = SeededEntropy::new(99);
    import(&store, &keys(), &mut Cursor::new(&file), true, &entropy, &mut let_go).await.unwrap();
    assert_eq!(faults.injected(), 1, "the clearing was late");
    assert_eq!(data(&store, "test").await.len(), given.len());
}
