//! Versionstamps: what they are, their order, and what cannot be read before the commit.

use bytes::Bytes;
use coditect_store::contract::{AtomicOp, Committed, Mutation, RangeRead, VERSIONSTAMP_BYTES};
use coditect_store::{StoreError, Transaction};

use super::case::{Case, assert_conflict};

const PLACE: &[u8] = &[b'.'; VERSIONSTAMP_BYTES];

impl Case {
    /// Sets `prefix`, a stamp, `suffix`.
    fn stamp_key(&self, t: &Transaction, prefix: &str, suffix: &str, value: &str) {
        let prefix = self.key(prefix);
        t.mutate(Mutation::SetVersionstampedKey {
            key: [prefix.as_slice(), PLACE, suffix.as_bytes()].concat(),
            offset: prefix.len(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .unwrap();
    }

    /// Sets a key to a stamp.
    fn stamp_value(&self, t: &Transaction, name: &str) {
        t.mutate(Mutation::SetVersionstampedValue { key: self.key(name), value: PLACE.to_vec(), offset: 0 })
            .unwrap();
    }

    /// What stands below a prefix: the rest of each key, and the value.
    async fn below(&self, prefix: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let begin = self.key(prefix);
        let end = [begin.as_slice(), &[0xff; VERSIONSTAMP_BYTES + 1]].concat();
        let rows = self.begin().range(RangeRead::new(begin.clone(), end, 1000)).await.unwrap().rows;
        rows.into_iter().map(|row| (row.key[begin.len()..].to_vec(), row.value.to_vec())).collect()
    }
}

async fn commit(t: &Transaction) -> Committed {
    t.commit().await.unwrap().unwrap()
}

pub(super) async fn the_stamp_of_key_value_and_commit_is_one(c: Case) {
    let t = c.begin();
    c.stamp_key(&t, "log/", "", "entry");
    c.stamp_value(&t, "last");
    let stamp = commit(&t).await.versionstamp.0;
    assert_eq!(c.below("log/").await, [(stamp.to_vec(), b"entry".to_vec())]);
    assert_eq!(c.bytes("last").await.as_deref(), Some(stamp.as_slice()));
}

pub(super) async fn a_stamp_begins_with_the_commit_version(c: Case) {
    let t = c.begin();
    t.set(c.key("k"), "").unwrap();
    let committed = commit(&t).await;
    assert_eq!(committed.versionstamp.0[..8], committed.version.0.to_be_bytes());
}

pub(super) async fn stamps_order_as_commits_did(c: Case) {
    let mut stamps = Vec::new();
    for i in 0..10 {
        let t = c.begin();
        c.stamp_key(&t, "log/", "", &i.to_string());
        stamps.push(commit(&t).await.versionstamp);
    }
    assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    let values: Vec<_> = c.below("log/").await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, (0..10).map(|i| i.to_string().into_bytes()).collect::<Vec<_>>());
}

pub(super) async fn stamps_of_concurrent_commits_order_as_their_effects(c: Case) {
    let transactions: Vec<_> = (0..32)
        .map(|i: i32| {
            let t = c.begin();
            c.stamp_key(&t, "log/", "", &i.to_string());
            t.set(c.key("last"), i.to_string()).unwrap();
            t
        })
        .collect();
    let commits = futures::future::join_all(transactions.iter().map(commit)).await;
    let log = c.below("log/").await;
    let mut expected: Vec<_> = (0..32).map(|i: i32| i.to_string().into_bytes()).collect();
    let mut numbered: Vec<_> = commits.iter().map(|commit| commit.versionstamp).zip(expected).collect();
    numbered.sort();
    expected = numbered.iter().map(|(_, number)| number.clone()).collect();
    assert_eq!(log.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>(), expected);
    assert!(numbered.is_sorted_by(|a, b| a.0 < b.0), "two commits have one stamp");
    let last = c.bytes("last").await.unwrap();
    assert_eq!(last, numbered.last().unwrap().1, "the last one wrote last");
}

pub(super) async fn stamped_keys_of_one_transaction_order_by_their_ends(c: Case) {
    let t = c.begin();
    for (suffix, value) in [("b", "2"), ("a", "1"), ("c", "3")] {
        c.stamp_key(&t, "log/", suffix, value);
    }
    let stamp = commit(&t).await.versionstamp.0;
    let expected: Vec<_> = [("a", "1"), ("b", "2"), ("c", "3")]
        .map(|(suffix, value)| ([stamp.as_slice(), suffix.as_bytes()].concat(), value.as_bytes().to_vec()))
        .into();
    assert_eq!(c.below("log/").await, expected);
}

pub(super) async fn a_stamp_goes_where_its_offset_says(c: Case) {
    let t = c.begin();
    let value = [b"<<".as_slice(), PLACE, b">>>"].concat();
    t.mutate(Mutation::SetVersionstampedValue { key: c.key("v"), value, offset: 2 }).unwrap();
    c.stamp_key(&t, "log/", "/suffix", "");
    let stamp = commit(&t).await.versionstamp.0;
    assert_eq!(c.bytes("v").await, Some([b"<<".as_slice(), &stamp, b">>>"].concat()));
    assert_eq!(c.below("log/").await[0].0, [stamp.as_slice(), b"/suffix"].concat());
}

fn assert_unreadable<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Unreadable)), "{result:?}");
}

pub(super) async fn a_stamped_value_is_unreadable_until_cleared(c: Case) {
    c.put("k", "old").await;
    let t = c.begin();
    c.stamp_value(&t, "k");
    assert_eq!(t.get(c.key("l")).await.unwrap(), None, "its neighbour can be read");
    t.clear(c.key("k")).unwrap();
    assert_eq!(t.get(c.key("k")).await.unwrap(), None);
    t.set(c.key("k"), "new").unwrap();
    assert_eq!(t.get(c.key("k")).await.unwrap().unwrap(), "new");
    commit(&t).await;
    assert_eq!(c.value("k").await.as_deref(), Some("new"));
}

pub(super) async fn a_stamped_value_stays_unreadable_after_a_set(c: Case) {
    let written = c.begin();
    c.stamp_value(&written, "k");
    written.set(c.key("k"), "new").unwrap();
    let read = c.begin();
    c.stamp_value(&read, "k");
    read.set(c.key("k"), "newer").unwrap();
    assert_unreadable(read.get(c.key("k")).await);
    commit(&written).await;
    assert_eq!(c.value("k").await.as_deref(), Some("new"));
}

pub(super) async fn an_unreadable_read_spoils_the_commit(c: Case) {
    let (get, snapshot, range, watch) = (c.begin(), c.begin(), c.begin(), c.begin());
    for t in [&get, &snapshot, &range, &watch] {
        c.stamp_value(t, "k");
        c.stamp_key(t, "log/", "", "");
    }
    assert_unreadable(get.get(c.key("k")).await);
    assert_unreadable(snapshot.get_snapshot(c.key("k")).await);
    assert_unreadable(range.range(c.range("log/", "log0", 9)).await);
    assert_unreadable(watch.watch(c.key("k")).await);
    for t in [&get, &snapshot, &range, &watch] {
        t.clear_range(c.key("a"), c.key("z")).unwrap();
        assert_eq!(t.get(c.key("k")).await.unwrap(), None, "it can be read on");
        t.set(c.key("k"), "").unwrap();
        assert_unreadable(t.commit().await);
    }
    assert_eq!(c.value("k").await, None);
}

pub(super) async fn a_range_across_a_stamped_value_is_unreadable(c: Case) {
    for key in ["a", "b", "c", "d"] {
        c.put(key, "").await;
    }
    let t = c.begin();
    c.stamp_value(&t, "c");
    assert_unreadable(t.range(c.range("a", "z", 9)).await);
    assert_unreadable(t.range(c.range("a", "z", 9).reversed()).await);
    assert_unreadable(t.range(c.range("a", "z", 9).snapshot()).await);
    assert_eq!(c.names(&t, c.range("a", "c", 9)).await, ["a", "b"]);
    assert_eq!(c.names(&t, c.range("a", "z", 2)).await, ["a", "b"], "it stopped before");
    assert_eq!(c.names(&t, c.range("a", "z", 1).reversed()).await, ["d"]);
    t.clear_range(c.key("b"), c.key("d")).unwrap();
    assert_eq!(c.names(&t, c.range("a", "z", 9)).await, ["a", "d"]);
}

pub(super) async fn a_range_across_a_stamped_key_is_unreadable_until_cleared(c: Case) {
    let t = c.begin();
    c.stamp_key(&t, "log/", "", "");
    assert_unreadable(t.range(c.range("log/", "log0", 9)).await);
    assert_unreadable(t.range(c.range("a", "z", 9).reversed()).await);
    t.clear_range(c.key("log/"), c.key("log0")).unwrap();
    assert!(t.range(c.range("a", "z", 9)).await.unwrap().rows.is_empty());
}

pub(super) async fn a_range_that_stops_before_a_stamped_key_is_readable(c: Case) {
    c.put("a", "").await;
    c.put("z", "").await;
    let t = c.begin();
    c.stamp_key(&t, "log/", "", "");
    assert_eq!(c.names(&t, c.range("a", "zz", 1)).await, ["a"]);
    assert_eq!(c.names(&t, c.range("a", "zz", 1).reversed()).await, ["z"]);
    assert_eq!(c.names(&t, c.range("a", "log/", 9)).await, ["a"]);
    assert_eq!(t.get(c.key("a")).await.unwrap().unwrap(), "");
}

pub(super) async fn a_stamped_key_that_is_cleared_is_not_written(c: Case) {
    let t = c.begin();
    c.stamp_key(&t, "log/", "", "gone");
    t.clear_range(c.key("log/"), c.key("log0")).unwrap();
    c.stamp_key(&t, "log/", "", "kept");
    let stamp = commit(&t).await.versionstamp.0;
    assert_eq!(c.below("log/").await, [(stamp.to_vec(), b"kept".to_vec())]);
}

/// A log that is appended to and trimmed in one transaction.
pub(super) async fn a_stamped_key_survives_a_trim_of_older_stamps(c: Case) {
    let t = c.begin();
    c.stamp_key(&t, "log/", "", "old");
    let horizon = commit(&t).await.versionstamp.0;
    let t = c.begin();
    c.stamp_key(&t, "log/", "", "newer");
    commit(&t).await;
    let t = c.begin();
    t.read_version().await.unwrap();
    c.stamp_key(&t, "log/", "", "newest");
    let end = [c.key("log/").as_slice(), &horizon, b"\0"].concat();
    t.clear_range(c.key("log/"), end).unwrap();
    commit(&t).await;
    let values: Vec<_> = c.below("log/").await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [b"newer".to_vec(), b"newest".to_vec()]);
}

pub(super) async fn an_operation_on_a_stamped_value_applies_at_the_commit(c: Case) {
    let t = c.begin();
    c.stamp_value(&t, "k");
    // Wider than the stamp, so that all of it stays.
    t.atomic(AtomicOp::Add, c.key("k"), Bytes::from_static(&[0; 12])).unwrap();
    let stamp = commit(&t).await.versionstamp.0;
    assert_eq!(c.bytes("k").await, Some([stamp.as_slice(), &[0, 0]].concat()));
}

pub(super) async fn a_stamped_key_conflicts_with_a_reader_of_its_range(c: Case) {
    let reader = c.begin();
    assert!(reader.range(c.range("log/", "log0", 9)).await.unwrap().rows.is_empty());
    reader.set(c.key("out"), "").unwrap();
    let t = c.begin();
    c.stamp_key(&t, "log/", "", "");
    commit(&t).await;
    assert_conflict(reader.commit().await);
}

pub(super) async fn a_stamped_value_conflicts_with_a_reader(c: Case) {
    let reader = c.begin();
    reader.get(c.key("k")).await.unwrap();
    reader.set(c.key("out"), "").unwrap();
    let t = c.begin();
    c.stamp_value(&t, "k");
    commit(&t).await;
    assert_conflict(reader.commit().await);
}

pub(super) async fn stamped_keys_never_conflict_with_each_other(c: Case) {
    let (a, b) = (c.begin(), c.begin());
    for t in [&a, &b] {
        t.read_version().await.unwrap();
        c.stamp_key(t, "log/", "", "");
        c.stamp_value(t, "last");
    }
    commit(&a).await;
    commit(&b).await;
    assert_eq!(c.below("log/").await.len(), 2);
}
