//! Histories made by hand: the check must see what is wrong with each, and nothing wrong with the others.

use std::collections::BTreeMap;

use coditect_store::contract::{AtomicOp, ReadMode, Version, Versionstamp};

use super::history::{Event, Key, Record};
use super::serializability::{Violation, check};
use super::values::Write;

const X: Key = 0;
const Y: Key = 1;

/// A transaction that read at a version and committed at another, all at once with the others.
fn transaction(read_version: u64, commit_version: Option<u64>, events: Vec<Event>) -> Record {
    Record {
        events,
        read_version: Some(Version(read_version)),
        committed: Some(commit_version.map(|version| Versionstamp::new(Version(version), 0))),
        began: 0,
        ended: u64::MAX,
    }
}

fn read(key: Key, value: Option<u8>) -> Event {
    Event::Read { key, value: value.map(|value| vec![value]), mode: ReadMode::Serializable }
}

fn snapshot_read(key: Key, value: Option<u8>) -> Event {
    Event::Read { key, value: value.map(|value| vec![value]), mode: ReadMode::Snapshot }
}

fn set(key: Key, value: u8) -> Event {
    Event::Write { key, write: Write::Set(vec![value]) }
}

fn add(key: Key, value: u8) -> Event {
    Event::Write { key, write: Write::Atomic(AtomicOp::Add, vec![value]) }
}

fn checked(history: &[Record]) -> Result<(), Violation> {
    check(&BTreeMap::new(), history)
}

/// The reasons of a cycle, sorted; none if there is no cycle.
fn cycle(history: &[Record]) -> Vec<String> {
    match checked(history) {
        Err(Violation::Cycle(cycle)) => {
            let mut reasons: Vec<_> = cycle.iter().map(|(_, because)| format!("{because:?}")).collect();
            reasons.sort();
            reasons
        }
        other => panic!("no cycle: {other:?}"),
    }
}

#[test]
fn one_after_the_other_is_serializable() {
    let history = [
        transaction(0, Some(1), vec![read(X, None), set(X, 1)]),
        transaction(1, Some(2), vec![read(X, Some(1)), set(X, 2), read(X, Some(2))]),
        transaction(2, None, vec![read(X, Some(2)), read(Y, None)]),
        transaction(0, None, vec![read(X, None)]),
    ];
    assert_eq!(checked(&history), Ok(()));
}

#[test]
fn a_lost_update_is_found() {
    let history = [
        transaction(0, Some(1), vec![read(X, None), set(X, 1)]),
        transaction(0, Some(2), vec![read(X, None), set(X, 2)]),
    ];
    assert_eq!(cycle(&history), ["ReadWrite(0)", "WriteWrite(0)"]);
}

#[test]
fn write_skew_is_found() {
    let history = [
        transaction(0, Some(1), vec![read(X, None), read(Y, None), set(X, 1)]),
        transaction(0, Some(2), vec![read(X, None), read(Y, None), set(Y, 1)]),
    ];
    assert_eq!(cycle(&history), ["ReadWrite(0)", "ReadWrite(1)"]);
}

#[test]
fn write_skew_among_snapshot_reads_is_allowed() {
    let history = [
        transaction(0, Some(1), vec![snapshot_read(X, None), read(Y, None), set(X, 1)]),
        transaction(0, Some(2), vec![snapshot_read(X, None), set(Y, 1)]),
    ];
    assert_eq!(checked(&history), Ok(()));
}

#[test]
fn the_read_only_anomaly_is_found() {
    let withdrawal = transaction(0, Some(2), vec![read(X, None), read(Y, None), set(X, 1)]);
    let deposit = transaction(0, Some(1), vec![read(Y, None), set(Y, 1)]);
    let statement = transaction(1, None, vec![read(X, None), read(Y, Some(1))]);
    assert_eq!(checked(&[withdrawal.clone(), deposit.clone()]), Ok(()), "without the statement all is well");
    assert_eq!(cycle(&[withdrawal, deposit, statement]), ["ReadWrite(0)", "ReadWrite(1)", "WriteRead(1)"]);
}

#[test]
fn a_read_of_the_past_is_found_by_real_time() {
    let writer = Record { began: 1, ended: 2, ..transaction(0, Some(1), vec![set(X, 1)]) };
    let reader = transaction(0, None, vec![read(X, None)]);
    let during = Record { began: 2, ended: 5, ..reader.clone() };
    assert_eq!(checked(&[writer.clone(), during]), Ok(()));
    let after = Record { began: 3, ended: 4, ..reader };
    assert_eq!(cycle(&[writer, after]), ["ReadWrite(0)", "Time"]);
}

#[test]
fn a_commit_order_against_real_time_is_found() {
    let first = Record { began: 1, ended: 2, ..transaction(0, Some(9), vec![set(X, 1)]) };
    let between = Record { began: 3, ended: 4, ..transaction(0, Some(5), vec![set(Y, 1)]) };
    let last = Record { began: 5, ended: 6, ..transaction(0, Some(3), vec![set(X, 2)]) };
    assert_eq!(cycle(&[first, between, last]), ["Time", "Time", "WriteWrite(0)"]);
}

#[test]
fn reads_of_own_writes_are_no_reads_of_others() {
    let history = [
        transaction(0, Some(1), vec![set(X, 1), read(X, Some(1)), set(Y, 1)]),
        transaction(0, Some(2), vec![set(Y, 2), read(Y, Some(2)), set(X, 2)]),
    ];
    assert_eq!(checked(&history), Ok(()));
}

#[test]
fn a_read_after_an_addition_is_a_read() {
    let history = [
        transaction(0, Some(1), vec![add(X, 1), read(X, Some(1))]),
        transaction(0, Some(2), vec![add(X, 1), read(X, Some(1))]),
    ];
    assert_eq!(cycle(&history), ["ReadWrite(0)", "WriteWrite(0)"]);
    let blind = [
        transaction(0, Some(1), vec![add(X, 1)]),
        transaction(0, Some(2), vec![add(X, 1)]),
        transaction(2, None, vec![read(X, Some(2))]),
    ];
    assert_eq!(checked(&blind), Ok(()));
}

#[test]
fn a_value_from_nowhere_is_found_even_in_a_refused_transaction() {
    let writer = transaction(0, Some(1), vec![set(X, 1)]);
    let dirty = Record { committed: None, ..transaction(0, None, vec![read(X, Some(1))]) };
    assert_eq!(
        checked(&[writer, dirty]),
        Err(Violation::Unexplained { transaction: 1, key: X, seen: Some(vec![1]), expected: None })
    );
}

#[test]
fn one_stamp_for_two_is_found() {
    let history = [transaction(0, Some(1), vec![set(X, 1)]), transaction(0, Some(1), vec![set(Y, 1)])];
    assert_eq!(checked(&history), Err(Violation::SameStamp(0, 1)));
}

#[test]
fn values_from_before_the_history_are_known() {
    let history = [transaction(0, Some(1), vec![read(X, Some(7)), set(X, 8)])];
    assert_eq!(check(&BTreeMap::from([(X, vec![7])]), &history), Ok(()));
    assert!(checked(&history).is_err());
}
