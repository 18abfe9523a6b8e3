//! Writing: order within a transaction, clears, atomicity, versions.

use coditect_store::contract::Version;

use super::case::{Case, text};

pub(super) async fn the_last_write_to_a_key_wins(c: Case) {
    c.put("b", "old").await;
    let t = c.begin();
    t.set(c.key("a"), "1").unwrap();
    t.set(c.key("a"), "2").unwrap();
    t.set(c.key("b"), "1").unwrap();
    t.clear(c.key("b")).unwrap();
    t.clear(c.key("c")).unwrap();
    t.set(c.key("c"), "3").unwrap();
    t.commit().await.unwrap();
    assert_eq!(c.value("a").await.as_deref(), Some("2"));
    assert_eq!(c.value("b").await, None);
    assert_eq!(c.value("c").await.as_deref(), Some("3"));
}

pub(super) async fn a_clear_of_nothing_is_a_write(c: Case) {
    let t = c.begin();
    t.clear(c.key("absent")).unwrap();
    assert!(t.commit().await.unwrap().is_some(), "it has a version");
}

pub(super) async fn a_cleared_range_keeps_its_end(c: Case) {
    for key in ["a", "b", "c", "d"] {
        c.put(key, "").await;
    }
    let t = c.begin();
    t.clear_range(c.key("b"), c.key("d")).unwrap();
    t.commit().await.unwrap();
    assert_eq!(c.names(&c.begin(), c.range("a", "z", 9)).await, ["a", "d"]);
}

pub(super) async fn a_cleared_range_takes_own_writes_and_leaves_later_ones(c: Case) {
    c.put("b", "old").await;
    let t = c.begin();
    t.set(c.key("a"), "new").unwrap();
    t.set(c.key("c"), "new").unwrap();
    t.clear_range(c.key("a"), c.key("m")).unwrap();
    t.set(c.key("b"), "later").unwrap();
    t.clear_range(c.key("l"), c.key("z")).unwrap();
    t.set(c.key("l"), "later").unwrap();
    assert_eq!(c.names(&t, c.range("a", "z", 9)).await, ["b", "l"]);
    t.commit().await.unwrap();
    assert_eq!(c.names(&c.begin(), c.range("a", "z", 9)).await, ["b", "l"]);
    assert_eq!(c.value("b").await.as_deref(), Some("later"));
}

pub(super) async fn an_empty_range_clears_nothing(c: Case) {
    c.put("a", "1").await;
    let t = c.begin();
    t.clear_range(c.key("a"), c.key("a")).unwrap();
    assert_eq!(text(t.get(c.key("a")).await.unwrap()).as_deref(), Some("1"));
    t.commit().await.unwrap();
    assert_eq!(c.value("a").await.as_deref(), Some("1"));
}

pub(super) async fn a_transaction_is_seen_whole_or_not_at_all(c: Case) {
    const ROUNDS: usize = 30;
    const KEYS: usize = 20;
    let write = |round: usize| {
        let t = c.begin();
        for key in 0..KEYS {
            t.set(c.key(format!("k{key:02}")), round.to_string()).unwrap();
        }
        t
    };
    write(0).commit().await.unwrap();
    let writer = async {
        for round in 1..ROUNDS {
            write(round).commit().await.unwrap();
        }
    };
    let reader = async {
        let mut last = 0;
        while last < ROUNDS - 1 {
            let rows = c.begin().range(c.range("k", "l", 99)).await.unwrap().rows;
            assert_eq!(rows.len(), KEYS);
            assert!(rows.iter().all(|row| row.value == rows[0].value), "{rows:?}");
            let seen = text(Some(rows[0].value.clone())).unwrap().parse().unwrap();
            assert!(seen >= last, "time went back from round {last} to {seen}");
            last = seen;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writer, reader);
}

pub(super) async fn commit_versions_grow(c: Case) {
    let mut last = Version(0);
    for round in 0..20 {
        let t = c.begin();
        t.set(c.key("k"), round.to_string()).unwrap();
        let committed = t.commit().await.unwrap().unwrap();
        assert!(committed.version > last, "{committed:?} after {last:?}");
        last = committed.version;
    }
}
