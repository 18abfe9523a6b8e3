//! Watches: what must resolve them and what must end them. They may resolve without a change, so no case says
//! that one stays silent.

use coditect_store::StoreError;
use coditect_store::contract::Watch;

use super::case::{Case, assert_conflict, text, within};

impl Case {
    /// Watches a key from now on.
    async fn watch(&self, name: &str) -> Watch {
        let t = self.begin();
        let watch = t.watch(self.key(name)).await.unwrap();
        assert_eq!(t.commit().await.unwrap(), None);
        watch
    }
}

pub(super) async fn a_change_resolves_a_watch(c: Case) {
    c.put("k", "1").await;
    let watch = c.watch("k").await;
    c.put("k", "2").await;
    within(watch).await.unwrap();
}

pub(super) async fn a_clear_resolves_a_watch(c: Case) {
    for range in [false, true] {
        c.put("k", "1").await;
        let watch = c.watch("k").await;
        c.write(|t| if range { t.clear_range(c.key("a"), c.key("z")) } else { t.clear(c.key("k")) }).await;
        within(watch).await.unwrap();
    }
}

pub(super) async fn an_operation_resolves_a_watch(c: Case) {
    c.put("k", "1").await;
    let watch = c.watch("k").await;
    let t = c.begin();
    t.add(c.key("k"), 1).unwrap();
    t.commit().await.unwrap();
    within(watch).await.unwrap();
}

pub(super) async fn the_making_of_a_key_resolves_a_watch(c: Case) {
    let watch = c.watch("k").await;
    c.put("k", "").await;
    within(watch).await.unwrap();
}

pub(super) async fn a_watch_begins_without_writes_too(c: Case) {
    for writes in [false, true] {
        let t = c.begin();
        let watch = t.watch(c.key("k")).await.unwrap();
        if writes {
            t.set(c.key("other"), "").unwrap();
        }
        assert_eq!(t.commit().await.unwrap().is_some(), writes);
        c.put("k", if writes { "2" } else { "1" }).await;
        within(watch).await.unwrap();
    }
}

pub(super) async fn a_watch_sees_the_writes_of_its_transaction(c: Case) {
    c.put("k", "old").await;
    let t = c.begin();
    t.set(c.key("k"), "mine").unwrap();
    let watch = t.watch(c.key("k")).await.unwrap();
    t.commit().await.unwrap();
    // Back to what was stored before, which is another value than the watch saw.
    c.put("k", "old").await;
    within(watch).await.unwrap();
}

pub(super) async fn a_later_write_of_its_own_transaction_resolves_a_watch(c: Case) {
    c.put("k", "old").await;
    let t = c.begin();
    let watch = t.watch(c.key("k")).await.unwrap();
    t.set(c.key("k"), "mine").unwrap();
    t.commit().await.unwrap();
    within(watch).await.unwrap();
}

pub(super) async fn a_change_before_the_commit_resolves_a_watch(c: Case) {
    let t = c.begin();
    let watch = t.watch(c.key("k")).await.unwrap();
    c.put("k", "1").await;
    t.commit().await.unwrap();
    within(watch).await.unwrap();
}

pub(super) async fn a_watch_of_a_dropped_transaction_is_cancelled(c: Case) {
    let t = c.begin();
    let watch = t.watch(c.key("k")).await.unwrap();
    drop(t);
    let ended = within(watch).await;
    assert!(matches!(ended, Err(StoreError::Cancelled)), "{ended:?}");
}

pub(super) async fn a_watch_of_a_refused_transaction_is_cancelled(c: Case) {
    let t = c.begin();
    let watch = t.watch(c.key("k")).await.unwrap();
    t.get(c.key("read")).await.unwrap();
    t.set(c.key("out"), "").unwrap();
    c.put("read", "1").await;
    assert_conflict(t.commit().await);
    let ended = within(watch).await;
    assert!(matches!(ended, Err(StoreError::Cancelled)), "{ended:?}");
}

pub(super) async fn a_watch_counts_as_a_read(c: Case) {
    let t = c.begin();
    let watch = t.watch(c.key("k")).await.unwrap();
    t.set(c.key("out"), "").unwrap();
    c.put("k", "1").await;
    assert_conflict(t.commit().await);
    drop(watch);
}

pub(super) async fn many_watches_of_one_key_all_resolve(c: Case) {
    let mut watches = Vec::new();
    for _ in 0..50 {
        watches.push(c.watch("k").await);
    }
    drop(watches.split_off(40));
    c.put("k", "1").await;
    for ended in within(futures::future::join_all(watches)).await {
        ended.unwrap();
    }
}

pub(super) async fn a_watch_outlives_its_transaction(c: Case) {
    let t = c.begin();
    let watch = t.watch(c.key("k")).await.unwrap();
    t.commit().await.unwrap();
    drop(t);
    for other in 0..10 {
        c.put(format!("other{other}"), "").await;
    }
    c.put("k", "1").await;
    within(watch).await.unwrap();
}

/// How a watch is meant to be used: read, watch in the same transaction, wait, again.
pub(super) async fn a_watch_set_again_misses_no_change(c: Case) {
    const LAST: u32 = 40;
    let writer = async {
        for n in 1..=LAST {
            c.put("n", n.to_string()).await;
        }
    };
    let reader = async {
        let mut last = 0;
        while last < LAST {
            let t = c.begin();
            let found = text(t.get(c.key("n")).await.unwrap());
            let found = found.map_or(0, |n| n.parse().unwrap());
            assert!(found >= last, "time went back from {last} to {found}");
            last = found;
            let watch = t.watch(c.key("n")).await.unwrap();
            t.commit().await.unwrap();
            if last < LAST {
                within(watch).await.unwrap();
            }
        }
    };
    tokio::join!(writer, reader);
}
