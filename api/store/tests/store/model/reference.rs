//! The model: a map, and transactions on it with exact rules of what they read, what they see and when they
//! conflict.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Key, Stretch};
use super::values::Write;

/// A place in the key space: `2n` is key n, `2n + 1` everything between it and key n + 1. Ranges touch the
/// places between the keys as well, and may conflict there.
type Place = u16;

/// Keys with their values.
pub(super) type Map = BTreeMap<Key, Vec<u8>>;

fn place(key: Key) -> Place {
    2 * Place::from(key)
}

/// The database.
#[derive(Default)]
pub(super) struct Database {
    pub(super) map: Map,
    /// What each commit wrote.
    commits: Vec<BTreeSet<Place>>,
}

impl Database {
    /// How many transactions wrote something.
    pub(super) fn commits(&self) -> usize {
        self.commits.len()
    }
}

/// An open transaction.
#[derive(Default)]
pub(super) struct Open {
    /// The database as it was at the first read, and the number of commits by then.
    snapshot: Option<(Map, usize)>,
    writes: Vec<(Key, Write)>,
    /// What it wrote.
    written: BTreeSet<Place>,
    /// What it set or cleared, so that nothing stored matters there any more.
    decided: BTreeSet<Place>,
    /// What it read, and did not decide before.
    read: BTreeSet<Place>,
}

impl Open {
    /// Takes the snapshot, as the store does at the first read.
    pub(super) fn take_snapshot(&mut self, database: &Database) {
        if self.snapshot.is_none() {
            self.snapshot = Some((database.map.clone(), database.commits.len()));
        }
    }

    /// What a read of a key shows now.
    pub(super) fn value(&self, key: Key) -> Option<Vec<u8>> {
        let stored = self.snapshot.as_ref().and_then(|(map, _)| map.get(&key).cloned());
        let writes = self.writes.iter().filter(|(written, _)| *written == key);
        writes.fold(stored, |value, (_, write)| write.apply(value))
    }

    /// What a range read shows now.
    pub(super) fn rows(&self, read: &Stretch) -> Vec<(Key, Vec<u8>)> {
        let row = |key| self.value(key).map(|value| (key, value));
        let keys = read.low..read.high;
        match read.reverse {
            true => keys.rev().filter_map(row).take(read.limit).collect(),
            false => keys.filter_map(row).take(read.limit).collect(),
        }
    }

    pub(super) fn has_read(&mut self, key: Key) {
        self.has_read_places(place(key)..place(key) + 1);
    }

    /// Notes what a range read told about, given the rows it returned.
    pub(super) fn has_read_rows(&mut self, read: &Stretch, rows: &[(Key, Vec<u8>)]) {
        self.has_read_places(match rows.last() {
            Some((last, _)) if rows.len() == read.limit && read.reverse => place(*last)..place(read.high),
            Some((last, _)) if rows.len() == read.limit => place(read.low)..place(*last) + 1,
            _ => place(read.low)..place(read.high),
        });
    }

    pub(super) fn has_read_all(&mut self, low: Key, high: Key) {
        self.has_read_places(place(low)..place(high));
    }

    fn has_read_places(&mut self, places: std::ops::Range<Place>) {
        let decided = &self.decided;
        self.read.extend(places.filter(|place| !decided.contains(place)));
    }

    pub(super) fn write(&mut self, key: Key, write: Write) {
        self.written.insert(place(key));
        if write.is_blind() {
            self.decided.insert(place(key));
        }
        self.writes.push((key, write));
    }

    pub(super) fn clear_range(&mut self, low: Key, high: Key) {
        (low..high).for_each(|key| self.write(key, Write::Clear));
        self.written.extend(place(low)..place(high));
        self.decided.extend(place(low)..place(high));
    }

    /// Whether it must be refused if it commits now.
    pub(super) fn conflicts(&self, database: &Database) -> bool {
        let Some((_, since)) = &self.snapshot else { return false };
        let mut later = database.commits[*since..].iter();
        self.has_writes() && later.any(|written| !written.is_disjoint(&self.read))
    }

    pub(super) fn has_writes(&self) -> bool {
        !self.written.is_empty()
    }

    /// Puts its writes into the database.
    pub(super) fn apply(self, database: &mut Database) {
        for (key, write) in self.writes {
            match write.apply(database.map.remove(&key)) {
                Some(value) => database.map.insert(key, value),
                None => None,
            };
        }
        database.commits.push(self.written);
    }
}
