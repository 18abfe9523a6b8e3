//! What only the FoundationDB backend has: its network, its deadlines, its closing. What it has in common with the
//! other backends is elsewhere. Runs with the feature `foundationdb`, on the cluster that `FDB_CLUSTER_FILE` names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coditect_auth::{Entropy, SystemEntropy};
use coditect_store::contract::{AtomicOp, Mutation, RangeRead, ReadMode, VERSIONSTAMP_BYTES};
use coditect_store::{
    ClaimError, FoundationDb, FoundationDbOptions, Keyspace, OpenFoundationDbError, RetryPolicy, Store,
    StoreError, claim,
};

/// How long the cluster may take for anything.
const DEADLINE: Duration = Duration::from_secs(20);

fn options() -> FoundationDbOptions {
    let file = std::env::var_os("FDB_CLUSTER_FILE").expect("FDB_CLUSTER_FILE names the cluster to test on");
    FoundationDbOptions::new(PathBuf::from(file))
}

/// A store on the cluster, and a prefix of its own that is empty.
struct Cluster {
    store: Store,
    prefix: Vec<u8>,
}

impl Cluster {
    fn open() -> Self {
        let store = Store::new(Arc::new(FoundationDb::open(&options()).unwrap()), Arc::new(SystemEntropy));
        let prefix = format!("coditect-test/{}/", SystemEntropy.uuid()).into_bytes();
        Self { store, prefix }
    }

    fn key(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_slice(), key.as_bytes()].concat()
    }

    fn range(&self, limit: usize) -> RangeRead {
        RangeRead::new(self.key(""), self.key("\u{7f}"), limit)
    }

    async fn put(&self, key: &str, value: &'static str) {
        self.run(|transaction| transaction.set(self.key(key), value)).await;
    }

    async fn run(&self, write: impl Fn(&coditect_store::Transaction) -> Result<(), StoreError>) {
        let policy = RetryPolicy::idempotent();
        let attempt = async |transaction: coditect_store::Transaction| write(&transaction);
        self.store.run::<_, StoreError, _, _>(&policy, attempt).await.unwrap();
    }

    /// Removes what the test wrote.
    async fn clean(self) {
        self.run(|transaction| transaction.clear_range(self.key(""), self.key("\u{7f}"))).await;
        self.store.close().await.unwrap();
    }
}

/// A cluster file whose coordinator is an address that nobody listens at.
fn nowhere(directory: &tempfile::TempDir) -> FoundationDbOptions {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = directory.path().join("fdb.cluster");
    std::fs::write(&file, format!("test:test@127.0.0.1:{port}\n")).unwrap();
    FoundationDbOptions { transaction_timeout: Duration::from_millis(300), ..FoundationDbOptions::new(file) }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

#[tokio::test]
async fn what_was_committed_is_read_with_its_versions() {
    let cluster = Cluster::open();
    within("ping", cluster.store.ping()).await.unwrap();
    let transaction = cluster.store.begin();
    let before = transaction.read_version().await.unwrap();
    transaction.set(cluster.key("k"), "v").unwrap();
    assert_eq!(transaction.get(cluster.key("k")).await.unwrap().unwrap(), "v", "its own write");
    let committed = transaction.commit().await.unwrap().expect("it wrote");
    assert!(committed.version > before);
    assert_eq!(committed.versionstamp.0[..8], committed.version.0.to_be_bytes());
    assert!(matches!(transaction.get(cluster.key("k")).await, Err(StoreError::Used)));
    assert!(matches!(transaction.commit().await, Err(StoreError::Used)));

    let reader = cluster.store.begin();
    assert_eq!(reader.get(cluster.key("k")).await.unwrap().unwrap(), "v");
    assert!(reader.read_version().await.unwrap() >= committed.version);
    assert_eq!(reader.commit().await.unwrap(), None, "it wrote nothing");
    let idle = cluster.store.begin();
    idle.clear_range(cluster.key("k"), cluster.key("k")).unwrap();
    assert_eq!(idle.commit().await.unwrap(), None, "nor did this, in the end");
    cluster.clean().await;
}

#[tokio::test]
async fn versionstamps_are_the_commits_own() {
    let cluster = Cluster::open();
    let transaction = cluster.store.begin();
    let blank = [0; VERSIONSTAMP_BYTES];
    let (key, offset) = ([cluster.key("s/").as_slice(), &blank, b"/tail"].concat(), cluster.key("s/").len());
    transaction.mutate(Mutation::SetVersionstampedKey { key, offset, value: Bytes::new() }).unwrap();
    let value = [b"at ".as_slice(), &blank, b"."].concat();
    transaction.mutate(Mutation::SetVersionstampedValue { key: cluster.key("v"), value, offset: 3 }).unwrap();
    assert!(matches!(transaction.get(cluster.key("v")).await, Err(StoreError::Unreadable)));
    assert!(matches!(transaction.commit().await, Err(StoreError::Unreadable)), "as FoundationDB has it");

    let transaction = cluster.store.begin();
    let (key, value) = (
        [cluster.key("s/").as_slice(), &blank, b"/tail"].concat(),
        [b"at ".as_slice(), &blank, b"."].concat(),
    );
    transaction.mutate(Mutation::SetVersionstampedKey { key, offset, value: Bytes::new() }).unwrap();
    transaction.mutate(Mutation::SetVersionstampedValue { key: cluster.key("v"), value, offset: 3 }).unwrap();
    let stamp = transaction.commit().await.unwrap().unwrap().versionstamp;
    let rows = cluster.store.begin().range(cluster.range(10)).await.unwrap().rows;
    assert_eq!(rows[0].key, [cluster.key("s/").as_slice(), &stamp.0, b"/tail"].concat());
    assert_eq!(rows[1].value, [b"at ".as_slice(), &stamp.0, b"."].concat());
    cluster.clean().await;
}

#[tokio::test]
async fn pages_end_at_the_limit_the_size_or_the_range() {
    let cluster = Cluster::open();
    // 30 rows of 90 kB: almost three pages. Written in parts, for the limit of a transaction.
    let value = Bytes::from(vec![7; 90_000]);
    let keys: Vec<_> = (10..40).map(|number| cluster.key(&number.to_string())).collect();
    for part in keys.chunks(10) {
        cluster
            .run(|transaction| part.iter().try_for_each(|key| transaction.set(key.clone(), value.clone())))
            .await;
    }
    let transaction = cluster.store.begin();
    for (limit, more) in [(29, true), (30, true), (31, false)] {
        let mut found = 0;
        let mut read = cluster.range(limit);
        let last = loop {
            let page = transaction.range(read.clone()).await.unwrap();
            found += page.rows.len();
            assert!(page.rows.len() < 15, "about 1 MiB, not {} rows", page.rows.len());
            if !page.more || found == limit {
                break page.more;
            }
            assert!(page.rows.len() > 10, "a page is filled");
            read.begin = [page.rows.last().unwrap().key.as_slice(), &[0]].concat();
            read.limit = limit - found;
        };
        assert_eq!((found, last), (limit.min(30), more), "limit {limit}");
    }
    let backwards = transaction.range(cluster.range(2).reversed().snapshot()).await.unwrap();
    let found: Vec<_> = backwards.rows.iter().map(|row| &row.key).collect();
    assert_eq!((found, backwards.more), (vec![&keys[29], &keys[28]], true));
    cluster.clean().await;
}

#[tokio::test]
async fn conflicts_are_what_was_read_and_changed() {
    let cluster = Cluster::open();
    cluster.put("k", "1").await;
    for (mode, conflicts) in [(ReadMode::Serializable, true), (ReadMode::Snapshot, false)] {
        let transaction = cluster.store.begin();
        let read = RangeRead { mode, ..cluster.range(10) };
        transaction.range(read).await.unwrap();
        cluster.put("k", "2").await;
        transaction.set(cluster.key("other"), "x").unwrap();
        let result = transaction.commit().await;
        assert_eq!(matches!(result, Err(StoreError::Conflict)), conflicts, "{mode:?}: {result:?}");
    }
    let (one, other) = (cluster.store.begin(), cluster.store.begin());
    for transaction in [&one, &other] {
        transaction.read_version().await.unwrap();
        transaction.add(cluster.key("n"), 2).unwrap();
        transaction.atomic(AtomicOp::Max, cluster.key("m"), vec![9]).unwrap();
    }
    one.commit().await.unwrap();
    other.commit().await.unwrap();
    let sum = cluster.store.begin().get(cluster.key("n")).await.unwrap().unwrap();
    assert_eq!(*sum, 4_i64.to_le_bytes(), "atomic mutations do not conflict");
    cluster.clean().await;
}

#[tokio::test]
async fn a_commit_waits_for_reads_in_flight_and_leaves_them_whole() {
    let cluster = Cluster::open();
    cluster.put("k", "1").await;
    let transaction = cluster.store.begin();
    transaction.set(cluster.key("w"), "2").unwrap();
    let reads = futures::future::join_all((0..50).map(|_| transaction.get(cluster.key("k"))));
    let (reads, committed) = tokio::join!(reads, transaction.commit());
    committed.unwrap().unwrap();
    for read in reads {
        assert_eq!(read.unwrap().unwrap(), "1");
    }
    cluster.clean().await;
}

#[tokio::test]
async fn watches_begin_with_the_commit_and_end_with_a_change() {
    let cluster = Cluster::open();
    cluster.put("k", "1").await;
    let transaction = cluster.store.begin();
    let changed = transaction.watch(cluster.key("k")).await.unwrap();
    transaction.commit().await.unwrap();
    cluster.put("k", "2").await;
    within("the watch", changed).await.unwrap();

    let dropped = cluster.store.begin();
    let never = dropped.watch(cluster.key("k")).await.unwrap();
    drop(dropped);
    let error = within("the cancelled watch", never).await.unwrap_err();
    assert!(matches!(error, StoreError::Cancelled), "{error:?}");

    let conflicting = cluster.store.begin();
    let never = conflicting.watch(cluster.key("k")).await.unwrap();
    conflicting.set(cluster.key("x"), "").unwrap();
    cluster.put("k", "3").await;
    assert!(matches!(conflicting.commit().await, Err(StoreError::Conflict)));
    let error = within("the watch of a conflict", never).await.unwrap_err();
    assert!(matches!(error, StoreError::Cancelled), "{error:?}");
    cluster.clean().await;
}

#[tokio::test]
async fn closing_ends_watches_and_refuses_what_comes_later() {
    let cluster = Cluster::open();
    let transaction = cluster.store.begin();
    let watch = transaction.watch(cluster.key("k")).await.unwrap();
    transaction.commit().await.unwrap();
    let open = cluster.store.begin();
    open.set(cluster.key("never"), "").unwrap();
    within("closing", cluster.store.close()).await.unwrap();
    cluster.store.close().await.unwrap();
    assert!(matches!(within("the watch", watch).await, Err(StoreError::Closed)));
    assert!(matches!(open.commit().await, Err(StoreError::Closed)));
    assert!(matches!(cluster.store.begin().get("k").await, Err(StoreError::Closed)));
    assert!(matches!(cluster.store.ping().await, Err(StoreError::Closed)));
    let again = Cluster::open();
    assert_eq!(again.store.begin().get(cluster.key("never")).await.unwrap(), None);
    again.clean().await;
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let store =
        Store::new(Arc::new(FoundationDb::open(&nowhere(&directory)).unwrap()), Arc::new(SystemEntropy));
    let began = Instant::now();
    let pings = futures::future::join_all((0..20).map(|_| store.ping())).await;
    assert!(pings.iter().all(|ping| matches!(ping, Err(StoreError::TimedOut))), "{pings:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "one question for all of them");
    assert!(matches!(store.begin().get("k").await, Err(StoreError::TimedOut)));
    let writer = store.begin();
    writer.set("k", "v").unwrap();
    let result = writer.commit().await;
    assert!(matches!(result, Err(StoreError::Unknown)), "{result:?}");
    within("closing", store.close()).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_idled_too_long_is_too_old() {
    let cluster = Cluster::open();
    let options = FoundationDbOptions { transaction_timeout: Duration::from_millis(200), ..options() };
    let store = Store::new(Arc::new(FoundationDb::open(&options).unwrap()), Arc::new(SystemEntropy));
    let transaction = store.begin();
    let began = Instant::now();
    let error = within("its end", async {
        loop {
            match transaction.get(cluster.key("k")).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    });
    let error = error.await;
    assert!(matches!(error, StoreError::TooOld | StoreError::TimedOut), "{error:?}");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(matches!(transaction.get(cluster.key("k")).await, Err(StoreError::TooOld)));
    transaction.set(cluster.key("k"), "").unwrap_err();
    assert!(matches!(transaction.commit().await, Err(StoreError::TooOld)), "nothing was committed");
    cluster.clean().await;
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let missing = FoundationDb::open(&FoundationDbOptions::new("/nonexistent/fdb.cluster")).err().unwrap();
    assert!(matches!(missing, OpenFoundationDbError::ClusterFile { .. }), "{missing}");
    drop(FoundationDb::open(&options()).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut other = options();
    other.network.trace_dir = Some(directory.path().join("traces"));
    let refused = FoundationDb::open(&other).err().unwrap();
    assert!(matches!(refused, OpenFoundationDbError::OtherNetworkOptions), "{refused}");
}

#[tokio::test]
async fn a_prefix_of_the_cluster_is_claimed_or_refused() {
    let cluster = Cluster::open();
    let root = format!("test-{}", SystemEntropy.uuid());
    let keys = Keyspace::new(&root);
    claim(&cluster.store, &keys).await.unwrap();
    claim(&cluster.store, &keys).await.unwrap();
    let key = foundationdb_tuple::pack(&(root.as_str(), "global", "store"));
    cluster.run(|transaction| transaction.clear(key.clone())).await;
    let foreign = foundationdb_tuple::pack(&(root.as_str(), "theirs"));
    cluster.run(|transaction| transaction.set(foreign.clone(), "")).await;
    let error = claim(&cluster.store, &keys).await.unwrap_err();
    assert!(matches!(error, ClaimError::Foreign { .. }), "{error:?}");
    cluster.run(|transaction| transaction.clear(foreign.clone())).await;
    cluster.clean().await;
}
