//! Every limit at its boundary and one past it.

use bytes::Bytes;
use coditect_store::contract::{AtomicOp, Mutation, RangeRead, VERSIONSTAMP_BYTES};
use coditect_store::limits::{MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES};
use coditect_store::{Retry, RetryPolicy, StoreError, Transaction};

use super::case::Case;

/// What a stamp's offset takes in its key or value.
const OFFSET_BYTES: usize = 4;

impl Case {
    /// A key of this length in bytes.
    fn key_of(&self, size: usize) -> Vec<u8> {
        self.key(vec![b'k'; size - self.key("").len()])
    }
}

fn stamped_key(key: Vec<u8>, offset: usize) -> Mutation {
    Mutation::SetVersionstampedKey { key, offset, value: Bytes::new() }
}

fn stamped_value(key: Vec<u8>, size: usize, offset: usize) -> Mutation {
    Mutation::SetVersionstampedValue { key, value: vec![b'.'; size], offset }
}

pub(super) async fn the_longest_key_and_one_byte_more(c: Case) {
    let longest = c.key_of(MAX_KEY_BYTES);
    let t = c.begin();
    t.set(longest.clone(), "v").unwrap();
    t.add_read_conflict(&longest, &longest).unwrap();
    t.commit().await.unwrap();
    assert_eq!(c.begin().get(&longest).await.unwrap().unwrap(), "v");
    c.write(|t| t.atomic(AtomicOp::Add, longest.clone(), Bytes::from_static(b"\x01"))).await;
    assert_eq!(c.begin().get(&longest).await.unwrap().unwrap(), "w");
    c.write(|t| t.clear(longest.clone())).await;
    assert_eq!(c.begin().get(&longest).await.unwrap(), None);
    let too_long = c.key_of(MAX_KEY_BYTES + 1);
    let is_too_long = |result: Result<(), StoreError>| match result {
        Err(StoreError::KeyTooLarge { size }) => assert_eq!(size, MAX_KEY_BYTES + 1),
        other => panic!("{other:?}"),
    };
    is_too_long(c.begin().set(too_long.clone(), "v"));
    is_too_long(c.begin().clear(too_long.clone()));
    is_too_long(c.begin().add(too_long.clone(), 1));
    is_too_long(c.begin().get(&too_long).await.map(|_| ()));
    is_too_long(c.begin().get_snapshot(&too_long).await.map(|_| ()));
    is_too_long(c.begin().watch(&too_long).await.map(|_| ()));
}

pub(super) async fn the_longest_stamped_key_and_one_byte_more(c: Case) {
    let size = MAX_KEY_BYTES - OFFSET_BYTES;
    let offset = size - VERSIONSTAMP_BYTES;
    let t = c.begin();
    t.mutate(stamped_key(c.key_of(size), offset)).unwrap();
    let stamp = t.commit().await.unwrap().unwrap().versionstamp;
    let mut key = c.key_of(size);
    key[offset..].copy_from_slice(&stamp.0);
    assert!(c.begin().get(&key).await.unwrap().is_some());
    let error = c.begin().mutate(stamped_key(c.key_of(size + 1), offset)).unwrap_err();
    assert!(matches!(error, StoreError::KeyTooLarge { size } if size == MAX_KEY_BYTES + 1), "{error:?}");
}

pub(super) async fn the_largest_value_and_one_byte_more(c: Case) {
    c.put("k", vec![7; MAX_VALUE_BYTES]).await;
    assert_eq!(c.bytes("k").await, Some(vec![7; MAX_VALUE_BYTES]));
    let error = c.begin().set(c.key("k"), vec![0; MAX_VALUE_BYTES + 1]).unwrap_err();
    assert!(matches!(error, StoreError::ValueTooLarge { size } if size == MAX_VALUE_BYTES + 1), "{error:?}");
}

pub(super) async fn the_largest_stamped_value_and_one_byte_more(c: Case) {
    let size = MAX_VALUE_BYTES - OFFSET_BYTES;
    let t = c.begin();
    t.mutate(stamped_value(c.key("k"), size, size - VERSIONSTAMP_BYTES)).unwrap();
    let stamp = t.commit().await.unwrap().unwrap().versionstamp;
    let value = c.bytes("k").await.unwrap();
    assert_eq!((value.len(), &value[size - VERSIONSTAMP_BYTES..]), (size, stamp.0.as_slice()));
    let error = c.begin().mutate(stamped_value(c.key("k"), size + 1, 0)).unwrap_err();
    assert!(matches!(error, StoreError::ValueTooLarge { size } if size == MAX_VALUE_BYTES + 1), "{error:?}");
}

pub(super) async fn the_largest_operand_and_one_byte_more(c: Case) {
    for op in [AtomicOp::Add, AtomicOp::Min, AtomicOp::Max, AtomicOp::CompareAndClear] {
        c.write(|t| t.atomic(op, c.key("k"), vec![1; MAX_VALUE_BYTES])).await;
        let error = c.begin().atomic(op, c.key("k"), vec![1; MAX_VALUE_BYTES + 1]).unwrap_err();
        assert!(matches!(error, StoreError::ValueTooLarge { size } if size == MAX_VALUE_BYTES + 1), "{op:?}");
    }
}

/// Fills a transaction up to a size with keys of one length. A value costs its length; what its key costs the
/// first one shows.
fn fill(c: &Case, t: &Transaction, total: usize) -> Result<usize, StoreError> {
    const CHUNK: usize = 90_000;
    let before = t.size_bytes();
    t.set(c.key("k0000000"), "")?;
    let key_bytes = t.size_bytes() - before;
    let mut rows = 1;
    while t.size_bytes() < total {
        let left = total - t.size_bytes();
        // Whatever is left after a row is enough for the key of the last one.
        let value = if left > CHUNK + key_bytes { CHUNK.min(left - 2 * key_bytes) } else { left - key_bytes };
        t.set(c.key(format!("k{rows:07}")), vec![0; value])?;
        rows += 1;
    }
    Ok(rows)
}

pub(super) async fn the_largest_transaction_and_one_byte_more(c: Case) {
    let t = c.begin();
    let rows = fill(&c, &t, MAX_TRANSACTION_BYTES).unwrap();
    assert_eq!(t.size_bytes(), MAX_TRANSACTION_BYTES);
    t.commit().await.unwrap();
    assert_eq!(c.store.scan(c.span()).rows().await.unwrap().len(), rows);
    let t = c.begin();
    t.set(c.key("l"), "").unwrap();
    let error = fill(&c, &t, MAX_TRANSACTION_BYTES + 1).unwrap_err();
    assert!(
        matches!(error, StoreError::TransactionTooLarge { size } if size == MAX_TRANSACTION_BYTES + 1),
        "{error:?}"
    );
    assert!(matches!(t.commit().await, Err(StoreError::TransactionTooLarge { .. })));
    assert_eq!(c.bytes("l").await, None);
}

pub(super) async fn reads_count_towards_the_size(c: Case) {
    let long = c.key_of(MAX_KEY_BYTES);
    let t = c.begin();
    t.get_snapshot(&long).await.unwrap();
    t.range(RangeRead::new(long.clone(), long.clone(), 1).snapshot()).await.unwrap();
    assert_eq!(t.size_bytes(), 0, "snapshot reads are not checked at commit");
    let error = loop {
        let before = t.size_bytes();
        match t.get(&long).await {
            Ok(_) => assert!(t.size_bytes() >= before + 2 * MAX_KEY_BYTES),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::TransactionTooLarge { .. }), "{error:?}");
}

pub(super) async fn range_bounds_may_follow_the_longest_key(c: Case) {
    let longest = c.key_of(MAX_KEY_BYTES);
    let after = [longest.as_slice(), b"\0"].concat();
    let t = c.begin();
    t.set(longest.clone(), "").unwrap();
    t.commit().await.unwrap();
    let t = c.begin();
    let page = t.range(RangeRead::new(longest.clone(), after.clone(), 9)).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    t.add_read_conflict(&longest, &after).unwrap();
    t.clear_range(longest.clone(), after.clone()).unwrap();
    t.commit().await.unwrap();
    assert_eq!(c.begin().get(&longest).await.unwrap(), None);
    let past = [after.as_slice(), b"\0"].concat();
    let is_too_long = |result: Result<(), StoreError>| match result {
        Err(StoreError::KeyTooLarge { size }) => assert_eq!(size, MAX_KEY_BYTES + 2),
        other => panic!("{other:?}"),
    };
    is_too_long(c.begin().range(RangeRead::new(longest.clone(), past.clone(), 9)).await.map(|_| ()));
    is_too_long(c.begin().clear_range(longest.clone(), past.clone()));
    is_too_long(c.begin().add_read_conflict(&longest, &past));
}

pub(super) async fn reserved_keys_are_refused(c: Case) {
    let is_reserved = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::KeyReserved)), "{result:?}");
    };
    for key in [vec![0xff], vec![0xff, 0], vec![0xff, 0xff, b'k']] {
        is_reserved(c.begin().get(&key).await.map(|_| ()));
        is_reserved(c.begin().get_snapshot(&key).await.map(|_| ()));
        is_reserved(c.begin().watch(&key).await.map(|_| ()));
        is_reserved(c.begin().set(key.clone(), ""));
        is_reserved(c.begin().clear(key.clone()));
        is_reserved(c.begin().add(key.clone(), 1));
        is_reserved(c.begin().mutate(stamped_value(key.clone(), VERSIONSTAMP_BYTES, 0)));
        let key = [key.as_slice(), &[0; VERSIONSTAMP_BYTES]].concat();
        is_reserved(c.begin().mutate(stamped_key(key, 1)));
    }
    let (begin, past) = (c.key("a"), vec![0xff, 0]);
    is_reserved(c.begin().range(RangeRead::new(begin.clone(), past.clone(), 1)).await.map(|_| ()));
    is_reserved(c.begin().clear_range(begin.clone(), past.clone()));
    is_reserved(c.begin().add_read_conflict(&begin, &past));
}

pub(super) async fn inverted_ranges_are_refused(c: Case) {
    let is_inverted = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::InvertedRange)), "{result:?}");
    };
    is_inverted(c.begin().range(c.range("b", "a", 1)).await.map(|_| ()));
    is_inverted(c.begin().clear_range(c.key("b"), c.key("a")));
    is_inverted(c.begin().add_read_conflict(&c.key("b"), &c.key("a")));
}

pub(super) async fn a_stamp_ends_with_its_key_or_value_and_not_past_it(c: Case) {
    let size = c.key("").len() + VERSIONSTAMP_BYTES;
    let t = c.begin();
    t.mutate(stamped_key(c.key_of(size), size - VERSIONSTAMP_BYTES)).unwrap();
    t.mutate(stamped_value(c.key("v"), VERSIONSTAMP_BYTES, 0)).unwrap();
    t.commit().await.unwrap();
    for (size, offset) in [(size, size - VERSIONSTAMP_BYTES + 1), (size, size), (size, usize::MAX)] {
        let outside = [stamped_key(c.key_of(size), offset), stamped_value(c.key("v"), size, offset)];
        for mutation in outside {
            let error = c.begin().mutate(mutation).unwrap_err();
            assert!(
                matches!(error, StoreError::VersionstampOffset { offset: o, size: s } if (o, s) == (offset, size)),
                "{error:?}"
            );
        }
    }
    let short = c.begin().mutate(stamped_value(c.key("v"), VERSIONSTAMP_BYTES - 1, 0));
    assert!(matches!(short, Err(StoreError::VersionstampOffset { .. })));
}

pub(super) async fn a_broken_limit_spoils_the_transaction(c: Case) {
    let t = c.begin();
    t.set(c.key("first"), "1").unwrap();
    drop(t.set(c.key("second"), vec![0; MAX_VALUE_BYTES + 1]));
    assert!(matches!(t.set(c.key("third"), "3"), Err(StoreError::ValueTooLarge { .. })));
    assert!(matches!(t.get(c.key("first")).await, Err(StoreError::ValueTooLarge { .. })));
    assert!(matches!(t.commit().await, Err(StoreError::ValueTooLarge { .. })));
    assert!(matches!(t.commit().await, Err(StoreError::ValueTooLarge { .. })), "it stays so");
    assert_eq!(c.begin().get(c.key("first")).await.unwrap(), None);
}

pub(super) async fn no_broken_limit_is_worth_a_retry(c: Case) {
    let mut attempts = 0;
    let result: Result<(), StoreError> = c
        .store
        .run(&RetryPolicy::idempotent(), |t| {
            attempts += 1;
            let broken = t.set(c.key("k"), vec![0; MAX_VALUE_BYTES + 1]);
            async move { broken }
        })
        .await;
    assert_eq!(result.unwrap_err().retry(), Retry::No);
    assert_eq!(attempts, 1);
}
