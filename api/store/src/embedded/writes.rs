//! A transaction's buffered writes, and what they say about a key before the commit.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::atomic;
use super::ranges::{KeyRange, RangeSet};
use crate::contract::{AtomicOp, Mutation, VERSIONSTAMP_BYTES, Version, Versionstamp};

/// The writes of a transaction, reduced to their effect: first `cleared` is removed, then `set` and `stamped`
/// are put.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) cleared: RangeSet,
    pub(super) set: BTreeMap<Vec<u8>, Own>,
    pub(super) stamped: Vec<StampedKey>,
    /// What cannot be read before the commit.
    unreadable: RangeSet,
}

/// What was written to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Own {
    /// This value.
    Value(Bytes),
    /// What comes of these steps at the commit, from the value stored then.
    Steps(Vec<Step>),
}

impl Own {
    /// True if the outcome does not depend on the stored value.
    fn is_known(&self) -> bool {
        match self {
            Self::Value(_) => true,
            Self::Steps(steps) => matches!(steps.first(), Some(Step::Stamp(..))),
        }
    }
}

/// One write to a key whose outcome is only known at the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The value becomes this, with the versionstamp at the offset.
    Stamp(Vec<u8>, usize),
    /// An atomic mutation.
    Atomic(AtomicOp, Bytes),
}

/// A key that is made at the commit.
#[derive(Debug)]
pub(super) struct StampedKey {
    /// The key with the lowest stamp it can get. What clears this key takes the write back, as in FoundationDB.
    key: Vec<u8>,
    offset: usize,
    pub(super) value: Bytes,
}

impl StampedKey {
    /// The key with a stamp in its place.
    pub(super) fn placed(&self, stamp: &Versionstamp) -> Vec<u8> {
        let mut key = self.key.clone();
        place(&mut key, self.offset, &stamp.0);
        key
    }
}

/// What a transaction's own writes say about a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    /// It was set to this value.
    Value(&'a Bytes),
    /// It was removed.
    Absent,
    /// It depends on the stored value.
    Steps(&'a [Step]),
    /// Nobody can know before the commit.
    Unreadable,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.cleared.is_empty() && self.stamped.is_empty()
    }

    /// Adds a write. `read_version` is the transaction's, if it has one: no stamp of its own can be lower.
    pub(super) fn apply(&mut self, mutation: Mutation, read_version: Option<Version>) {
        match mutation {
            Mutation::Set { key, value } => {
                self.set.insert(key, Own::Value(value));
            }
            Mutation::Clear { key } => {
                let KeyRange { begin, end } = KeyRange::point(&key);
                self.clear(begin, end);
            }
            Mutation::ClearRange { begin, end } => self.clear(begin, end),
            Mutation::Atomic { key, op, operand } => self.atomic(key, op, operand),
            Mutation::SetVersionstampedKey { key, offset, value } => {
                let mut stamped = StampedKey { key, offset, value };
                let lowest = Versionstamp::new(Version(read_version.map_or(0, |version| version.0 + 1)), 0);
                stamped.key = stamped.placed(&lowest);
                let begin = stamped.key.clone();
                let mut end = stamped.placed(&Versionstamp([0xff; VERSIONSTAMP_BYTES]));
                end.push(0);
                self.unreadable.insert(KeyRange { begin, end });
                self.stamped.push(stamped);
            }
            Mutation::SetVersionstampedValue { key, value, offset } => {
                self.unreadable.insert(KeyRange::point(&key));
                self.set.insert(key, Own::Steps(vec![Step::Stamp(value, offset)]));
            }
        }
    }

    fn clear(&mut self, begin: Vec<u8>, end: Vec<u8>) {
        let gone: Vec<Vec<u8>> = self
            .set
            .range::<[u8], _>((Bound::Included(begin.as_slice()), Bound::Excluded(end.as_slice())))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.set.remove(&key);
        }
        self.stamped.retain(|stamped| stamped.key < begin || stamped.key >= end);
        self.unreadable.remove(&begin, &end);
        self.cleared.insert(KeyRange { begin, end });
    }

    fn atomic(&mut self, key: Vec<u8>, op: AtomicOp, operand: Bytes) {
        let known = match self.set.get_mut(&key) {
            Some(Own::Steps(steps)) => return steps.push(Step::Atomic(op, operand)),
            Some(Own::Value(value)) => Some(&*value),
            None if self.cleared.containing(&key).is_some() => None,
            None => {
                self.set.insert(key, Own::Steps(vec![Step::Atomic(op, operand)]));
                return;
            }
        };
        match atomic::apply(op, known.map(Bytes::as_ref), &operand) {
            Some(value) => {
                self.set.insert(key, Own::Value(value));
            }
            None => {
                self.set.remove(&key);
                self.cleared.insert(KeyRange::point(&key));
            }
        }
    }

    /// What these writes say about a key; `None` if nothing.
    pub(super) fn lookup(&self, key: &[u8]) -> Option<Known<'_>> {
        if self.unreadable.containing(key).is_some() {
            return Some(Known::Unreadable);
        }
        match self.set.get(key) {
            Some(Own::Value(value)) => Some(Known::Value(value)),
            Some(Own::Steps(steps)) => Some(Known::Steps(steps)),
            None => self.cleared.containing(key).map(|_| Known::Absent),
        }
    }

    /// True if something between `begin` and `end` cannot be read before the commit.
    pub(super) fn is_unreadable(&self, begin: &[u8], end: &[u8]) -> bool {
        self.unreadable.touches(begin, end)
    }

    /// The parts of a range that depend on the database.
    pub(super) fn unknown_parts(&self, range: KeyRange) -> Vec<KeyRange> {
        if self.is_empty() {
            return vec![range];
        }
        let mut known = RangeSet::default();
        for (begin, end) in self.cleared.iter() {
            if begin < range.end.as_slice() && end > range.begin.as_slice() {
                known.insert(KeyRange::new(begin, end));
            }
        }
        let bounds = (Bound::Included(range.begin.as_slice()), Bound::Excluded(range.end.as_slice()));
        for (key, own) in self.set.range::<[u8], _>(bounds) {
            if own.is_known() {
                known.insert(KeyRange::point(key));
            }
        }
        let mut parts = RangeSet::default();
        parts.insert(range);
        for (begin, end) in known.iter() {
            parts.remove(begin, end);
        }
        parts.into_vec()
    }

    /// Everything written at a commit with this stamp, as ranges for conflict checks.
    pub(super) fn conflict_ranges(&self, stamp: &Versionstamp) -> RangeSet {
        let mut ranges = self.cleared.clone();
        for key in self.set.keys() {
            ranges.insert(KeyRange::point(key));
        }
        for stamped in &self.stamped {
            ranges.insert(KeyRange::point(&stamped.placed(stamp)));
        }
        ranges
    }
}

/// The value that comes of `steps`, or `None` if the key is gone. `stamp` is absent before the commit, where
/// steps that need it are not asked for.
pub(super) fn outcome(steps: &[Step], stored: Option<&[u8]>, stamp: Option<&Versionstamp>) -> Option<Bytes> {
    let mut value = stored.map(Bytes::copy_from_slice);
    for step in steps {
        value = match step {
            Step::Atomic(op, operand) => atomic::apply(*op, value.as_deref(), operand),
            Step::Stamp(template, offset) => {
                let mut bytes = template.clone();
                if let Some(stamp) = stamp {
                    place(&mut bytes, *offset, &stamp.0);
                }
                Some(bytes.into())
            }
        };
    }
    value
}

/// Puts a stamp in its place; the limits have seen to it that it fits.
fn place(bytes: &mut [u8], offset: usize, stamp: &[u8; VERSIONSTAMP_BYTES]) {
    if let Some(place) = bytes.get_mut(offset..offset + VERSIONSTAMP_BYTES) {
        place.copy_from_slice(stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(writes: &mut Writes, key: &str, value: &'static str) {
        writes.apply(Mutation::Set { key: key.into(), value: Bytes::from_static(value.as_bytes()) }, None);
    }

    fn clear_range(writes: &mut Writes, begin: &str, end: &str) {
        writes.apply(Mutation::ClearRange { begin: begin.into(), end: end.into() }, None);
    }

    fn add(writes: &mut Writes, key: &str, count: u8) {
        let operand = Bytes::copy_from_slice(&[count]);
        writes.apply(Mutation::Atomic { key: key.into(), op: AtomicOp::Add, operand }, None);
    }

    #[test]
    fn a_set_after_a_clear_wins_and_a_clear_after_a_set_wins() {
        let mut writes = Writes::default();
        clear_range(&mut writes, "a", "z");
        set(&mut writes, "k", "1");
        assert_eq!(writes.lookup(b"k"), Some(Known::Value(&Bytes::from_static(b"1"))));
        assert_eq!(writes.lookup(b"j"), Some(Known::Absent));
        assert_eq!(writes.lookup(b"z"), None);
        writes.apply(Mutation::Clear { key: b"k".to_vec() }, None);
        assert_eq!(writes.lookup(b"k"), Some(Known::Absent));
    }

    #[test]
    fn unknown_parts_leave_out_what_own_writes_decide() {
        let mut writes = Writes::default();
        set(&mut writes, "b", "");
        add(&mut writes, "c", 1);
        clear_range(&mut writes, "d", "f");
        let parts = writes.unknown_parts(KeyRange::new(b"a", b"e"));
        assert_eq!(parts, [KeyRange::new(b"a", b"b"), KeyRange::new(b"b\0", b"d")], "an addition depends");
    }

    #[test]
    fn an_addition_to_a_value_of_one_s_own_is_known() {
        let mut writes = Writes::default();
        set(&mut writes, "a", "\x01");
        add(&mut writes, "a", 2);
        assert_eq!(writes.lookup(b"a"), Some(Known::Value(&Bytes::from_static(b"\x03"))));
        clear_range(&mut writes, "b", "c");
        add(&mut writes, "b", 5);
        assert_eq!(writes.lookup(b"b"), Some(Known::Value(&Bytes::from_static(b"\x05"))));
        add(&mut writes, "x", 5);
        add(&mut writes, "x", 6);
        let Some(Known::Steps(steps)) = writes.lookup(b"x") else { unreachable!("it depends") };
        assert_eq!(outcome(steps, Some(b"\x01"), None).as_deref(), Some(b"\x0c".as_slice()));
    }

    #[test]
    fn what_a_stamp_may_touch_is_unreadable_until_cleared() {
        let mut writes = Writes::default();
        let stamped = Mutation::SetVersionstampedKey {
            key: b"log/..........".to_vec(),
            offset: 4,
            value: Bytes::new(),
        };
        writes.apply(stamped, Some(Version(7)));
        let at = |version| [b"log/".as_slice(), &Versionstamp::new(Version(version), 0).0].concat();
        assert_eq!(writes.lookup(&at(7)), None, "what was there before can be read");
        assert_eq!(writes.lookup(&at(8)), Some(Known::Unreadable));
        assert!(writes.is_unreadable(b"log", b"loh") && !writes.is_unreadable(b"loh", b"z"));
        clear_range(&mut writes, "log", "loh");
        assert_eq!(writes.lookup(&at(8)), Some(Known::Absent));
        assert!(writes.stamped.is_empty());
    }
}
