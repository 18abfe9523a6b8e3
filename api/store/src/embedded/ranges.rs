//! Sets of key ranges, and a transaction's buffered writes.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::contract::Mutation;

/// Keys from `begin` up to, but without, `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) begin: Vec<u8>,
    pub(super) end: Vec<u8>,
}

impl KeyRange {
    pub(super) fn new(begin: &[u8], end: &[u8]) -> Self {
        Self { begin: begin.to_vec(), end: end.to_vec() }
    }

    /// The range of one key.
    pub(super) fn point(key: &[u8]) -> Self {
        Self { begin: key.to_vec(), end: successor(key) }
    }
}

/// The key just after another.
pub(super) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// Disjoint, non-empty ranges in key order; ranges that touch are merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    /// begin → end
    ranges: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl RangeSet {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Adds a range; an empty one changes nothing.
    pub(super) fn insert(&mut self, range: KeyRange) {
        let KeyRange { mut begin, mut end } = range;
        if begin >= end {
            return;
        }
        // The last range that begins at or before ours may reach into it; all that begin inside it go.
        if let Some((b, e)) = self.at_or_before(&begin)
            && e.as_slice() >= begin.as_slice()
        {
            begin = b.clone();
            end = end.max(e.clone());
        }
        while let Some((b, e)) = self
            .ranges
            .range::<[u8], _>((Bound::Included(begin.as_slice()), Bound::Included(end.as_slice())))
            .next()
        {
            let key = b.clone();
            end = end.max(e.clone());
            self.ranges.remove(&key);
        }
        self.ranges.insert(begin, end);
    }

    /// The last range that begins at or before a key.
    fn at_or_before(&self, key: &[u8]) -> Option<(&Vec<u8>, &Vec<u8>)> {
        self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }

    /// The range that contains a key.
    pub(super) fn containing(&self, key: &[u8]) -> Option<(&[u8], &[u8])> {
        self.at_or_before(key)
            .filter(|(_, end)| end.as_slice() > key)
            .map(|(begin, end)| (begin.as_slice(), end.as_slice()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ranges.iter().map(|(begin, end)| (begin.as_slice(), end.as_slice()))
    }

    /// The ranges, in key order.
    pub(super) fn into_vec(self) -> Vec<KeyRange> {
        self.ranges.into_iter().map(|(begin, end)| KeyRange { begin, end }).collect()
    }
}

/// The writes of a transaction, reduced to their final effect: first `cleared` is removed, then `set` is put.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) cleared: RangeSet,
    pub(super) set: BTreeMap<Vec<u8>, Bytes>,
}

/// What a transaction's own writes say about a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It was set to this value.
    Value(Bytes),
    /// It was removed.
    Absent,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.cleared.is_empty()
    }

    pub(super) fn apply(&mut self, mutation: Mutation) {
        match mutation {
            Mutation::Set { key, value } => {
                self.set.insert(key, value);
            }
            Mutation::Clear { key } => {
                self.set.remove(&key);
                self.cleared.insert(KeyRange::point(&key));
            }
            Mutation::ClearRange { begin, end } => {
                let gone: Vec<Vec<u8>> = self
                    .set
                    .range::<[u8], _>((Bound::Included(begin.as_slice()), Bound::Excluded(end.as_slice())))
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in gone {
                    self.set.remove(&key);
                }
                self.cleared.insert(KeyRange { begin, end });
            }
        }
    }

    /// What these writes say about a key; `None` if nothing.
    pub(super) fn lookup(&self, key: &[u8]) -> Option<Known> {
        if let Some(value) = self.set.get(key) {
            return Some(Known::Value(value.clone()));
        }
        self.cleared.containing(key).map(|_| Known::Absent)
    }

    /// The parts of a range these writes say nothing about: only they depend on the database.
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
        for key in self.set.range::<[u8], _>(bounds).map(|(key, _)| key) {
            known.insert(KeyRange::point(key));
        }
        let mut parts = Vec::new();
        let mut at = range.begin;
        for (begin, end) in known.iter() {
            if at.as_slice() < begin {
                parts.push(KeyRange::new(&at, begin));
            }
            if end > at.as_slice() {
                at = end.to_vec();
            }
        }
        if at < range.end {
            parts.push(KeyRange { begin: at, end: range.end });
        }
        parts
    }

    /// Everything written, as ranges for conflict checks.
    pub(super) fn conflict_ranges(&self) -> RangeSet {
        let mut ranges = self.cleared.clone();
        for key in self.set.keys() {
            ranges.insert(KeyRange::point(key));
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(&str, &str)]) -> RangeSet {
        let mut set = RangeSet::default();
        for (begin, end) in ranges {
            set.insert(KeyRange::new(begin.as_bytes(), end.as_bytes()));
        }
        set
    }

    fn shown(set: &RangeSet) -> Vec<(String, String)> {
        set.iter()
            .map(|(b, e)| (String::from_utf8_lossy(b).into_owned(), String::from_utf8_lossy(e).into_owned()))
            .collect()
    }

    #[test]
    fn ranges_that_overlap_or_touch_are_merged() {
        let merged = set(&[("m", "p"), ("a", "c"), ("c", "d"), ("b", "n"), ("x", "x")]);
        assert_eq!(shown(&merged), [("a".into(), "p".into())]);
        let apart = set(&[("a", "b"), ("c", "d")]);
        assert_eq!(apart.iter().count(), 2);
        assert!(apart.containing(b"a").is_some());
        assert!(apart.containing(b"b").is_none());
        assert!(apart.containing(b"cz").is_some());
    }

    #[test]
    fn a_set_after_a_clear_wins_and_a_clear_after_a_set_wins() {
        let mut writes = Writes::default();
        writes.apply(Mutation::ClearRange { begin: b"a".to_vec(), end: b"z".to_vec() });
        writes.apply(Mutation::Set { key: b"k".to_vec(), value: Bytes::from_static(b"1") });
        assert_eq!(writes.lookup(b"k"), Some(Known::Value(Bytes::from_static(b"1"))));
        assert_eq!(writes.lookup(b"j"), Some(Known::Absent));
        assert_eq!(writes.lookup(b"z"), None);
        writes.apply(Mutation::Clear { key: b"k".to_vec() });
        assert_eq!(writes.lookup(b"k"), Some(Known::Absent));
    }

    #[test]
    fn unknown_parts_leave_out_own_writes() {
        let mut writes = Writes::default();
        writes.apply(Mutation::Set { key: b"b".to_vec(), value: Bytes::new() });
        writes.apply(Mutation::ClearRange { begin: b"d".to_vec(), end: b"f".to_vec() });
        let parts = writes.unknown_parts(KeyRange::new(b"a", b"e"));
        assert_eq!(parts, [KeyRange::new(b"a", b"b"), KeyRange::new(b"b\0", b"d")]);
    }
}
