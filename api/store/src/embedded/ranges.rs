//! Sets of key ranges.

use std::collections::BTreeMap;
use std::ops::Bound;

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

    /// Takes a range out.
    pub(super) fn remove(&mut self, begin: &[u8], end: &[u8]) {
        if begin >= end {
            return;
        }
        let first = self.at_or_before(begin).map(|(key, _)| key.clone());
        let from = first.unwrap_or_else(|| begin.to_vec());
        let bounds = (Bound::Included(from.as_slice()), Bound::Excluded(end));
        let touched: Vec<_> =
            self.ranges.range::<[u8], _>(bounds).map(|(b, e)| (b.clone(), e.clone())).collect();
        for (b, e) in touched {
            if e.as_slice() <= begin {
                continue;
            }
            self.ranges.remove(&b);
            if b.as_slice() < begin {
                self.ranges.insert(b, begin.to_vec());
            }
            if e.as_slice() > end {
                self.ranges.insert(end.to_vec(), e);
            }
        }
    }

    /// True if any of it lies between `begin` and `end`.
    pub(super) fn touches(&self, begin: &[u8], end: &[u8]) -> bool {
        if begin >= end {
            return false;
        }
        let inside = (Bound::Included(begin), Bound::Excluded(end));
        self.containing(begin).is_some() || self.ranges.range::<[u8], _>(inside).next().is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ranges.iter().map(|(begin, end)| (begin.as_slice(), end.as_slice()))
    }

    /// The ranges, in key order.
    pub(super) fn into_vec(self) -> Vec<KeyRange> {
        self.ranges.into_iter().map(|(begin, end)| KeyRange { begin, end }).collect()
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
    fn a_range_taken_out_leaves_what_is_around_it() {
        let mut ranges = set(&[("a", "c"), ("d", "h"), ("k", "m")]);
        ranges.remove(b"b", b"e");
        ranges.remove(b"f", b"g");
        ranges.remove(b"x", b"z");
        let left = [("a", "b"), ("e", "f"), ("g", "h"), ("k", "m")];
        assert_eq!(shown(&ranges), left.map(|(b, e)| (b.to_owned(), e.to_owned())));
        assert!(ranges.touches(b"f", b"gg") && ranges.touches(b"ab", b"ac"));
        assert!(!ranges.touches(b"f", b"g") && !ranges.touches(b"b", b"e") && !ranges.touches(b"l", b"l"));
    }
}
