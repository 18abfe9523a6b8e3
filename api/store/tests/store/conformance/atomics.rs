//! Atomic mutations: what they do to a value, in which order, and that they do not read it.

use bytes::Bytes;
use coditect_store::contract::AtomicOp::{self, Add, CompareAndClear, Max, Min};
use coditect_store::contract::{Mutation, VERSIONSTAMP_BYTES};

use super::case::{Case, assert_conflict};

/// Operation, stored value, operand, result.
type Rule = (AtomicOp, Option<&'static [u8]>, &'static [u8], Option<&'static [u8]>);

/// Numbers are little-endian and as wide as the operand.
const RULES: [Rule; 29] = [
    (Add, None, b"\x02\x00", Some(b"\x02\x00")),
    (Add, Some(b"\xff\x00"), b"\x01\x00", Some(b"\x00\x01")),
    (Add, Some(b"\xff\xff"), b"\x01\x00", Some(b"\x00\x00")),
    (Add, Some(b"\xff\xff"), b"\xff\xff", Some(b"\xfe\xff")),
    (Add, Some(b"\x05"), b"\x01\x00\x00", Some(b"\x06\x00\x00")),
    (Add, Some(b"\xff"), b"\x01\x00\x00", Some(b"\x00\x01\x00")),
    (Add, Some(b"\xff\x07\x09"), b"\x01", Some(b"\x00")),
    (Add, Some(b""), b"\x01", Some(b"\x01")),
    (Add, Some(b"\x01"), b"", Some(b"")),
    (Max, None, b"\x00", Some(b"\x00")),
    (Max, Some(b"\x00\x01"), b"\xff\x00", Some(b"\x00\x01")),
    (Max, Some(b"\xff\x00"), b"\x00\x01", Some(b"\x00\x01")),
    (Max, Some(b"\x05"), b"\x03\x00", Some(b"\x05\x00")),
    (Max, Some(b"\x02\x09"), b"\x01", Some(b"\x02")),
    (Max, Some(b"\x01\x09"), b"\x02", Some(b"\x02")),
    (Max, Some(b""), b"\x00", Some(b"\x00")),
    (Max, Some(b"\x09"), b"", Some(b"")),
    (Min, None, b"\x07", Some(b"\x07")),
    (Min, Some(b"\x00\x01"), b"\xff\x00", Some(b"\xff\x00")),
    (Min, Some(b"\xff\x00"), b"\x00\x01", Some(b"\xff\x00")),
    (Min, Some(b"\x05"), b"\x03\x01", Some(b"\x05\x00")),
    (Min, Some(b"\x05\x09"), b"\x06", Some(b"\x05")),
    (Min, Some(b""), b"\x01", Some(b"\x00")),
    (Min, Some(b"\x03"), b"", Some(b"")),
    (CompareAndClear, Some(b"ab"), b"ab", None),
    (CompareAndClear, Some(b"ab"), b"a", Some(b"ab")),
    (CompareAndClear, Some(b"a"), b"a\0", Some(b"a")),
    (CompareAndClear, Some(b""), b"", None),
    (CompareAndClear, None, b"", None),
];

fn operand(bytes: &'static [u8]) -> Bytes {
    Bytes::from_static(bytes)
}

/// Stores what each rule starts from.
async fn store_values(c: &Case) {
    let t = c.begin();
    for (n, (_, stored, ..)) in RULES.into_iter().enumerate() {
        if let Some(stored) = stored {
            t.set(c.key(format!("{n:02}")), stored).unwrap();
        }
    }
    t.commit().await.unwrap();
}

/// Checks what each rule has come to.
async fn assert_results(c: &Case) {
    for (n, (op, stored, by, expected)) in RULES.into_iter().enumerate() {
        let found = c.bytes(format!("{n:02}")).await;
        assert_eq!(found.as_deref(), expected, "{op:?} of {stored:?} and {by:?}");
    }
}

pub(super) async fn every_operation_on_stored_values(c: Case) {
    store_values(&c).await;
    let t = c.begin();
    for (n, (op, _, by, _)) in RULES.into_iter().enumerate() {
        t.atomic(op, c.key(format!("{n:02}")), by).unwrap();
    }
    t.commit().await.unwrap();
    assert_results(&c).await;
}

pub(super) async fn every_operation_on_values_of_the_same_transaction(c: Case) {
    let t = c.begin();
    for (n, (op, stored, by, expected)) in RULES.into_iter().enumerate() {
        let key = c.key(format!("{n:02}"));
        match stored {
            Some(stored) => t.set(key.clone(), stored).unwrap(),
            None => t.clear(key.clone()).unwrap(),
        }
        t.atomic(op, key.clone(), by).unwrap();
        let found = t.get(key).await.unwrap();
        assert_eq!(found.as_deref(), expected, "{op:?} of {stored:?} and {by:?}");
    }
    t.commit().await.unwrap();
    assert_results(&c).await;
}

pub(super) async fn every_operation_is_read_back_before_the_commit(c: Case) {
    store_values(&c).await;
    let t = c.begin();
    for (n, (op, stored, by, expected)) in RULES.into_iter().enumerate() {
        let key = c.key(format!("{n:02}"));
        if n % 2 == 0 {
            // Whether the stored value was read before must make no difference.
            assert_eq!(t.get(&key).await.unwrap().as_deref(), stored);
        }
        t.atomic(op, key.clone(), by).unwrap();
        let found = t.get(&key).await.unwrap();
        assert_eq!(found.as_deref(), expected, "{op:?} of {stored:?} and {by:?}");
        let found = t.get_snapshot(&key).await.unwrap();
        assert_eq!(found.as_deref(), expected, "snapshot read: {op:?} of {stored:?} and {by:?}");
    }
    let rows = t.range(c.range("", "a", 99)).await.unwrap().rows;
    let present: Vec<_> = RULES.into_iter().filter_map(|(.., expected)| expected).collect();
    assert_eq!(rows.iter().map(|row| row.value.as_ref()).collect::<Vec<_>>(), present);
}

pub(super) async fn operations_on_one_key_apply_in_order(c: Case) {
    c.put("mixed", operand(b"\x05")).await;
    c.put("cleared", operand(b"\x05")).await;
    let t = c.begin();
    for (op, by) in [(Add, b"\x03"), (Max, b"\x07"), (Add, b"\x01"), (Min, b"\x08"), (Add, b"\x02")] {
        t.atomic(op, c.key("mixed"), by.as_slice()).unwrap();
    }
    for (op, by) in [(Add, b"\x01"), (CompareAndClear, b"\x06"), (Add, b"\x09")] {
        t.atomic(op, c.key("cleared"), by.as_slice()).unwrap();
    }
    assert_eq!(t.get_snapshot(c.key("mixed")).await.unwrap().as_deref(), Some(b"\x0a".as_slice()));
    assert_eq!(t.get_snapshot(c.key("cleared")).await.unwrap().as_deref(), Some(b"\x09".as_slice()));
    t.commit().await.unwrap();
    assert_eq!(c.bytes("mixed").await.as_deref(), Some(b"\x0a".as_slice()));
    assert_eq!(c.bytes("cleared").await.as_deref(), Some(b"\x09".as_slice()));
}

pub(super) async fn an_operation_after_a_clear_finds_nothing(c: Case) {
    c.put("a", operand(b"\x05")).await;
    c.put("b", operand(b"\x05")).await;
    c.put("c", operand(b"\x05")).await;
    let t = c.begin();
    t.clear(c.key("a")).unwrap();
    t.atomic(Add, c.key("a"), operand(b"\x01")).unwrap();
    t.clear_range(c.key("b"), c.key("c")).unwrap();
    t.atomic(Min, c.key("b"), operand(b"\x09")).unwrap();
    t.clear_range(c.key("c"), c.key("d")).unwrap();
    t.atomic(CompareAndClear, c.key("c"), operand(b"\x05")).unwrap();
    let names = c.names(&t, c.range("a", "z", 9)).await;
    assert_eq!(names, ["a", "b"]);
    t.commit().await.unwrap();
    assert_eq!(c.bytes("a").await.as_deref(), Some(b"\x01".as_slice()));
    assert_eq!(c.bytes("b").await.as_deref(), Some(b"\x09".as_slice()));
    assert_eq!(c.bytes("c").await, None);
}

pub(super) async fn a_set_after_an_operation_wins(c: Case) {
    c.put("a", operand(b"\x05")).await;
    let t = c.begin();
    t.atomic(Add, c.key("a"), operand(b"\x01")).unwrap();
    t.set(c.key("a"), operand(b"\x63")).unwrap();
    t.atomic(Add, c.key("b"), operand(b"\x01")).unwrap();
    t.clear(c.key("b")).unwrap();
    assert_eq!(t.get(c.key("a")).await.unwrap().as_deref(), Some(b"\x63".as_slice()));
    assert_eq!(t.get(c.key("b")).await.unwrap(), None);
    t.commit().await.unwrap();
    assert_eq!(c.bytes("a").await.as_deref(), Some(b"\x63".as_slice()));
    assert_eq!(c.bytes("b").await, None);
}

pub(super) async fn ranges_show_pending_operations_in_both_directions(c: Case) {
    for key in ["b", "d", "f"] {
        c.put(key, operand(b"\x05")).await;
    }
    let t = c.begin();
    t.atomic(Add, c.key("a"), operand(b"\x01")).unwrap();
    t.atomic(Add, c.key("b"), operand(b"\x01")).unwrap();
    t.atomic(CompareAndClear, c.key("d"), operand(b"\x05")).unwrap();
    t.atomic(CompareAndClear, c.key("e"), operand(b"\x05")).unwrap();
    t.atomic(CompareAndClear, c.key("f"), operand(b"\x06")).unwrap();
    t.atomic(Max, c.key("g"), operand(b"\x07")).unwrap();
    let expected: [(&str, &[u8]); 4] = [("a", b"\x01"), ("b", b"\x06"), ("f", b"\x05"), ("g", b"\x07")];
    for limit in 1..=5 {
        for reverse in [false, true] {
            let mut read = c.range("a", "z", limit);
            read.reverse = reverse;
            let rows = t.range(read).await.unwrap().rows;
            let found: Vec<_> = rows.iter().map(|row| (c.name(&row.key), row.value.to_vec())).collect();
            let mut wanted: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_vec())).into();
            if reverse {
                wanted.reverse();
            }
            wanted.truncate(limit);
            assert_eq!(found, wanted, "limit {limit}, reverse: {reverse}");
        }
    }
}

pub(super) async fn a_pending_compare_and_clear_takes_its_row_out_of_a_limited_range(c: Case) {
    for key in ["a", "b", "c", "d", "e"] {
        c.put(key, operand(b"\x05")).await;
    }
    let t = c.begin();
    for key in ["a", "b", "e"] {
        t.atomic(CompareAndClear, c.key(key), operand(b"\x05")).unwrap();
    }
    assert_eq!(c.names(&t, c.range("a", "z", 1)).await, ["c"]);
    assert_eq!(c.names(&t, c.range("a", "z", 1).reversed()).await, ["d"]);
    t.set(c.key("out"), "").unwrap();
    // What the ranges passed over on the way to their row was read, too.
    c.put("b", operand(b"\x06")).await;
    assert_conflict(t.commit().await);
}

pub(super) async fn operations_never_conflict_with_each_other(c: Case) {
    let transactions: Vec<_> = (0..8)
        .map(|_| {
            let t = c.begin();
            t.add(c.key("n"), 1).unwrap();
            t.atomic(Max, c.key("max"), operand(b"\x05")).unwrap();
            t
        })
        .collect();
    for t in &transactions {
        t.read_version().await.unwrap();
    }
    for t in &transactions {
        t.commit().await.unwrap();
    }
    assert_eq!(c.bytes("n").await.as_deref(), Some(8_i64.to_le_bytes().as_slice()));
}

pub(super) async fn an_operation_conflicts_with_a_reader(c: Case) {
    for op in [Add, Min, Max, CompareAndClear] {
        let reader = c.begin();
        reader.get(c.key("n")).await.unwrap();
        reader.set(c.key("out"), "").unwrap();
        let writer = c.begin();
        writer.atomic(op, c.key("n"), operand(b"\x05")).unwrap();
        writer.commit().await.unwrap();
        assert_conflict(reader.commit().await);
    }
}

pub(super) async fn a_read_after_an_operation_counts_as_a_read(c: Case) {
    let t = c.begin();
    t.atomic(Add, c.key("n"), operand(b"\x01")).unwrap();
    assert_eq!(t.get(c.key("n")).await.unwrap().as_deref(), Some(b"\x01".as_slice()));
    c.put("n", operand(b"\x07")).await;
    assert_conflict(t.commit().await);

    let t = c.begin();
    t.atomic(Add, c.key("n"), operand(b"\x01")).unwrap();
    assert_eq!(t.get_snapshot(c.key("n")).await.unwrap().as_deref(), Some(b"\x08".as_slice()));
    c.put("n", operand(b"\x09")).await;
    t.commit().await.unwrap();
    assert_eq!(c.bytes("n").await.as_deref(), Some(b"\x0a".as_slice()), "applied to the newest value");
}

pub(super) async fn a_range_read_over_an_operation_counts_as_a_read(c: Case) {
    c.put("n", operand(b"\x05")).await;
    for reverse in [false, true] {
        let t = c.begin();
        t.atomic(Add, c.key("n"), operand(b"\x01")).unwrap();
        let mut read = c.range("n", "n\0", 5);
        read.reverse = reverse;
        assert_eq!(t.range(read).await.unwrap().rows.len(), 1);
        c.put("n", operand(b"\x07")).await;
        assert_conflict(t.commit().await);
    }
}

pub(super) async fn an_operation_on_an_own_value_does_not_count_as_a_read(c: Case) {
    let t = c.begin();
    t.read_version().await.unwrap();
    t.set(c.key("n"), operand(b"\x05")).unwrap();
    t.atomic(Add, c.key("n"), operand(b"\x01")).unwrap();
    assert_eq!(t.get(c.key("n")).await.unwrap().as_deref(), Some(b"\x06".as_slice()));
    assert_eq!(c.names(&t, c.range("n", "n\0", 5)).await, ["n"]);
    c.put("n", operand(b"\x07")).await;
    t.commit().await.unwrap();
    assert_eq!(c.bytes("n").await.as_deref(), Some(b"\x06".as_slice()));
}

pub(super) async fn concurrent_additions_all_count(c: Case) {
    const TASKS: i64 = 16;
    const EACH: i64 = 10;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (store, key) = (c.store.clone(), c.key("n"));
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let t = store.begin();
                    t.add(key.clone(), 1).unwrap();
                    t.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(c.bytes("n").await.as_deref(), Some((TASKS * EACH).to_le_bytes().as_slice()));
}

pub(super) async fn numbers_of_eight_bytes_add_and_subtract(c: Case) {
    let t = c.begin();
    t.add(c.key("n"), 1 << 40).unwrap();
    t.add(c.key("n"), -1).unwrap();
    t.add(c.key("below"), -5).unwrap();
    t.commit().await.unwrap();
    assert_eq!(c.bytes("n").await.as_deref(), Some(((1_i64 << 40) - 1).to_le_bytes().as_slice()));
    assert_eq!(c.bytes("below").await.as_deref(), Some((-5_i64).to_le_bytes().as_slice()));
    let t = c.begin();
    let mutation = Mutation::Atomic { key: c.key("n"), op: Add, operand: operand(&[0; VERSIONSTAMP_BYTES]) };
    t.mutate(mutation).unwrap();
    assert_eq!(t.get(c.key("n")).await.unwrap().unwrap().len(), VERSIONSTAMP_BYTES, "as wide as the operand");
}
