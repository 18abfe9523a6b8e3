//! An open store, and one that was closed.

use coditect_store::StoreError;

use super::case::{Case, within};

pub(super) async fn an_open_store_answers_a_ping(c: Case) {
    c.store.ping().await.unwrap();
    c.put("k", "1").await;
    c.store.ping().await.unwrap();
}

pub(super) async fn a_closed_store_refuses_work(c: Case) {
    c.put("k", "1").await;
    let t = c.begin();
    t.set(c.key("k"), "2").unwrap();
    let read = c.begin();
    let watch = read.watch(c.key("k")).await.unwrap();
    read.commit().await.unwrap();
    let reader = c.begin();
    reader.get(c.key("k")).await.unwrap();
    within(c.store.close()).await.unwrap();
    let found = reader.get(c.key("k")).await;
    assert!(matches!(found, Err(StoreError::Closed)), "it had read before: {found:?}");
    assert!(matches!(c.store.ping().await, Err(StoreError::Closed)));
    assert!(matches!(c.begin().get(c.key("k")).await, Err(StoreError::Closed)));
    assert!(matches!(c.begin().read_version().await, Err(StoreError::Closed)));
    let committed = t.commit().await;
    assert!(matches!(committed, Err(StoreError::Closed)), "{committed:?}");
    let ended = within(watch).await;
    assert!(matches!(ended, Err(StoreError::Closed)), "{ended:?}");
    within(c.store.close()).await.expect("closing again does nothing");
}
