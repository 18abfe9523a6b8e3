//! Reading ranges: own writes over stored rows, bounds, limits, pages, direction.

use coditect_store::contract::RangeRead;
use coditect_store::{StoreError, Transaction};

use super::case::Case;

pub(super) async fn own_writes_lie_over_stored_rows_in_both_directions(c: Case) {
    for key in ["a", "b", "c", "d", "e", "f"] {
        c.put(key, "old").await;
    }
    let t = c.begin();
    t.clear_range(c.key("b"), c.key("e")).unwrap();
    t.set(c.key("c"), "new").unwrap();
    t.set(c.key("cc"), "new").unwrap();
    t.clear(c.key("f")).unwrap();
    t.set(c.key("e"), "new").unwrap();
    let all = c.range("a", "z", 99);
    assert_eq!(c.names(&t, all.clone()).await, ["a", "c", "cc", "e"]);
    assert_eq!(c.names(&t, all.clone().reversed()).await, ["e", "cc", "c", "a"]);
    assert_eq!(c.names(&t, all.clone().snapshot()).await, ["a", "c", "cc", "e"]);
    let values: Vec<_> = t.range(all.clone()).await.unwrap().rows.into_iter().map(|row| row.value).collect();
    assert_eq!(values, ["old", "new", "new", "new"]);
    t.commit().await.unwrap();
    assert_eq!(c.names(&c.begin(), all).await, ["a", "c", "cc", "e"]);
}

pub(super) async fn a_range_begins_with_its_begin_and_ends_before_its_end(c: Case) {
    for key in ["a", "b", "c"] {
        c.put(key, "").await;
    }
    let t = c.begin();
    t.set(c.key("d"), "").unwrap();
    for reverse in [false, true] {
        for (begin, end, expected) in [
            ("a", "c", &["a", "b"][..]),
            ("b", "d", &["b", "c"]),
            ("aa", "d\0", &["b", "c", "d"]),
            ("d", "e", &["d"]),
            ("c\0", "d", &[]),
        ] {
            let mut read = c.range(begin, end, 99);
            read.reverse = reverse;
            let mut names = c.names(&t, read).await;
            if reverse {
                names.reverse();
            }
            assert_eq!(names, expected, "{begin:?} to {end:?}, reverse: {reverse}");
        }
    }
}

pub(super) async fn keys_are_ordered_as_bytes(c: Case) {
    let ordered: [&[u8]; 8] = [b"a", b"a\0", b"a\0\0", b"a\x01", b"aa", b"b", b"\x7f", b"\xfe\xff"];
    let t = c.begin();
    for key in [3, 7, 0, 5, 1, 6, 4, 2] {
        if key % 2 == 0 {
            t.set(c.key(ordered[key]), "").unwrap();
        } else {
            c.put(ordered[key], "").await;
        }
    }
    let span = c.span();
    let page = t.range(RangeRead::new(span.begin.clone(), span.end.clone(), 99)).await.unwrap();
    let found: Vec<_> = page.rows.into_iter().map(|row| row.key).collect();
    assert_eq!(found, ordered.map(|key| c.key(key)), "own and stored rows");
    t.commit().await.unwrap();
    let page = c.begin().range(RangeRead::new(span.begin, span.end, 99).reversed()).await.unwrap();
    let mut found: Vec<_> = page.rows.into_iter().map(|row| row.key).collect();
    found.reverse();
    assert_eq!(found, ordered.map(|key| c.key(key)), "stored rows");
}

pub(super) async fn an_empty_range_has_no_rows(c: Case) {
    c.put("k", "").await;
    let t = c.begin();
    for (begin, end) in [("k", "k"), ("l", "m"), ("a", "b")] {
        for read in [c.range(begin, end, 5), c.range(begin, end, 5).reversed()] {
            let page = t.range(read).await.unwrap();
            assert!(page.rows.is_empty() && !page.more, "{begin} to {end}");
        }
    }
}

pub(super) async fn limits_count_own_and_stored_rows(c: Case) {
    for key in ["a", "c", "e", "g"] {
        c.put(key, "old").await;
    }
    let t = c.begin();
    for key in ["b", "d", "f"] {
        t.set(c.key(key), "new").unwrap();
    }
    t.clear(c.key("c")).unwrap();
    let all = ["a", "b", "d", "e", "f", "g"];
    for limit in 1..=all.len() {
        let read = c.range("a", "z", limit);
        assert_eq!(c.names(&t, read.clone()).await, all[..limit], "the first {limit}");
        let mut last = c.names(&t, read.reversed()).await;
        last.reverse();
        assert_eq!(last, all[all.len() - limit..], "the last {limit}");
        let page = t.range(c.range("a", "z", limit)).await.unwrap();
        assert!(page.more || limit == all.len(), "rows follow the first {limit}");
    }
}

pub(super) async fn pages_of_any_limit_can_be_continued(c: Case) {
    let t = c.begin();
    for i in 0..20 {
        t.set(c.key(format!("k{i:02}")), "").unwrap();
    }
    t.commit().await.unwrap();
    let expected: Vec<_> = (0..20).map(|i| format!("k{i:02}")).collect();
    for limit in [1, 3, 10, 20, 21] {
        for reverse in [false, true] {
            let t = c.begin();
            t.set(c.key("k05"), "own").unwrap();
            let mut read = c.range("k", "l", limit);
            read.reverse = reverse;
            let (names, _) = read_on(&c, &t, read).await.unwrap();
            assert_eq!(names, expected, "limit {limit}, reverse: {reverse}");
        }
    }
}

pub(super) async fn a_large_range_comes_in_pages(c: Case) {
    const ROWS: usize = 40;
    let value = vec![b'x'; 90_000];
    for i in 0..ROWS {
        c.put(format!("k{i:02}"), value.clone()).await;
    }
    let expected: Vec<_> = (0..ROWS).map(|i| format!("k{i:02}")).collect();
    for reverse in [false, true] {
        let mut read = c.range("k", "l", 1000);
        read.reverse = reverse;
        let (names, pages) = read_on(&c, &c.begin(), read).await.unwrap();
        assert_eq!(names, expected, "reverse: {reverse}");
        assert!(pages > 1, "3.6 MB came in one page");
    }
}

/// Reads a range page by page; returns the names in ascending order and the number of pages.
async fn read_on(c: &Case, t: &Transaction, mut read: RangeRead) -> Result<(Vec<String>, usize), StoreError> {
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let page = t.range(read.clone()).await?;
        pages += 1;
        assert!(page.rows.len() <= read.limit);
        names.extend(page.rows.iter().map(|row| c.name(&row.key)));
        if !page.more {
            break;
        }
        let last = page.rows.last().expect("a page that has a next one has rows").key.clone();
        if read.reverse {
            read.end = last;
        } else {
            read.begin = [last.as_slice(), b"\0"].concat();
        }
    }
    if read.reverse {
        names.reverse();
    }
    Ok((names, pages))
}

pub(super) async fn a_long_cleared_stretch_is_passed_over(c: Case) {
    let t = c.begin();
    for i in 0..3000 {
        t.set(c.key(format!("k{i:04}")), "").unwrap();
    }
    t.commit().await.unwrap();
    let t = c.begin();
    t.clear_range(c.key("k0001"), c.key("k2999")).unwrap();
    t.clear(c.key("k0000")).unwrap();
    assert_eq!(c.names(&t, c.range("k", "l", 1)).await, ["k2999"]);
    t.set(c.key("k0000"), "").unwrap();
    t.clear(c.key("k2999")).unwrap();
    assert_eq!(c.names(&t, c.range("k", "l", 1).reversed()).await, ["k0000"]);
}

pub(super) async fn a_range_may_end_where_the_reserved_keys_begin(c: Case) {
    c.put("k", "").await;
    let page = c.begin().range(RangeRead::new(c.key("k"), [0xff], 1)).await.unwrap();
    assert_eq!(page.rows[0].key, c.key("k"));
    c.begin().add_read_conflict(&c.key("k"), &[0xff]).unwrap();
}
