//! What the embedded backend promises beyond the contract: the age limit to the millisecond, on a clock moved by
//! hand, watches that stay silent without a change, and a bound on their number.

use std::time::Duration;

use coditect_store::contract::Watch;
use coditect_store::limits::{MAX_TRANSACTION_AGE, MAX_WATCHES};
use coditect_store::{KeySpan, Retry, Store, StoreError};
use futures::FutureExt;

use crate::support::{Fixture, put};

#[tokio::test]
async fn a_transaction_ages_to_the_millisecond() {
    let f = Fixture::new();
    put(&f.store, "k", "1").await;
    let just = f.store.begin();
    just.get("k").await.unwrap();
    just.set("out", "1").unwrap();
    f.clock.advance(MAX_TRANSACTION_AGE);
    just.get("k").await.unwrap();
    just.commit().await.unwrap();

    let late = f.store.begin();
    late.get("k").await.unwrap();
    late.set("out", "2").unwrap();
    f.clock.advance(MAX_TRANSACTION_AGE + Duration::from_millis(1));
    let error = late.get("k").await.unwrap_err();
    assert!(matches!(error, StoreError::TooOld));
    assert_eq!(error.retry(), Retry::Safe);
    assert!(matches!(late.commit().await, Err(StoreError::TooOld)));
    assert_eq!(f.store.begin().get("out").await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn a_conflict_is_still_seen_at_the_age_limit() {
    let f = Fixture::new();
    put(&f.store, "k", "1").await;
    let t = f.store.begin();
    t.get("k").await.unwrap();
    t.set("out", "1").unwrap();
    put(&f.store, "k", "2").await;
    f.clock.advance(MAX_TRANSACTION_AGE);
    put(&f.store, "unrelated", "1").await;
    assert!(matches!(t.commit().await, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn a_scan_takes_a_new_snapshot_only_when_the_old_one_has_aged() {
    let f = Fixture::new();
    let t = f.store.begin();
    for i in 0..2500 {
        t.set(format!("row/{i:05}"), "").unwrap();
    }
    t.commit().await.unwrap();
    for (waits, snapshots) in [(MAX_TRANSACTION_AGE, 1), (MAX_TRANSACTION_AGE + Duration::from_millis(1), 2)]
    {
        let mut scan = f.store.scan(KeySpan { begin: b"row/".to_vec(), end: b"row0".to_vec() });
        let mut rows = scan.next_page().await.unwrap().unwrap().len();
        f.clock.advance(waits);
        while let Some(page) = scan.next_page().await.unwrap() {
            rows += page.len();
        }
        assert_eq!((rows, scan.snapshots()), (2500, snapshots));
    }
}

async fn watch(store: &Store, key: &str) -> Result<Watch, StoreError> {
    let t = store.begin();
    let watch = t.watch(key).await?;
    t.commit().await?;
    Ok(watch)
}

#[tokio::test]
async fn a_watch_is_silent_until_its_value_changes() {
    let f = Fixture::new();
    put(&f.store, "k", "same").await;
    let mut watch = watch(&f.store, "k").await.unwrap();
    put(&f.store, "k", "same").await;
    put(&f.store, "other", "1").await;
    let t = f.store.begin();
    t.clear("k").unwrap();
    t.set("k", "same").unwrap();
    t.commit().await.unwrap();
    // A commit has told the watches before it returns.
    assert!((&mut watch).now_or_never().is_none());
    put(&f.store, "k", "another").await;
    watch.now_or_never().expect("it changed").unwrap();
}

#[tokio::test]
async fn watches_are_bounded_and_a_dropped_one_makes_room() {
    let f = Fixture::new();
    let mut watches = Vec::new();
    for i in 0..MAX_WATCHES {
        watches.push(watch(&f.store, &format!("k{}", i % 100)).await.unwrap());
    }
    let refused = watch(&f.store, "k").await.unwrap_err();
    assert!(matches!(refused, StoreError::TooManyWatches), "{refused:?}");
    assert_eq!(refused.retry(), Retry::No);
    watches.pop();
    let last = watch(&f.store, "k").await.unwrap();
    assert!(watch(&f.store, "k").await.is_err());
    put(&f.store, "k", "1").await;
    last.await.unwrap();
    watches.push(watch(&f.store, "k").await.expect("one that resolved has given its place back"));
    // One that was set but never began counts as well, until it is dropped.
    let t = f.store.begin();
    assert!(matches!(t.watch("k").await, Err(StoreError::TooManyWatches)));
    drop(watches);
    t.watch("k").await.unwrap();
}
