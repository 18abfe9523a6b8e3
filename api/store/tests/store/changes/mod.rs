//! The change feed.

mod replicas;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coditect_auth::SeededEntropy;
use coditect_store::changes::{Change, Followed, Follower, Position, Recorded, append, trim};
use coditect_store::{KeySpan, Keyspace, RetryPolicy, Store, StoreError};
use tokio::time::timeout;
use uuid::Uuid;

use crate::faulty::Faulty;
use crate::support::{Fixture, NOW};

const AT: i64 = NOW * 1000;
const HOUR: i64 = 3_600_000;

fn keys() -> Keyspace {
    Keyspace::new("test")
}

fn family(number: u128) -> Change {
    Change::FamilyRevoked { tenant: Uuid::nil(), family: Uuid::from_u128(number) }
}

/// Appends changes in one transaction.
async fn tell(store: &Store, at: i64, changes: &[Change]) {
    let keys = &keys();
    store
        .run(&RetryPolicy::default(), |t| async move {
            changes.iter().try_for_each(|change| append(&t, keys, at, change))
        })
        .await
        .unwrap();
}

/// What comes next, within a time that no working feed needs.
async fn next(follower: &mut Follower) -> Followed {
    timeout(Duration::from_secs(5), follower.next()).await.expect("the feed says nothing").unwrap()
}

async fn changes(follower: &mut Follower) -> Vec<Change> {
    match next(follower).await {
        Followed::Changes(changes) => changes.into_iter().map(|recorded| recorded.change).collect(),
        Followed::Reload => panic!("told to reload"),
    }
}

fn from_start(store: &Store) -> Follower {
    Follower::at(store.clone(), keys(), Position::START)
}

#[tokio::test]
async fn changes_come_in_the_order_of_their_commits_and_of_their_making() {
    let f = Fixture::new();
    let mut live = Follower::from_now(f.store.clone(), keys()).await.unwrap();
    tell(&f.store, AT, &[family(1), family(2), family(3)]).await;
    tell(&f.store, AT + 1, &[family(4)]).await;
    tell(&f.store, AT + 2, &[family(5), Change::ConfigurationChanged]).await;
    let all = [family(1), family(2), family(3), family(4), family(5), Change::ConfigurationChanged];
    assert_eq!(changes(&mut live).await, all);

    let Followed::Changes(recorded) = next(&mut from_start(&f.store)).await else { panic!() };
    assert!(recorded.is_sorted_by_key(|recorded| recorded.position));
    assert_eq!(recorded.iter().map(|r| r.at.unwrap() - AT).collect::<Vec<_>>(), [0, 0, 0, 1, 2, 2]);
    let Recorded { position, .. } = recorded[2];
    let kept = Position::from_bytes(position.to_bytes());
    assert_eq!(changes(&mut Follower::at(f.store.clone(), keys(), kept)).await, all[3..]);
}

#[tokio::test]
async fn a_change_is_told_exactly_if_its_transaction_commits() {
    let f = Fixture::new();
    let mut follower = Follower::from_now(f.store.clone(), keys()).await.unwrap();
    let dropped = f.store.begin();
    append(&dropped, &keys(), AT, &family(1)).unwrap();
    drop(dropped);
    let (one, other) = (f.store.begin(), f.store.begin());
    for t in [&one, &other] {
        t.get("k").await.unwrap();
        t.set("k", "v").unwrap();
    }
    append(&one, &keys(), AT, &family(2)).unwrap();
    append(&other, &keys(), AT, &family(3)).unwrap();
    other.commit().await.unwrap();
    assert!(matches!(one.commit().await, Err(StoreError::Conflict)));
    assert_eq!(changes(&mut follower).await, [family(3)]);
}

#[tokio::test]
async fn appending_conflicts_with_nobody() {
    let f = Fixture::new();
    let (one, other) = (f.store.begin(), f.store.begin());
    for (t, number) in [(&one, 1), (&other, 2)] {
        t.get(format!("k{number}")).await.unwrap();
        append(t, &keys(), AT, &family(number)).unwrap();
    }
    other.commit().await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(changes(&mut from_start(&f.store)).await, [family(2), family(1)]);
}

#[tokio::test]
async fn a_follower_catches_up_in_pages_and_waits_at_the_end() {
    let f = Fixture::new();
    for round in 0..4 {
        let many: Vec<_> = (0..300).map(|n| family(round * 300 + n)).collect();
        tell(&f.store, AT, &many).await;
    }
    let mut follower = from_start(&f.store);
    let mut seen = Vec::new();
    let mut pages = 0;
    while seen.len() < 1200 {
        seen.extend(changes(&mut follower).await);
        pages += 1;
    }
    assert!(pages > 1);
    assert_eq!(seen, (0..1200).map(family).collect::<Vec<_>>());
    let waiting = tokio::spawn(async move { changes(&mut follower).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    tell(&f.store, AT, &[family(7)]).await;
    assert_eq!(waiting.await.unwrap(), [family(7)]);
}

#[tokio::test]
async fn a_call_that_was_dropped_loses_nothing() {
    let f = Fixture::new();
    let mut follower = Follower::from_now(f.store.clone(), keys()).await.unwrap();
    for number in 0..20 {
        tokio::select! {
            biased;
            _ = follower.next() => panic!("nothing was told"),
            () = tokio::task::yield_now() => {}
        }
        tell(&f.store, AT, &[family(number)]).await;
        assert_eq!(changes(&mut follower).await, [family(number)]);
    }
}

#[tokio::test]
async fn old_changes_go_and_who_missed_them_reloads() {
    let f = Fixture::new();
    let mut idle = Follower::from_now(f.store.clone(), keys()).await.unwrap();
    tell(&f.store, AT, &[family(1), family(2)]).await;
    let mut current = from_start(&f.store);
    assert_eq!(changes(&mut current).await.len(), 2);
    tell(&f.store, AT + 1, &[family(3)]).await;
    tell(&f.store, AT + HOUR, &[family(4)]).await;
    let half = current.position();

    assert_eq!(trim(&f.store, &keys(), AT + HOUR).await.unwrap(), 0);
    assert_eq!(trim(&f.store, &keys(), AT + HOUR + 1).await.unwrap(), 2);
    assert_eq!(trim(&f.store, &keys(), AT + HOUR + 1).await.unwrap(), 0);
    assert_eq!(changes(&mut current).await, [family(3), family(4)], "it had seen all that went");
    assert_eq!(next(&mut idle).await, Followed::Reload);
    assert_eq!(idle.position(), current.position(), "and goes on after the newest");
    tell(&f.store, AT + HOUR, &[family(5)]).await;
    assert_eq!(changes(&mut idle).await, [family(5)]);

    assert_eq!(trim(&f.store, &keys(), AT + 3 * HOUR).await.unwrap(), 3);
    assert_eq!(next(&mut Follower::at(f.store.clone(), keys(), half)).await, Followed::Reload);
    // Who has seen all is not told to reload, although what it saw last is gone.
    tell(&f.store, AT + 3 * HOUR, &[family(6)]).await;
    assert_eq!(changes(&mut idle).await, [family(6)]);
}

#[tokio::test]
async fn many_old_changes_go_in_several_transactions() {
    let f = Fixture::new();
    for round in 0..8 {
        let many: Vec<_> = (0..400).map(|n| family(round * 400 + n)).collect();
        tell(&f.store, AT + i64::try_from(round).unwrap(), &many).await;
    }
    assert!(trim(&f.store, &keys(), AT + HOUR + 7).await.unwrap() > 2000);
    let left = f.store.scan(KeySpan { begin: vec![0], end: vec![0xff] }).rows().await.unwrap();
    assert_eq!(left.len(), 2 + 400, "head, horizon, and what is not older than an hour");
    assert_eq!(next(&mut from_start(&f.store)).await, Followed::Reload);
}

#[tokio::test]
async fn replicas_that_trim_at_once_do_not_move_the_horizon_back() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, faults) = Faulty::open(dir.path().join("s.redb"));
    let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
    for number in 0..50 {
        tell(&store, AT + i64::try_from(number).unwrap(), &[family(number)]).await;
    }
    let Followed::Changes(all) = next(&mut from_start(&store)).await else { panic!() };
    // One has decided to remove 10 changes when another removes 20.
    faults.hold.store(true, Ordering::SeqCst);
    let slow = tokio::spawn({
        let store = store.clone();
        async move { trim(&store, &keys(), AT + HOUR + 10).await }
    });
    faults.held.notified().await;
    assert_eq!(trim(&store, &keys(), AT + HOUR + 20).await.unwrap(), 20);
    faults.release.notify_one();
    assert_eq!(slow.await.unwrap().unwrap(), 0, "it found nothing left when it tried again");
    let mut between = Follower::at(store.clone(), keys(), all[15].position);
    assert_eq!(next(&mut between).await, Followed::Reload);
}

#[tokio::test]
async fn a_wrong_clock_cannot_keep_the_feed_from_being_trimmed() {
    let f = Fixture::new();
    tell(&f.store, i64::MAX, &[family(1)]).await;
    tell(&f.store, i64::MIN, &[family(2)]).await;
    tell(&f.store, AT, &[family(3)]).await;
    assert_eq!(trim(&f.store, &keys(), AT).await.unwrap(), 2);
}

#[tokio::test]
async fn an_unknown_kind_stops_nobody() {
    let f = Fixture::new();
    tell(&f.store, AT, &[family(1)]).await;
    let rows = f.store.scan(KeySpan { begin: vec![0], end: vec![0xff] }).rows().await.unwrap();
    let change = rows.iter().find(|row| row.value.starts_with(b"\x01{")).unwrap();
    for stored in ["\u{1}{\"at\":1800000000000,\"kind\":\"flag_set\"}", "\u{9}?", "", "\u{1}{\"at\":\"x\"}"] {
        let t = f.store.begin();
        t.set(change.key.clone(), stored).unwrap();
        t.commit().await.unwrap();
        tell(&f.store, AT, &[family(2)]).await;
        let seen = changes(&mut from_start(&f.store)).await;
        assert_eq!(seen[..2], [Change::Unknown, family(2)], "{stored}");
    }
    assert_eq!(trim(&f.store, &keys(), AT + 2 * HOUR).await.unwrap(), 5);
}

#[tokio::test]
async fn a_position_of_another_store_means_reload() {
    let f = Fixture::new();
    let ahead = Position::from_bytes([0x7f; 12]);
    let mut follower = Follower::at(f.store.clone(), keys(), ahead);
    assert_eq!(next(&mut follower).await, Followed::Reload);
    tell(&f.store, AT, &[family(1)]).await;
    assert_eq!(changes(&mut follower).await, [family(1)]);
}

#[tokio::test]
async fn a_change_whose_watch_was_lost_is_found_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, faults) = Faulty::open(dir.path().join("s.redb"));
    faults.deaf.store(true, Ordering::SeqCst);
    let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
    let follower = Follower::from_now(store.clone(), keys()).await.unwrap();
    let mut follower = follower.polling(Duration::from_millis(20));
    let waiting = tokio::spawn(async move { changes(&mut follower).await });
    tokio::task::yield_now().await;
    tell(&store, AT, &[family(1)]).await;
    assert_eq!(waiting.await.unwrap(), [family(1)]);
}

#[tokio::test]
async fn a_follower_goes_on_after_the_store_was_away_and_ends_when_it_closes() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, faults) = Faulty::open(dir.path().join("s.redb"));
    let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
    let mut follower = Follower::from_now(store.clone(), keys()).await.unwrap();
    faults.down.store(true, Ordering::SeqCst);
    assert!(follower.next().await.is_err());
    faults.down.store(false, Ordering::SeqCst);
    tell(&store, AT, &[family(1)]).await;
    assert_eq!(changes(&mut follower).await, [family(1)]);
    let waiting = tokio::spawn(async move { follower.next().await });
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    let ended = timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert!(matches!(ended, Err(StoreError::Closed)), "{ended:?}");
}
