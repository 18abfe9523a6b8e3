//! Reading: a transaction's own writes, ranges over them, pages, direction.

use std::time::Duration;

use coditect_store::KeySpan;
use coditect_store::contract::RangeRead;

use crate::support::{Fixture, keys, put, text};

#[tokio::test]
async fn own_writes_are_read_back() {
    let f = Fixture::new();
    put(&f.store, "a", "old").await;
    put(&f.store, "b", "old").await;
    let t = f.store.begin();
    t.set("a", "new").unwrap();
    t.clear("b").unwrap();
    t.set("c", "new").unwrap();
    assert_eq!(text(t.get("a").await.unwrap()).as_deref(), Some("new"));
    assert_eq!(t.get("b").await.unwrap(), None);
    assert_eq!(text(t.get_snapshot("c").await.unwrap()).as_deref(), Some("new"));
    drop(t);
    let later = f.store.begin();
    assert_eq!(text(later.get("a").await.unwrap()).as_deref(), Some("old"), "nothing was committed");
}

#[tokio::test]
async fn ranges_show_own_writes_over_cleared_keys_in_both_directions() {
    let f = Fixture::new();
    for key in ["a", "b", "c", "d", "e", "f"] {
        put(&f.store, key, "old").await;
    }
    let t = f.store.begin();
    t.clear_range("b", "e").unwrap();
    t.set("c", "new").unwrap();
    t.set("cc", "new").unwrap();
    t.clear("f").unwrap();
    t.set("e", "new").unwrap();
    assert_eq!(keys(&t, RangeRead::new("a", "z", 99)).await, ["a", "c", "cc", "e"]);
    assert_eq!(keys(&t, RangeRead::new("a", "z", 99).reversed()).await, ["e", "cc", "c", "a"]);
    assert_eq!(keys(&t, RangeRead::new("a", "z", 2)).await, ["a", "c"]);
    assert_eq!(keys(&t, RangeRead::new("a", "z", 2).reversed()).await, ["e", "cc"]);
    assert_eq!(keys(&t, RangeRead::new("b", "c", 99)).await, [""; 0], "the end is exclusive");
    t.commit().await.unwrap();
    let after = f.store.begin();
    assert_eq!(keys(&after, RangeRead::new("a", "z", 99)).await, ["a", "c", "cc", "e"]);
}

#[tokio::test]
async fn a_large_range_comes_in_pages_that_can_be_continued() {
    let f = Fixture::new();
    let value = vec![b'x'; 90_000];
    for i in 0..30 {
        let t = f.store.begin();
        t.set(format!("k{i:02}"), value.clone()).unwrap();
        t.commit().await.unwrap();
    }
    let t = f.store.begin();
    let mut read = RangeRead::new("k", "l", 1000);
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let page = t.range(read.clone()).await.unwrap();
        pages += 1;
        seen.extend(page.rows.into_iter().map(|row| row.key));
        if !page.more {
            break;
        }
        read.begin = seen.last().unwrap().clone();
        read.begin.push(0);
    }
    assert!(pages >= 3, "2.7 MB came in {pages} pages");
    let expected: Vec<Vec<u8>> = (0..30).map(|i| format!("k{i:02}").into_bytes()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_empty_range_is_empty_and_values_may_be_empty() {
    let f = Fixture::new();
    put(&f.store, "k", "").await;
    let t = f.store.begin();
    assert_eq!(text(t.get("k").await.unwrap()).as_deref(), Some(""));
    let page = t.range(RangeRead::new("k", "k", 5)).await.unwrap();
    assert!(page.rows.is_empty() && !page.more);
}

#[tokio::test]
async fn a_scan_goes_on_where_a_transaction_has_grown_too_old() {
    let f = Fixture::new();
    let t = f.store.begin();
    for i in 0..2500 {
        t.set(format!("row/{i:05}"), "").unwrap();
    }
    t.commit().await.unwrap();
    let span = || KeySpan { begin: b"row/".to_vec(), end: b"row0".to_vec() };
    for reverse in [false, true] {
        let mut scan = if reverse { f.store.scan_reversed(span()) } else { f.store.scan(span()) };
        let mut rows = scan.next_page().await.unwrap().unwrap();
        f.clock.advance(Duration::from_secs(6));
        while let Some(page) = scan.next_page().await.unwrap() {
            rows.extend(page);
        }
        assert_eq!(scan.snapshots(), 2);
        if reverse {
            rows.reverse();
        }
        let expected: Vec<_> = (0..2500).map(|i| format!("row/{i:05}").into_bytes()).collect();
        assert_eq!(rows.into_iter().map(|row| row.key).collect::<Vec<_>>(), expected);
    }
}
