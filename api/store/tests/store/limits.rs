//! Every limit at its boundary and one past it.

use std::time::Duration;

use coditect_store::contract::RangeRead;
use coditect_store::limits::{MAX_KEY_BYTES, MAX_TRANSACTION_AGE, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES};
use coditect_store::{Retry, StoreError};

use crate::support::{Fixture, put};

#[tokio::test]
async fn keys() {
    let f = Fixture::new();
    let longest = vec![b'k'; MAX_KEY_BYTES];
    let t = f.store.begin();
    t.set(longest.clone(), "v").unwrap();
    t.commit().await.unwrap();
    assert!(f.store.begin().get(&longest).await.unwrap().is_some());
    let too_long = vec![b'k'; MAX_KEY_BYTES + 1];
    let expected = MAX_KEY_BYTES + 1;
    let t = f.store.begin();
    assert!(
        matches!(t.set(too_long.clone(), "v"), Err(StoreError::KeyTooLarge { size }) if size == expected)
    );
    let get = f.store.begin().get(&too_long).await;
    assert!(matches!(get, Err(StoreError::KeyTooLarge { .. })));
}

#[tokio::test]
async fn values() {
    let f = Fixture::new();
    let t = f.store.begin();
    t.set("k", vec![0; MAX_VALUE_BYTES]).unwrap();
    t.commit().await.unwrap();
    let t = f.store.begin();
    let error = t.set("k", vec![0; MAX_VALUE_BYTES + 1]).unwrap_err();
    assert!(matches!(error, StoreError::ValueTooLarge { size } if size == MAX_VALUE_BYTES + 1));
    assert_eq!(error.retry(), Retry::No);
}

#[tokio::test]
async fn transactions() {
    let f = Fixture::new();
    // A value costs its length; what its key costs the first one shows.
    let fill = |t: &coditect_store::Transaction, total: usize| {
        t.set("k0000000", "")?;
        let key_bytes = t.size_bytes();
        let mut n = 1;
        while t.size_bytes() < total {
            let left = total - t.size_bytes() - key_bytes;
            let value = if left > 90_000 { left.min(90_000) - key_bytes } else { left };
            t.set(format!("k{n:07}"), vec![0; value])?;
            n += 1;
        }
        Ok::<_, StoreError>(())
    };
    let t = f.store.begin();
    fill(&t, MAX_TRANSACTION_BYTES).unwrap();
    t.commit().await.unwrap();
    let t = f.store.begin();
    let error = fill(&t, MAX_TRANSACTION_BYTES + 1).unwrap_err();
    assert!(matches!(error, StoreError::TransactionTooLarge { size } if size == MAX_TRANSACTION_BYTES + 1));
}

#[tokio::test]
async fn a_broken_limit_spoils_the_whole_transaction() {
    let f = Fixture::new();
    let t = f.store.begin();
    t.set("first", "1").unwrap();
    drop(t.set("second", vec![0; MAX_VALUE_BYTES + 1]));
    assert!(matches!(t.commit().await, Err(StoreError::ValueTooLarge { .. })));
    assert_eq!(f.store.begin().get("first").await.unwrap(), None);
}

#[tokio::test]
async fn reserved_keys_and_inverted_ranges() {
    let f = Fixture::new();
    assert!(matches!(f.store.begin().get([0xff]).await, Err(StoreError::KeyReserved)));
    assert!(matches!(f.store.begin().set([0xff, 1], "v"), Err(StoreError::KeyReserved)));
    f.store.begin().range(RangeRead::new([0], [0xff], 1)).await.unwrap();
    let past = f.store.begin().range(RangeRead::new([0], [0xff, 0], 1)).await;
    assert!(matches!(past, Err(StoreError::KeyReserved)));
    assert!(matches!(f.store.begin().clear_range("b", "a"), Err(StoreError::InvertedRange)));
}

#[tokio::test]
async fn age() {
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
