//! The write ranges of recent commits, against which reads are checked.

use std::collections::VecDeque;
use std::time::Duration;

use super::ranges::{KeyRange, RangeSet};
use crate::contract::Version;
use crate::error::StoreError;
use crate::limits::MAX_TRANSACTION_AGE;

/// The most write ranges kept. Beyond it the oldest are forgotten, and transactions that would have needed
/// them fail with [`StoreError::TooOld`].
const MAX_RANGES: usize = 1_000_000;

struct Entry {
    version: Version,
    /// When the commit had become visible.
    at: Duration,
    /// Disjoint, in key order.
    writes: Vec<KeyRange>,
}

/// Recent commits, oldest first. Owned by the committer thread alone.
pub(super) struct History {
    entries: VecDeque<Entry>,
    ranges: usize,
    /// Reads at an older version than this can no longer be checked.
    floor: Version,
}

impl History {
    /// A history that begins at `version`.
    pub(super) fn new(version: Version) -> Self {
        Self { entries: VecDeque::new(), ranges: 0, floor: version }
    }

    /// Fails if something in `reads` was written after `read_version`.
    pub(super) fn check(&self, read_version: Version, reads: &[KeyRange]) -> Result<(), StoreError> {
        if read_version < self.floor {
            return Err(StoreError::TooOld);
        }
        let newer = self.entries.iter().rev().take_while(|entry| entry.version > read_version);
        for entry in newer {
            if reads.iter().any(|read| overlaps(&entry.writes, read)) {
                return Err(StoreError::Conflict);
            }
        }
        Ok(())
    }

    /// What was written after a version, oldest first.
    pub(super) fn written_after(&self, version: Version) -> impl Iterator<Item = &KeyRange> {
        let first = self.entries.partition_point(|entry| entry.version <= version);
        self.entries.range(first..).flat_map(|entry| &entry.writes)
    }

    /// Adds a commit. `at` is corrected by [`History::settle`] when the commit becomes visible.
    pub(super) fn push(&mut self, version: Version, at: Duration, writes: RangeSet) {
        let writes = writes.into_vec();
        self.ranges += writes.len();
        self.entries.push_back(Entry { version, at, writes });
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

    /// Takes back commits that did not happen after all.
    pub(super) fn forget_after(&mut self, version: Version) {
        while let Some(newest) = self.entries.back()
            && newest.version > version
        {
            self.ranges -= newest.writes.len();
            self.entries.pop_back();
        }
    }

    /// Forgets what no transaction young enough to commit can need.
    pub(super) fn prune(&mut self, now: Duration) {
        while let Some(oldest) = self.entries.front() {
            let expired = now.saturating_sub(oldest.at) > MAX_TRANSACTION_AGE;
            if !expired && self.ranges <= MAX_RANGES {
                break;
            }
            self.ranges -= oldest.writes.len();
            self.floor = oldest.version;
            self.entries.pop_front();
        }
    }
}

/// True if any of the disjoint, ordered `writes` overlaps `read`.
fn overlaps(writes: &[KeyRange], read: &KeyRange) -> bool {
    let first = writes.partition_point(|write| write.end <= read.begin);
    writes.get(first).is_some_and(|write| write.begin < read.end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
    }
}
