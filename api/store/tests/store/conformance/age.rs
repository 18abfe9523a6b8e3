//! The age limit of a transaction, on the real clock: after 5 s it can neither read nor commit.

use std::time::Instant;

use coditect_store::limits::MAX_TRANSACTION_AGE;
use coditect_store::{Retry, StoreError, Transaction};

use super::case::{Case, until, within};

/// Reads until the transaction is too old to. Each time another key, which no cache can answer. A read that is
/// under way at that very moment may be cut off instead.
pub(super) async fn grow_too_old(c: &Case, t: &Transaction) -> StoreError {
    let mut key = 0;
    until(|| {
        key += 1;
        let key = c.key(format!("absent{key}"));
        async move { t.get_snapshot(key).await.err().filter(|error| !matches!(error, StoreError::TimedOut)) }
    })
    .await
}

pub(super) async fn a_read_past_the_age_limit_is_refused(c: Case) {
    c.put("k", "1").await;
    let t = c.begin();
    let begun = Instant::now();
    t.get(c.key("k")).await.unwrap();
    let error = grow_too_old(&c, &t).await;
    assert!(matches!(error, StoreError::TooOld), "{error:?}");
    assert_eq!(error.retry(), Retry::Safe);
    // FoundationDB counts in versions, of which there are about a million in a second.
    assert!(begun.elapsed() > MAX_TRANSACTION_AGE / 2, "too old after {:?}", begun.elapsed());
    let page = t.range(c.range("k", "l", 1)).await;
    assert!(matches!(page, Err(StoreError::TooOld)), "{page:?}");
}

pub(super) async fn a_commit_past_the_age_limit_is_refused(c: Case) {
    let late = c.begin();
    late.get(c.key("k")).await.unwrap();
    late.set(c.key("out"), "late").unwrap();
    let blind = c.begin();
    blind.set(c.key("blind"), "1").unwrap();
    // It began later: when it is too old, the other is.
    grow_too_old(&c, &c.begin()).await;
    let result = late.commit().await;
    assert!(matches!(result, Err(StoreError::TooOld)), "{result:?}");
    assert_eq!(c.value("out").await, None);
    blind.commit().await.expect("a transaction ages from its first read on");
    assert_eq!(c.value("blind").await.as_deref(), Some("1"));
}

pub(super) async fn a_commit_past_the_age_limit_is_refused_whatever_was_read(c: Case) {
    let (unchecked, own, reader) = (c.begin(), c.begin(), c.begin());
    unchecked.get_snapshot(c.key("k")).await.unwrap();
    own.set(c.key("own"), "").unwrap();
    own.get(c.key("own")).await.unwrap();
    reader.get(c.key("k")).await.unwrap();
    let watch = reader.watch(c.key("k")).await.unwrap();
    unchecked.set(c.key("unchecked"), "").unwrap();
    grow_too_old(&c, &c.begin()).await;
    for late in [unchecked, own, reader] {
        let result = late.commit().await;
        assert!(matches!(result, Err(StoreError::TooOld)), "{result:?}");
    }
    let ended = within(watch).await;
    assert!(matches!(ended, Err(StoreError::Cancelled)), "{ended:?}");
    assert_eq!((c.value("own").await, c.value("unchecked").await), (None, None));
}
