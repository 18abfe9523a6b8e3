//! Scans: ranges of any length, also past the age of one transaction.

use super::age::grow_too_old;
use super::case::Case;

/// More than two pages of rows, in key order.
async fn store_rows(c: &Case) -> Vec<String> {
    let names: Vec<_> = (0..2500).map(|i| format!("row{i:05}")).collect();
    let t = c.begin();
    for name in &names {
        t.set(c.key(name), "").unwrap();
    }
    t.commit().await.unwrap();
    names
}

pub(super) async fn a_scan_returns_every_row_once_in_both_directions(c: Case) {
    let expected = store_rows(&c).await;
    let forward = c.store.scan(c.span()).rows().await.unwrap();
    assert_eq!(forward.iter().map(|row| c.name(&row.key)).collect::<Vec<_>>(), expected);
    let back = c.store.scan_reversed(c.span()).rows().await.unwrap();
    assert_eq!(back.iter().rev().map(|row| c.name(&row.key)).collect::<Vec<_>>(), expected);
}

pub(super) async fn a_scan_of_nothing_ends_at_once(c: Case) {
    let mut scan = c.store.scan(c.span());
    assert!(scan.next_page().await.unwrap().is_none());
    assert!(scan.next_page().await.unwrap().is_none());
    assert!(c.store.scan_reversed(c.span()).rows().await.unwrap().is_empty());
}

pub(super) async fn a_scan_goes_on_past_the_age_of_a_transaction(c: Case) {
    let expected = store_rows(&c).await;
    let mut forward = c.store.scan(c.span());
    let mut back = c.store.scan_reversed(c.span());
    let mut rows = forward.next_page().await.unwrap().unwrap();
    let mut rows_back = back.next_page().await.unwrap().unwrap();
    assert_eq!((forward.snapshots(), back.snapshots()), (1, 1));
    grow_too_old(&c, &c.begin()).await;
    // Behind both scans, and between them: only what is ahead may be seen.
    c.put("row00000+", "").await;
    c.put("row02499+", "").await;
    c.write(|t| t.clear(c.key("row01250"))).await;
    while let Some(page) = forward.next_page().await.unwrap() {
        rows.extend(page);
    }
    while let Some(page) = back.next_page().await.unwrap() {
        rows_back.extend(page);
    }
    assert!(forward.snapshots() > 1 && back.snapshots() > 1);
    let names = |rows: &[coditect_store::contract::Row]| -> Vec<String> {
        let old = rows.iter().map(|row| c.name(&row.key)).filter(|name| !name.ends_with('+'));
        old.collect()
    };
    let left: Vec<_> = expected.into_iter().filter(|name| name != "row01250").collect();
    assert_eq!(names(&rows), left);
    rows_back.reverse();
    assert_eq!(names(&rows_back), left);
}
