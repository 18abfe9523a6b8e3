//! Claiming a root prefix: an empty or an own one is taken, any other is left as it is.

use std::sync::Arc;

use bytes::Bytes;
use coditect_auth::Entropy;
use coditect_store::contract::{RangeRead, Row};
use coditect_store::limits::MAX_KEY_BYTES;
use coditect_store::{ClaimError, Keyspace, claim};

use crate::support::{Fixture, put, registration};

const ROOT: &str = "test";

async fn everything(fixture: &Fixture) -> Vec<Row> {
    fixture.store.begin().range(RangeRead::new([], [0xff], 1000)).await.unwrap().rows
}

/// The key of the family `store`, as it must stay: other versions look for it there.
fn identity_key() -> Vec<u8> {
    foundationdb_tuple::pack(&(ROOT, "global", "store"))
}

async fn set(fixture: &Fixture, key: Vec<u8>, value: &[u8]) {
    let transaction = fixture.store.begin();
    transaction.set(key, Bytes::copy_from_slice(value)).unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn an_empty_prefix_is_marked_once_and_stays_claimed() {
    let fixture = Fixture::new();
    // Neighbours, before and after, are none of our business.
    put(&fixture.store, "\u{2}tesa", "").await;
    set(&fixture, foundationdb_tuple::pack(&("tesu", 1)), b"").await;
    set(&fixture, foundationdb_tuple::pack(&("test\0more",)), b"").await;
    let keys = Keyspace::new(ROOT);
    claim(&fixture.store, &keys).await.unwrap();
    let claimed = everything(&fixture).await;
    let mark = claimed.iter().find(|row| row.key == identity_key()).expect("a mark");
    assert_eq!(*mark.value, [1, 0, 0, 0, 0, 0, 0, 0], "the format, 8 bytes little-endian");
    assert_eq!(claimed.len(), 4);
    claim(&fixture.store, &keys).await.unwrap();
    assert_eq!(everything(&fixture).await, claimed);
}

#[tokio::test]
async fn a_store_from_before_there_were_marks_is_adopted() {
    let fixture = Fixture::new();
    let repositories = fixture.repositories();
    let entropy = Arc::clone(&fixture.entropy) as Arc<dyn Entropy>;
    repositories.users().register(&registration(&*entropy, "ann@example.com")).await.unwrap();
    let before = everything(&fixture).await;
    assert!(before.len() > 1);
    claim(&fixture.store, &Keyspace::new(ROOT)).await.unwrap();
    let mut after = everything(&fixture).await;
    after.retain(|row| row.key != identity_key());
    assert_eq!(after, before, "the mark is all that is new");
}

#[tokio::test]
async fn keys_of_another_kind_are_refused_and_left_alone() {
    let own = foundationdb_tuple::pack(&(ROOT, "global", "users_by_email", "ann@example.com"));
    let mut raw = foundationdb_tuple::pack(&(ROOT,));
    raw.extend_from_slice(b"\xfe\xfe");
    // Tuples in tuples, as deep as a key can say: a decoder that follows them runs out of stack.
    let mut nested = foundationdb_tuple::pack(&(ROOT,));
    nested.resize(MAX_KEY_BYTES, 0x05);
    let foreign = [
        foundationdb_tuple::pack(&(ROOT,)),
        foundationdb_tuple::pack(&(ROOT, "aaa", 1)),
        foundationdb_tuple::pack(&(ROOT, "zzz", 1)),
        foundationdb_tuple::pack(&(ROOT, "global", "nonsense")),
        foundationdb_tuple::pack(&(ROOT, "tenant", "no id", "users")),
        raw,
        nested,
    ];
    for key in foreign {
        for with_own in [false, true] {
            let fixture = Fixture::new();
            set(&fixture, key.clone(), b"theirs").await;
            if with_own {
                set(&fixture, own.clone(), b"ours?").await;
            }
            let before = everything(&fixture).await;
            let error = claim(&fixture.store, &Keyspace::new(ROOT)).await.unwrap_err();
            assert!(matches!(error, ClaimError::Foreign { .. }), "{error:?}");
            let text = error.to_string();
            assert!(
                text.contains("`test`")
                    && text.contains("another [store] root")
                    && text.contains("\\x02test\\x00"),
                "{text}"
            );
            assert_eq!(everything(&fixture).await, before);
        }
    }
}

#[tokio::test]
async fn a_newer_or_a_damaged_mark_is_refused() {
    let fixture = Fixture::new();
    let keys = Keyspace::new(ROOT);
    set(&fixture, identity_key(), &[2, 0, 0, 0, 0, 0, 0, 0]).await;
    let error = claim(&fixture.store, &keys).await.unwrap_err();
    assert!(matches!(error, ClaimError::Newer { found: 2, .. }), "{error:?}");
    set(&fixture, identity_key(), &[1]).await;
    let error = claim(&fixture.store, &keys).await.unwrap_err();
    assert!(matches!(error, ClaimError::Store(_)), "{error:?}");
    assert_eq!(everything(&fixture).await.len(), 1, "and nothing was written");
}

#[tokio::test]
async fn two_that_claim_at_once_both_succeed() {
    let fixture = Fixture::new();
    let keys = Keyspace::new(ROOT);
    let (one, other) = tokio::join!(claim(&fixture.store, &keys), claim(&fixture.store, &keys));
    one.unwrap();
    other.unwrap();
    assert_eq!(everything(&fixture).await.len(), 1);
}
