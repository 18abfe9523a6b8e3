//! What serializability forbids, and what it must not forbid.

use coditect_store::StoreError;
use coditect_store::contract::{Mutation, VERSIONSTAMP_BYTES};

use super::case::{Case, assert_conflict, text};

pub(super) async fn a_lost_update_is_refused(c: Case) {
    c.put("n", "1").await;
    let (a, b) = (c.begin(), c.begin());
    assert_eq!(text(a.get(c.key("n")).await.unwrap()).as_deref(), Some("1"));
    assert_eq!(text(b.get(c.key("n")).await.unwrap()).as_deref(), Some("1"));
    a.set(c.key("n"), "2").unwrap();
    b.set(c.key("n"), "3").unwrap();
    a.commit().await.unwrap();
    assert_conflict(b.commit().await);
    assert_eq!(c.value("n").await.as_deref(), Some("2"));
}

pub(super) async fn write_skew_is_refused(c: Case) {
    c.put("x", "on").await;
    c.put("y", "on").await;
    let (a, b) = (c.begin(), c.begin());
    for t in [&a, &b] {
        t.get(c.key("x")).await.unwrap();
        t.get(c.key("y")).await.unwrap();
    }
    a.set(c.key("x"), "off").unwrap();
    b.set(c.key("y"), "off").unwrap();
    a.commit().await.unwrap();
    assert_conflict(b.commit().await);
    assert_eq!(c.value("y").await.as_deref(), Some("on"));
}

pub(super) async fn a_phantom_is_refused(c: Case) {
    c.put("m0", "").await;
    for reverse in [false, true] {
        let reader = c.begin();
        let mut read = c.range("m", "n", 10);
        read.reverse = reverse;
        let rows = reader.range(read).await.unwrap().rows.len();
        reader.set(c.key("count"), rows.to_string()).unwrap();
        c.put(if reverse { "m1" } else { "m2" }, "new").await;
        assert_conflict(reader.commit().await);
    }
    assert_eq!(c.value("count").await, None);
}

/// Fekete, O'Neil, O'Neil, "A read-only transaction anomaly under snapshot isolation" (2004): a withdrawal with a
/// fee, a deposit, and a statement that shows the deposit but not the fee it should have saved.
pub(super) async fn the_read_only_anomaly_is_refused(c: Case) {
    c.put("checking", "0").await;
    c.put("savings", "0").await;
    let (withdrawal, deposit) = (c.begin(), c.begin());
    withdrawal.get(c.key("checking")).await.unwrap();
    withdrawal.get(c.key("savings")).await.unwrap();
    deposit.get(c.key("savings")).await.unwrap();
    deposit.set(c.key("savings"), "20").unwrap();
    deposit.commit().await.unwrap();
    let statement = c.begin();
    assert_eq!(text(statement.get(c.key("checking")).await.unwrap()).as_deref(), Some("0"));
    assert_eq!(text(statement.get(c.key("savings")).await.unwrap()).as_deref(), Some("20"));
    statement.commit().await.unwrap();
    withdrawal.set(c.key("checking"), "-11").unwrap();
    assert_conflict(withdrawal.commit().await);
}

pub(super) async fn a_fractured_read_is_impossible(c: Case) {
    let t = c.begin();
    t.get(c.key("x")).await.unwrap();
    let writer = c.begin();
    writer.set(c.key("x"), "1").unwrap();
    writer.set(c.key("y"), "1").unwrap();
    writer.commit().await.unwrap();
    assert_eq!(t.get(c.key("y")).await.unwrap(), None, "half of another transaction was seen");
}

/// Two readers never see two writes in different orders.
pub(super) async fn a_long_fork_is_impossible(c: Case) {
    let (first, second) = (c.begin(), c.begin());
    first.read_version().await.unwrap();
    c.put("x", "1").await;
    second.read_version().await.unwrap();
    c.put("y", "1").await;
    for key in ["x", "y"] {
        assert_eq!(first.get(c.key(key)).await.unwrap(), None);
    }
    assert_eq!(text(second.get(c.key("x")).await.unwrap()).as_deref(), Some("1"));
    assert_eq!(second.get(c.key("y")).await.unwrap(), None);
}

pub(super) async fn a_write_past_the_limit_of_a_range_read_is_no_conflict(c: Case) {
    for key in ["a", "b", "c"] {
        c.put(key, "1").await;
    }
    for (reverse, beyond, within) in [(false, "bb", "ab"), (true, "ab", "bb")] {
        let mut read = c.range("a", "d", 2);
        read.reverse = reverse;
        let (clean, dirty) = (c.begin(), c.begin());
        clean.range(read.clone()).await.unwrap();
        clean.set(c.key("out"), "1").unwrap();
        c.put(beyond, "1").await;
        clean.commit().await.unwrap();
        dirty.range(read).await.unwrap();
        dirty.set(c.key("out"), "1").unwrap();
        c.put(within, "1").await;
        assert_conflict(dirty.commit().await);
        c.write(|t| {
            t.clear(c.key("ab"))?;
            t.clear(c.key("bb"))
        })
        .await;
    }
}

pub(super) async fn a_range_read_to_its_end_is_read_to_its_end(c: Case) {
    c.put("b", "1").await;
    for (reverse, beyond) in [(false, "y"), (true, "a")] {
        let t = c.begin();
        let mut read = c.range("a", "z", 9);
        read.reverse = reverse;
        t.range(read).await.unwrap();
        t.set(c.key("zz"), "").unwrap();
        c.put(beyond, "1").await;
        assert_conflict(t.commit().await);
    }
}

pub(super) async fn a_cleared_key_conflicts_with_its_reader(c: Case) {
    c.put("k", "1").await;
    let reader = c.begin();
    reader.get(c.key("k")).await.unwrap();
    reader.set(c.key("out"), "1").unwrap();
    c.write(|t| t.clear(c.key("k"))).await;
    assert_conflict(reader.commit().await);
}

pub(super) async fn a_cleared_range_conflicts_with_its_readers(c: Case) {
    c.put("k", "1").await;
    let (key, range) = (c.begin(), c.begin());
    key.get(c.key("k")).await.unwrap();
    range.range(c.range("j", "l", 9)).await.unwrap();
    key.set(c.key("out"), "1").unwrap();
    range.set(c.key("out"), "1").unwrap();
    c.write(|t| t.clear_range(c.key("a"), c.key("z"))).await;
    assert_conflict(key.commit().await);
    assert_conflict(range.commit().await);
}

pub(super) async fn a_cleared_range_conflicts_where_nothing_was_stored(c: Case) {
    let reader = c.begin();
    assert_eq!(reader.get(c.key("absent")).await.unwrap(), None);
    reader.set(c.key("out"), "1").unwrap();
    c.write(|t| t.clear_range(c.key("a"), c.key("b"))).await;
    assert_conflict(reader.commit().await);
}

pub(super) async fn the_ends_of_a_cleared_range_are_exact(c: Case) {
    for (key, conflicts) in [("a", false), ("b", true), ("bzz", true), ("c", false)] {
        let reader = c.begin();
        reader.get(c.key(key)).await.unwrap();
        reader.set(c.key("out"), "1").unwrap();
        c.write(|t| t.clear_range(c.key("b"), c.key("c"))).await;
        let result = reader.commit().await;
        assert_eq!(matches!(result, Err(StoreError::Conflict)), conflicts, "{key}: {result:?}");
    }
}

pub(super) async fn a_write_of_the_same_value_conflicts(c: Case) {
    c.put("k", "same").await;
    let reader = c.begin();
    reader.get(c.key("k")).await.unwrap();
    reader.set(c.key("out"), "1").unwrap();
    c.put("k", "same").await;
    assert_conflict(reader.commit().await);
}

pub(super) async fn snapshot_reads_do_not_conflict(c: Case) {
    c.put("k", "1").await;
    let reader = c.begin();
    reader.get_snapshot(c.key("k")).await.unwrap();
    reader.range(c.range("a", "z", 10).snapshot()).await.unwrap();
    reader.set(c.key("out"), "1").unwrap();
    c.put("k", "2").await;
    c.put("l", "2").await;
    reader.commit().await.unwrap();
}

pub(super) async fn a_snapshot_read_does_not_hide_a_serializable_one(c: Case) {
    c.put("k", "1").await;
    for snapshot_first in [false, true] {
        let t = c.begin();
        if snapshot_first {
            t.get_snapshot(c.key("k")).await.unwrap();
        }
        t.get(c.key("k")).await.unwrap();
        t.get_snapshot(c.key("k")).await.unwrap();
        t.set(c.key("out"), "1").unwrap();
        c.put("k", "2").await;
        assert_conflict(t.commit().await);
    }
}

pub(super) async fn an_explicit_read_conflict_range_counts_as_read(c: Case) {
    for (written, conflicts) in [("a", true), ("aa", true), ("b", false), ("Z", false)] {
        let t = c.begin();
        t.read_version().await.unwrap();
        t.add_read_conflict(&c.key("a"), &c.key("b")).unwrap();
        t.set(c.key("out"), "1").unwrap();
        c.put(written, "").await;
        let result = t.commit().await;
        assert_eq!(matches!(result, Err(StoreError::Conflict)), conflicts, "{written}: {result:?}");
    }
}

pub(super) async fn an_explicit_read_conflict_range_leaves_out_own_writes(c: Case) {
    for (written, conflicts) in
        [("k", false), ("p1", false), ("stamped", false), ("n", true), ("other", true)]
    {
        let t = c.begin();
        t.read_version().await.unwrap();
        t.set(c.key("k"), "mine").unwrap();
        t.clear_range(c.key("p"), c.key("q")).unwrap();
        t.add(c.key("n"), 1).unwrap();
        let (key, value) = (c.key("stamped"), vec![0; VERSIONSTAMP_BYTES]);
        t.mutate(Mutation::SetVersionstampedValue { key, value, offset: 0 }).unwrap();
        t.add_read_conflict(&c.key("a"), &c.key("z")).unwrap();
        c.put(written, "").await;
        let result = t.commit().await;
        assert_eq!(matches!(result, Err(StoreError::Conflict)), conflicts, "{written}: {result:?}");
    }
}

pub(super) async fn blind_writes_never_conflict(c: Case) {
    let (a, b) = (c.begin(), c.begin());
    for (t, value) in [(&a, "a"), (&b, "b")] {
        t.read_version().await.unwrap();
        t.set(c.key("k"), value).unwrap();
        t.clear_range(c.key("p"), c.key("q")).unwrap();
    }
    let first = a.commit().await.unwrap().unwrap();
    let second = b.commit().await.unwrap().unwrap();
    assert!(second.version > first.version);
    assert_eq!(c.value("k").await.as_deref(), Some("b"));
}

pub(super) async fn what_was_written_first_is_not_read(c: Case) {
    c.put("k", "0").await;
    let t = c.begin();
    t.read_version().await.unwrap();
    t.set(c.key("k"), "mine").unwrap();
    t.clear_range(c.key("p"), c.key("q")).unwrap();
    assert_eq!(text(t.get(c.key("k")).await.unwrap()).as_deref(), Some("mine"));
    assert!(t.range(c.range("p", "q", 10)).await.unwrap().rows.is_empty());
    c.put("k", "other").await;
    c.put("pp", "other").await;
    t.commit().await.unwrap();
    assert_eq!(c.value("k").await.as_deref(), Some("mine"));
    assert_eq!(c.value("pp").await, None);
}

pub(super) async fn what_was_read_first_stays_read(c: Case) {
    let t = c.begin();
    t.get(c.key("k")).await.unwrap();
    t.set(c.key("k"), "mine").unwrap();
    c.put("k", "other").await;
    assert_conflict(t.commit().await);
}

pub(super) async fn a_transaction_that_only_read_never_conflicts(c: Case) {
    c.put("k", "1").await;
    let t = c.begin();
    t.get(c.key("k")).await.unwrap();
    t.range(c.range("a", "z", 9)).await.unwrap();
    t.add_read_conflict(&c.key("a"), &c.key("z")).unwrap();
    c.put("k", "2").await;
    assert_eq!(t.commit().await.unwrap(), None);
}

pub(super) async fn a_refused_transaction_writes_nothing(c: Case) {
    c.put("kept", "old").await;
    let t = c.begin();
    t.get(c.key("k")).await.unwrap();
    t.set(c.key("new"), "").unwrap();
    t.clear(c.key("kept")).unwrap();
    t.add(c.key("counter"), 1).unwrap();
    c.put("k", "1").await;
    assert_conflict(t.commit().await);
    assert_eq!(c.names(&c.begin(), c.range("a", "z", 9)).await, ["k", "kept"]);
}

pub(super) async fn of_many_that_read_and_write_one_key_one_commits(c: Case) {
    c.put("n", "0").await;
    let transactions: Vec<_> = (0..16).map(|_| c.begin()).collect();
    for t in &transactions {
        t.get(c.key("n")).await.unwrap();
        t.set(c.key("n"), "1").unwrap();
    }
    let results = futures::future::join_all(transactions.iter().map(|t| t.commit())).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|r| matches!(r, Err(StoreError::Conflict))).count(), 15);
}
