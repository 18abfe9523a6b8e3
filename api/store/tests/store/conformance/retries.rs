//! The retry loop, over conflicts that really happen.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coditect_store::{RetryPolicy, Store, StoreError};

use super::case::{Case, text};

/// Commits a value from outside the transaction at hand.
async fn interfere(store: &Store, key: Vec<u8>) -> Result<(), StoreError> {
    let t = store.begin();
    t.set(key, "other")?;
    t.commit().await.map(|_| ())
}

pub(super) async fn a_conflict_is_retried_until_it_commits(c: Case) {
    let attempts = AtomicU32::new(0);
    let (c, attempts) = (&c, &attempts);
    let value: Result<u32, StoreError> = c
        .store
        .run(&RetryPolicy::default(), |t| async move {
            let attempt = attempts.fetch_add(1, Ordering::SeqCst);
            t.get(c.key("k")).await?;
            if attempt < 3 {
                interfere(&c.store, c.key("k")).await?;
            }
            t.set(c.key("k"), "mine")?;
            Ok(attempt)
        })
        .await;
    assert_eq!(value.unwrap(), 3, "the value of the attempt that committed");
    assert_eq!(c.value("k").await.as_deref(), Some("mine"));
}

pub(super) async fn attempts_are_bounded_and_the_last_reason_is_kept(c: Case) {
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let attempts = AtomicU32::new(0);
    let (c, attempts) = (&c, &attempts);
    let result: Result<(), StoreError> = c
        .store
        .run(&policy, |t| async move {
            attempts.fetch_add(1, Ordering::SeqCst);
            t.get(c.key("k")).await?;
            interfere(&c.store, c.key("k")).await?;
            t.set(c.key("k"), "mine")
        })
        .await;
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    let error = result.unwrap_err();
    assert!(
        matches!(&error, StoreError::Exhausted { attempts: 3, last } if matches!(**last, StoreError::Conflict)),
        "{error:?}"
    );
}

pub(super) async fn an_error_of_the_closure_stops_and_commits_nothing(c: Case) {
    let reason = StoreError::Orphan { family: "test" };
    let result: Result<(), StoreError> = c
        .store
        .run(&RetryPolicy::default(), |t| {
            let (written, reason) = (t.set(c.key("k"), "v"), reason.clone());
            async move { written.and(Err(reason)) }
        })
        .await;
    assert!(matches!(result, Err(StoreError::Orphan { .. })), "{result:?}");
    assert_eq!(c.value("k").await, None);
}

pub(super) async fn sixteen_tasks_count_without_losing_one(c: Case) {
    const TASKS: u64 = 16;
    const EACH: u64 = 15;
    let policy =
        RetryPolicy { max_attempts: u32::MAX, max_time: Duration::from_secs(60), ..RetryPolicy::default() };
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, policy, key) = (c.store.clone(), policy.clone(), c.key("n"));
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let key = &key;
                    let counted: Result<(), StoreError> = store
                        .run(&policy, |t| async move {
                            let n = text(t.get(key).await?).map_or(0, |n| n.parse().unwrap());
                            t.set(key.clone(), (n + 1_u64).to_string())
                        })
                        .await;
                    counted.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(c.value("n").await.unwrap(), (TASKS * EACH).to_string());
}
