//! What was written by recent commits, against which reads are checked.
//!
//! The writes of the last 5 s are kept as a map over the key space that says of every stretch of keys at which
//! version it was written last. A read is checked by looking at the stretches it covers: the cost depends on
//! what was written in the range that was read, and neither on how many commits there were since nor on how
//! much they wrote elsewhere. (FoundationDB's resolvers keep the same map in a skip list.)

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::ranges::{KeyRange, RangeSet};
use crate::contract::Version;
use crate::error::StoreError;
use crate::limits::MAX_TRANSACTION_AGE;

/// The most write ranges kept. Beyond it the oldest are forgotten, and transactions that would have needed
/// them fail with [`StoreError::TooOld`].
const MAX_RANGES: usize = 1_000_000;
/// The most bytes their bounds may have, which are kept twice; likewise. Reached before [`MAX_RANGES`] where keys
/// are longer than 67 bytes.
const MAX_BOUND_BYTES: usize = 128 << 20;

struct Entry {
    version: Version,
    /// When the commit had become visible.
    at: Duration,
    /// Disjoint, in key order.
    writes: Vec<KeyRange>,
}

/// Recent commits. Owned by the committer thread alone.
pub(super) struct History {
    /// The commits, oldest first: what the map will have to forget, and when.
    entries: VecDeque<Entry>,
    /// The number of ranges in `entries`.
    ranges: usize,
    /// The bytes of their bounds.
    bound_bytes: usize,
    /// Where a stretch of keys begins → the version that wrote it last; it ends where the next one begins.
    /// `Version(0)`: not written within the time that is kept.
    last_written: BTreeMap<Vec<u8>, Version>,
    /// Reads at an older version than this can no longer be checked.
    floor: Version,
}

impl History {
    /// A history that begins at `version`.
    pub(super) fn new(version: Version) -> Self {
        Self {
            entries: VecDeque::new(),
            ranges: 0,
            bound_bytes: 0,
            last_written: BTreeMap::new(),
            floor: version,
        }
    }

    /// Fails if something in `reads` was written after `read_version`.
    pub(super) fn check(&self, read_version: Version, reads: &[KeyRange]) -> Result<(), StoreError> {
        if read_version < self.floor {
            return Err(StoreError::TooOld);
        }
        match reads.iter().any(|read| self.written_since(read_version, read)) {
            true => Err(StoreError::Conflict),
            false => Ok(()),
        }
    }

    fn written_since(&self, version: Version, range: &KeyRange) -> bool {
        let (begin, end) = (range.begin.as_slice(), range.end.as_slice());
        if begin >= end {
            return false;
        }
        let inside = (Bound::Excluded(begin), Bound::Excluded(end));
        self.at(begin) > version
            || self.last_written.range::<[u8], _>(inside).any(|(_, last)| *last > version)
    }

    /// The version that wrote a key last.
    fn at(&self, key: &[u8]) -> Version {
        let stretch =
            self.last_written.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        stretch.map_or(Version(0), |(_, version)| *version)
    }

    /// Adds a commit, newer than all before. `at` is corrected by [`History::settle`] when the commit becomes
    /// visible.
    pub(super) fn push(&mut self, version: Version, at: Duration, writes: RangeSet) {
        let writes = writes.into_vec();
        for range in &writes {
            self.assign(range, version);
        }
        self.ranges += writes.len();
        self.bound_bytes += bound_bytes(&writes);
        self.entries.push_back(Entry { version, at, writes });
    }

    /// Makes a range one stretch of its own.
    fn assign(&mut self, range: &KeyRange, version: Version) {
        let after = self.at(&range.end);
        let inside = (Bound::Included(range.begin.as_slice()), Bound::Excluded(range.end.as_slice()));
        let covered: Vec<_> =
            self.last_written.range::<[u8], _>(inside).map(|(key, _)| key.clone()).collect();
        for begin in covered {
            self.last_written.remove(&begin);
        }
        self.last_written.insert(range.begin.clone(), version);
        self.last_written.entry(range.end.clone()).or_insert(after);
    }

    /// What was written after a version, oldest first.
    pub(super) fn written_after(&self, version: Version) -> impl Iterator<Item = &KeyRange> {
        let first = self.entries.partition_point(|entry| entry.version <= version);
        self.entries.range(first..).flat_map(|entry| &entry.writes)
    }

    /// Records that all commits after `since` became visible only now, so that they are kept long enough
    /// for every transaction that could not see them.
    pub(super) fn settle(&mut self, since: Version, now: Duration) {
        for entry in self.entries.iter_mut().rev() {
            if entry.version <= since {
                break;
            }
            entry.at = now;
        }
    }

    /// Starts anew at `version`, the newest visible one, after commits that did not happen: what they hid in
    /// the map is not known any more. Transactions older than that fail with [`StoreError::TooOld`].
    pub(super) fn forget_after(&mut self, version: Version) {
        *self = Self::new(version);
    }

    /// Forgets what no transaction young enough to commit can need.
    pub(super) fn prune(&mut self, now: Duration) {
        while let Some(oldest) = self.entries.front() {
            let expired = now.saturating_sub(oldest.at) > MAX_TRANSACTION_AGE;
            if !expired && self.ranges <= MAX_RANGES && self.bound_bytes <= MAX_BOUND_BYTES {
                break;
            }
            if let Some(Entry { version, writes, .. }) = self.entries.pop_front() {
                self.ranges -= writes.len();
                self.bound_bytes -= bound_bytes(&writes);
                self.floor = version;
                writes.iter().for_each(|range| self.forget(range, version));
            }
        }
    }

    /// Marks what is left of a commit's range as not written, and joins stretches that are.
    fn forget(&mut self, range: &KeyRange, version: Version) {
        let inside = (Bound::Included(range.begin.as_slice()), Bound::Included(range.end.as_slice()));
        let mut joins = self.before(&range.begin) == Version(0);
        let mut redundant = Vec::new();
        for (begin, last) in self.last_written.range_mut::<[u8], _>(inside) {
            if *last == version {
                *last = Version(0);
            }
            if joins && *last == Version(0) {
                redundant.push(begin.clone());
            }
            joins = *last == Version(0);
        }
        for begin in redundant {
            self.last_written.remove(&begin);
        }
    }

    /// The version of the stretch that ends at or before a key's own.
    fn before(&self, key: &[u8]) -> Version {
        let stretch =
            self.last_written.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key))).next_back();
        stretch.map_or(Version(0), |(_, version)| *version)
    }
}

fn bound_bytes(ranges: &[KeyRange]) -> usize {
    ranges.iter().map(|range| range.begin.len() + range.end.len()).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use coditect_auth::{Entropy, SeededEntropy};

    use super::*;

    fn one(begin: &[u8], end: &[u8]) -> RangeSet {
        let mut set = RangeSet::default();
        set.insert(KeyRange::new(begin, end));
        set
    }

    #[test]
    fn only_later_overlapping_writes_conflict() {
        let mut history = History::new(Version(10));
        history.push(Version(11), Duration::ZERO, one(b"b", b"d"));
        let check =
            |version, begin: &[u8], end: &[u8]| history.check(Version(version), &[KeyRange::new(begin, end)]);
        assert!(matches!(check(10, b"c", b"c\0"), Err(StoreError::Conflict)));
        assert!(matches!(check(10, b"a", b"z"), Err(StoreError::Conflict)));
        assert!(check(10, b"a", b"b").is_ok(), "the end is exclusive");
        assert!(check(10, b"d", b"z").is_ok());
        assert!(check(11, b"a", b"z").is_ok(), "already seen");
        assert!(matches!(check(9, b"x", b"y"), Err(StoreError::TooOld)));
    }

    #[test]
    fn commits_are_forgotten_after_the_age_limit_and_not_before() {
        let mut history = History::new(Version(0));
        history.push(Version(1), Duration::ZERO, one(b"a", b"b"));
        history.prune(MAX_TRANSACTION_AGE);
        let read = [KeyRange::new(b"a", b"b")];
        assert!(matches!(history.check(Version(0), &read), Err(StoreError::Conflict)));
        history.prune(MAX_TRANSACTION_AGE + Duration::from_millis(1));
        assert!(matches!(history.check(Version(0), &read), Err(StoreError::TooOld)));
        history.check(Version(1), &read).unwrap();
        assert!(history.last_written.is_empty(), "nothing is left of it");
    }

    #[test]
    fn long_keys_are_forgotten_before_they_fill_the_memory() {
        let mut history = History::new(Version(0));
        let long = vec![b'k'; MAX_BOUND_BYTES / 8];
        for version in 1..=20 {
            history.prune(Duration::ZERO);
            history.push(Version(version), Duration::ZERO, one(&long, &[long.as_slice(), b"z"].concat()));
        }
        history.prune(Duration::ZERO);
        assert!(history.bound_bytes <= MAX_BOUND_BYTES, "{}", history.bound_bytes);
        assert!(
            matches!(history.check(Version(0), &[]), Err(StoreError::TooOld)),
            "the oldest are forgotten"
        );
        assert!(history.check(Version(19), &[]).is_ok());
        history.prune(Duration::from_secs(3600));
        assert_eq!((history.ranges, history.bound_bytes), (0, 0));
    }

    /// A random range of two-letter keys.
    fn range(entropy: &SeededEntropy) -> KeyRange {
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        let key = |a: u8, b: u8| vec![b'a' + a % 6, b'a' + b % 6];
        let (one, other) = (key(bytes[0], bytes[1]), key(bytes[2], bytes[3]));
        KeyRange { begin: one.clone().min(other.clone()), end: one.max(other) }
    }

    #[test]
    fn the_map_agrees_with_a_plain_list_of_commits() {
        for seed in 0..300 {
            let entropy = SeededEntropy::new(seed);
            let mut history = History::new(Version(0));
            let mut list: Vec<(Version, Duration, RangeSet)> = Vec::new();
            for step in 1..80_u64 {
                let now = Duration::from_millis(step * 200);
                let mut writes = RangeSet::default();
                (0..1 + step % 3).for_each(|_| writes.insert(range(&entropy)));
                history.prune(now);
                history.push(Version(step), now, writes.clone());
                list.push((Version(step), now, writes));
                list.retain(|(_, at, _)| now.saturating_sub(*at) <= MAX_TRANSACTION_AGE);
                let read = range(&entropy);
                for back in 0..20.min(step) {
                    let version = Version(step - back);
                    let newer = list.iter().filter(|(v, ..)| *v > version);
                    let conflict = newer.clone().any(|(.., set)| set.touches(&read.begin, &read.end));
                    let found = history.check(version, std::slice::from_ref(&read));
                    assert_eq!(found.is_err(), conflict, "seed {seed}, step {step}, {back} back, {read:?}");
                }
            }
            history.prune(Duration::from_secs(3600));
            assert!(history.last_written.len() <= 1, "seed {seed}: {:?}", history.last_written);
        }
    }
}
