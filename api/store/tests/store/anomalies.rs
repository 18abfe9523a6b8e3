//! What serializability forbids, and what it must not forbid.

use coditect_store::StoreError;
use coditect_store::contract::RangeRead;

use crate::support::{Fixture, assert_conflict, put, text, value};

#[tokio::test]
async fn a_lost_update_is_refused() {
    let f = Fixture::new();
    put(&f.store, "n", "1").await;
    let (a, b) = (f.store.begin(), f.store.begin());
    assert_eq!(text(a.get("n").await.unwrap()).as_deref(), Some("1"));
    assert_eq!(text(b.get("n").await.unwrap()).as_deref(), Some("1"));
    a.set("n", "2").unwrap();
    b.set("n", "3").unwrap();
    a.commit().await.unwrap();
    assert_conflict(b.commit().await);
    assert_eq!(value(&f.store, "n").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn write_skew_is_refused() {
    let f = Fixture::new();
    put(&f.store, "x", "on").await;
    put(&f.store, "y", "on").await;
    let (a, b) = (f.store.begin(), f.store.begin());
    for transaction in [&a, &b] {
        transaction.get("x").await.unwrap();
        transaction.get("y").await.unwrap();
    }
    a.set("x", "off").unwrap();
    b.set("y", "off").unwrap();
    a.commit().await.unwrap();
    assert_conflict(b.commit().await);
}

#[tokio::test]
async fn a_phantom_in_a_range_is_refused() {
    let f = Fixture::new();
    let reader = f.store.begin();
    assert!(reader.range(RangeRead::new("a", "z", 10)).await.unwrap().rows.is_empty());
    reader.set("count", "0").unwrap();
    put(&f.store, "m", "new").await;
    assert_conflict(reader.commit().await);
}

#[tokio::test]
async fn a_write_past_the_limit_of_a_range_read_is_no_conflict() {
    let f = Fixture::new();
    for key in ["a", "b", "c"] {
        put(&f.store, key, "1").await;
    }
    for (reverse, beyond, within) in [(false, "bb", "ab"), (true, "ab", "bb")] {
        let mut read = RangeRead::new("a", "d", 2);
        read.reverse = reverse;
        let (clean, dirty) = (f.store.begin(), f.store.begin());
        clean.range(read.clone()).await.unwrap();
        clean.set("out", "1").unwrap();
        put(&f.store, beyond, "1").await;
        clean.commit().await.unwrap();
        dirty.range(read).await.unwrap();
        dirty.set("out", "1").unwrap();
        put(&f.store, within, "1").await;
        assert_conflict(dirty.commit().await);
        let clean_up = f.store.begin();
        clean_up.clear("ab").unwrap();
        clean_up.clear("bb").unwrap();
        clean_up.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_cleared_key_or_range_conflicts_with_its_readers() {
    let f = Fixture::new();
    put(&f.store, "k", "1").await;
    for range in [false, true] {
        let reader = f.store.begin();
        reader.get("k").await.unwrap();
        reader.set("out", "1").unwrap();
        let clearer = f.store.begin();
        if range {
            clearer.clear_range("a", "z").unwrap();
        } else {
            clearer.clear("k").unwrap();
        }
        clearer.commit().await.unwrap();
        assert_conflict(reader.commit().await);
    }
}

#[tokio::test]
async fn a_cleared_range_conflicts_where_nothing_was_stored() {
    let f = Fixture::new();
    let reader = f.store.begin();
    assert_eq!(reader.get("absent").await.unwrap(), None);
    reader.set("out", "1").unwrap();
    let clearer = f.store.begin();
    clearer.clear_range("a", "b").unwrap();
    clearer.commit().await.unwrap();
    assert_conflict(reader.commit().await);
}

#[tokio::test]
async fn snapshot_reads_do_not_conflict() {
    let f = Fixture::new();
    put(&f.store, "k", "1").await;
    let reader = f.store.begin();
    reader.get_snapshot("k").await.unwrap();
    reader.range(RangeRead::new("a", "z", 10).snapshot()).await.unwrap();
    reader.set("out", "1").unwrap();
    put(&f.store, "k", "2").await;
    reader.commit().await.unwrap();
}

#[tokio::test]
async fn an_explicit_read_conflict_range_counts_as_read() {
    let f = Fixture::new();
    let reader = f.store.begin();
    reader.read_version().await.unwrap();
    reader.add_read_conflict(b"a", b"b").unwrap();
    reader.set("out", "1").unwrap();
    put(&f.store, "b", "outside").await;
    put(&f.store, "aa", "inside").await;
    assert_conflict(reader.commit().await);
}

#[tokio::test]
async fn blind_writes_never_conflict() {
    let f = Fixture::new();
    let (a, b) = (f.store.begin(), f.store.begin());
    a.set("k", "a").unwrap();
    b.set("k", "b").unwrap();
    let first = a.commit().await.unwrap().unwrap();
    let second = b.commit().await.unwrap().unwrap();
    assert!(second.version > first.version, "commit versions grow");
    assert_eq!(value(&f.store, "k").await.as_deref(), Some("b"));
}

#[tokio::test]
async fn a_key_written_before_it_is_read_does_not_conflict() {
    let f = Fixture::new();
    put(&f.store, "k", "0").await;
    let t = f.store.begin();
    t.read_version().await.unwrap();
    t.set("k", "mine").unwrap();
    t.clear_range("p", "q").unwrap();
    assert_eq!(text(t.get("k").await.unwrap()).as_deref(), Some("mine"));
    assert!(t.range(RangeRead::new("p", "q", 10)).await.unwrap().rows.is_empty());
    put(&f.store, "k", "other").await;
    put(&f.store, "pp", "other").await;
    t.commit().await.unwrap();
    assert_eq!(value(&f.store, "k").await.as_deref(), Some("mine"));
}

#[tokio::test]
async fn a_transaction_reads_one_snapshot() {
    let f = Fixture::new();
    put(&f.store, "x", "1").await;
    let t = f.store.begin();
    assert_eq!(text(t.get("x").await.unwrap()).as_deref(), Some("1"));
    put(&f.store, "x", "2").await;
    put(&f.store, "y", "2").await;
    assert_eq!(text(t.get("x").await.unwrap()).as_deref(), Some("1"));
    assert_eq!(t.get("y").await.unwrap(), None);
    assert_eq!(t.commit().await.unwrap(), None, "a transaction that only read has nothing to check");
}

#[tokio::test]
async fn a_committed_transaction_is_used_up() {
    let f = Fixture::new();
    let t = f.store.begin();
    t.set("k", "1").unwrap();
    t.commit().await.unwrap();
    assert!(matches!(t.get("k").await, Err(StoreError::Used)));
    assert!(matches!(t.set("k", "2"), Err(StoreError::Used)));
    assert!(matches!(t.commit().await, Err(StoreError::Used)));
}

#[tokio::test]
async fn of_many_waiting_transactions_that_read_the_same_key_one_commits() {
    let f = Fixture::new();
    put(&f.store, "n", "0").await;
    let transactions: Vec<_> = (0..16).map(|_| f.store.begin()).collect();
    for t in &transactions {
        t.get("n").await.unwrap();
        t.set("n", "1").unwrap();
    }
    let results = futures::future::join_all(transactions.iter().map(|t| t.commit())).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|r| matches!(r, Err(StoreError::Conflict))).count(), 15);
}
