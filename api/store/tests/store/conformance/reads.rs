//! Reading single keys: the snapshot, own writes, and the end of a transaction.

use coditect_store::StoreError;

use super::case::{Case, assert_conflict, text};

pub(super) async fn a_transaction_reads_one_snapshot(c: Case) {
    c.put("x", "1").await;
    let t = c.begin();
    assert_eq!(text(t.get(c.key("x")).await.unwrap()).as_deref(), Some("1"));
    c.put("x", "2").await;
    c.put("y", "2").await;
    assert_eq!(text(t.get(c.key("x")).await.unwrap()).as_deref(), Some("1"));
    assert_eq!(t.get(c.key("y")).await.unwrap(), None, "it was not there at the first read");
    assert_eq!(t.get_snapshot(c.key("y")).await.unwrap(), None);
    assert!(t.range(c.range("y", "z", 10)).await.unwrap().rows.is_empty());
}

pub(super) async fn a_read_that_needs_no_database_takes_the_snapshot_too(c: Case) {
    for read in ["own key", "own key, snapshot", "own range", "empty range", "empty range, reversed"] {
        c.put("x", "before").await;
        let t = c.begin();
        t.clear_range(c.key("o"), c.key("p")).unwrap();
        t.set(c.key("own"), "").unwrap();
        let range = |begin, end| c.range(begin, end, 1);
        match read {
            "own key" => drop(t.get(c.key("own")).await.unwrap()),
            "own key, snapshot" => drop(t.get_snapshot(c.key("own")).await.unwrap()),
            "own range" => drop(t.range(range("o", "p")).await.unwrap()),
            "empty range" => drop(t.range(range("e", "e")).await.unwrap()),
            _ => drop(t.range(range("e", "e").reversed()).await.unwrap()),
        }
        c.put("x", "after").await;
        assert_eq!(text(t.get(c.key("x")).await.unwrap()).as_deref(), Some("before"), "{read}");
        assert_conflict(t.commit().await);
    }
}

pub(super) async fn a_transaction_keeps_its_read_version(c: Case) {
    let t = c.begin();
    let version = t.read_version().await.unwrap();
    c.put("x", "1").await;
    assert_eq!(t.get(c.key("x")).await.unwrap(), None, "the version was taken before");
    assert_eq!(t.read_version().await.unwrap(), version);
    let later = c.begin();
    assert!(later.read_version().await.unwrap() > version);
    assert_eq!(text(later.get(c.key("x")).await.unwrap()).as_deref(), Some("1"));
}

pub(super) async fn a_read_version_is_not_below_a_commit_before_it(c: Case) {
    for round in 0..20 {
        let t = c.begin();
        t.set(c.key("x"), round.to_string()).unwrap();
        let committed = t.commit().await.unwrap().unwrap();
        let later = c.begin();
        assert!(later.read_version().await.unwrap() >= committed.version);
        assert_eq!(text(later.get(c.key("x")).await.unwrap()), Some(round.to_string()));
    }
}

pub(super) async fn own_writes_are_read_back(c: Case) {
    c.put("a", "old").await;
    c.put("b", "old").await;
    c.put("r1", "old").await;
    let t = c.begin();
    t.set(c.key("a"), "new").unwrap();
    t.clear(c.key("b")).unwrap();
    t.set(c.key("c"), "new").unwrap();
    t.clear_range(c.key("r"), c.key("s")).unwrap();
    assert_eq!(text(t.get(c.key("a")).await.unwrap()).as_deref(), Some("new"));
    assert_eq!(t.get(c.key("b")).await.unwrap(), None);
    assert_eq!(text(t.get(c.key("c")).await.unwrap()).as_deref(), Some("new"));
    assert_eq!(t.get(c.key("r1")).await.unwrap(), None);
    t.set(c.key("b"), "again").unwrap();
    assert_eq!(text(t.get(c.key("b")).await.unwrap()).as_deref(), Some("again"));
}

pub(super) async fn snapshot_reads_see_own_writes(c: Case) {
    c.put("a", "old").await;
    c.put("b", "old").await;
    let t = c.begin();
    t.set(c.key("a"), "new").unwrap();
    t.clear(c.key("b")).unwrap();
    assert_eq!(text(t.get_snapshot(c.key("a")).await.unwrap()).as_deref(), Some("new"));
    assert_eq!(t.get_snapshot(c.key("b")).await.unwrap(), None);
    assert_eq!(c.names(&t, c.range("a", "z", 10).snapshot()).await, ["a"]);
}

pub(super) async fn an_empty_value_is_a_value(c: Case) {
    c.put("k", "").await;
    assert_eq!(c.bytes("k").await, Some(Vec::new()));
    assert_eq!(c.bytes("l").await, None);
    assert_eq!(c.names(&c.begin(), c.range("a", "z", 10)).await, ["k"]);
}

pub(super) async fn keys_and_values_hold_any_bytes(c: Case) {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let t = c.begin();
    for byte in 0..=u8::MAX {
        t.set(c.key([byte]), vec![byte]).unwrap();
    }
    t.set(c.key(&all), all.clone()).unwrap();
    t.commit().await.unwrap();
    for byte in 0..=u8::MAX {
        assert_eq!(c.bytes([byte]).await, Some(vec![byte]));
    }
    assert_eq!(c.bytes(&all).await, Some(all));
}

pub(super) async fn reads_of_one_transaction_may_run_at_once(c: Case) {
    for i in 0..50 {
        c.put(format!("k{i}"), i.to_string()).await;
    }
    let t = c.begin();
    let reads = (0..50).map(|i| {
        let (t, key) = (t.clone(), c.key(format!("k{i}")));
        async move { text(t.get(key).await.unwrap()) }
    });
    let found = futures::future::join_all(reads).await;
    assert_eq!(found, (0..50).map(|i| Some(i.to_string())).collect::<Vec<_>>());
}

pub(super) async fn a_dropped_transaction_leaves_nothing(c: Case) {
    c.put("a", "old").await;
    let t = c.begin();
    t.set(c.key("a"), "new").unwrap();
    t.set(c.key("b"), "new").unwrap();
    drop(t);
    assert_eq!(c.value("a").await.as_deref(), Some("old"));
    assert_eq!(c.value("b").await, None);
}

pub(super) async fn a_transaction_that_only_read_commits_to_nothing(c: Case) {
    c.put("a", "1").await;
    let t = c.begin();
    t.get(c.key("a")).await.unwrap();
    assert_eq!(t.commit().await.unwrap(), None);
    assert_eq!(c.begin().commit().await.unwrap(), None, "nor does one that did nothing");
}

pub(super) async fn a_committed_transaction_is_used_up(c: Case) {
    let t = c.begin();
    t.set(c.key("k"), "1").unwrap();
    t.commit().await.unwrap();
    assert_used(&c, &t).await;
    let read_only = c.begin();
    read_only.get(c.key("k")).await.unwrap();
    read_only.commit().await.unwrap();
    assert_used(&c, &read_only).await;
}

pub(super) async fn a_refused_transaction_is_used_up(c: Case) {
    let t = c.begin();
    t.get(c.key("k")).await.unwrap();
    t.set(c.key("out"), "1").unwrap();
    c.put("k", "1").await;
    assert_conflict(t.commit().await);
    assert_used(&c, &t).await;
    assert_eq!(c.value("out").await, None);
}

async fn assert_used(c: &Case, t: &coditect_store::Transaction) {
    let key = c.key("k");
    assert!(matches!(t.get(&key).await, Err(StoreError::Used)));
    assert!(matches!(t.range(c.range("a", "z", 1)).await, Err(StoreError::Used)));
    assert!(matches!(t.read_version().await, Err(StoreError::Used)));
    assert!(matches!(t.watch(&key).await, Err(StoreError::Used)));
    assert!(matches!(t.set(key.clone(), "2"), Err(StoreError::Used)));
    assert!(matches!(t.add_read_conflict(&key, &key), Err(StoreError::Used)));
    assert!(matches!(t.commit().await, Err(StoreError::Used)));
}
