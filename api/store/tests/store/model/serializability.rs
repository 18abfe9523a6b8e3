//! Whether a history could have happened one transaction after the other, in an order that real time allows.
//!
//! The check knows nothing of conflict rules. It puts the committed writers in the order of their versionstamps,
//! works out from it every version each key has had, and finds for every read the version it must have seen at
//! its transaction's read version: if the value is another one, the history is refused right away. Then it
//! draws the direct serialization graph (Adya, "Weak Consistency", 1999) over the committed transactions, with
//! an edge to whoever
//!
//! - wrote the next version of a key (ww),
//! - read a version (wr), from the one that wrote it,
//! - replaced a version (rw), from the one that read it,
//! - began after one had ended (time),
//!
//! and looks for a cycle. Snapshot reads must see their snapshot, but make no edges.

use std::collections::BTreeMap;
use std::fmt;

use coditect_store::contract::{ReadMode, Version, Versionstamp};

use super::history::{Event, Key, Record};
use super::values::Write;

/// Why a transaction must come before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// The other wrote the next version of this key.
    WriteWrite(Key),
    /// The other read what it had written.
    WriteRead(Key),
    /// The other replaced what it had read.
    ReadWrite(Key),
    /// The other began after it had ended.
    Time,
}

/// What is wrong with a history. Transactions are named by their place in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A read saw a value that its read version does not explain.
    Unexplained { transaction: usize, key: Key, seen: Option<Vec<u8>>, expected: Option<Vec<u8>> },
    /// Two transactions have one versionstamp.
    SameStamp(usize, usize),
    /// No order satisfies all of these.
    Cycle(Vec<(usize, Because)>),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Cycle(cycle) = self else { return write!(f, "{self:?}") };
        write!(f, "not serializable:")?;
        cycle.iter().try_for_each(|(name, because)| write!(f, " {name} -{because:?}->"))
    }
}

/// One version of a key: who wrote it (nobody, at first), when, and its value.
struct Written {
    by: Option<(usize, Versionstamp)>,
    value: Option<Vec<u8>>,
}

impl Written {
    /// The commit's; `None`, which is less than any, if it was there before.
    fn version(&self) -> Option<Version> {
        let (_, Versionstamp([a, b, c, d, e, f, g, h, ..])) = self.by?;
        Some(Version(u64::from_be_bytes([a, b, c, d, e, f, g, h])))
    }
}

/// Checks a history. `before` holds the values from before its first transaction.
pub(crate) fn check(before: &BTreeMap<Key, Vec<u8>>, history: &[Record]) -> Result<(), Violation> {
    let versions = versions(before, history)?;
    let mut graph = Graph { edges: vec![Vec::new(); history.len()] };
    for (key, versions) in &versions {
        for pair in versions.windows(2) {
            if let [Written { by: Some((first, _)), .. }, Written { by: Some((next, _)), .. }] = pair {
                graph.add(*first, *next, Because::WriteWrite(*key));
            }
        }
    }
    for (name, record) in history.iter().enumerate() {
        let checked = versions_read(name, record, &versions)?;
        if record.committed.is_none() {
            continue;
        }
        for (key, at) in checked {
            let versions = &versions[&key];
            if let Some((writer, _)) = versions[at].by {
                graph.add(writer, name, Because::WriteRead(key));
            }
            if let Some(Written { by: Some((replacer, _)), .. }) = versions.get(at + 1) {
                graph.add(name, *replacer, Because::ReadWrite(key));
            }
        }
    }
    graph.add_time(history);
    graph.cycle().map_or(Ok(()), |cycle| Err(Violation::Cycle(cycle)))
}

/// Every version of every key, oldest first.
fn versions(
    before: &BTreeMap<Key, Vec<u8>>,
    history: &[Record],
) -> Result<BTreeMap<Key, Vec<Written>>, Violation> {
    let mut versions: BTreeMap<Key, Vec<Written>> = BTreeMap::new();
    for key in history.iter().flat_map(|record| &record.events).map(Event::key) {
        let first = || vec![Written { by: None, value: before.get(&key).cloned() }];
        versions.entry(key).or_insert_with(first);
    }
    let mut writers: Vec<_> =
        history.iter().enumerate().filter_map(|(name, r)| Some((r.committed??, name))).collect();
    writers.sort();
    if let Some([(_, a), (_, b)]) = writers.array_windows().find(|[a, b]| a.0 == b.0) {
        return Err(Violation::SameStamp(*a, *b));
    }
    for (stamp, name) in writers {
        for event in &history[name].events {
            let Event::Write { key, write } = event else { continue };
            let Some(of_key) = versions.get_mut(key) else { continue };
            let Some(newest) = of_key.last_mut() else { continue };
            let value = write.apply(newest.value.clone());
            if newest.by == Some((name, stamp)) {
                newest.value = value;
            } else {
                of_key.push(Written { by: Some((name, stamp)), value });
            }
        }
    }
    Ok(versions)
}

/// The versions that a transaction read from others, and that are to be checked.
fn versions_read(
    name: usize,
    record: &Record,
    versions: &BTreeMap<Key, Vec<Written>>,
) -> Result<Vec<(Key, usize)>, Violation> {
    let mut checked = Vec::new();
    let mut own: BTreeMap<Key, Vec<&Write>> = BTreeMap::new();
    for event in &record.events {
        match event {
            Event::Write { key, write } => {
                let writes = own.entry(*key).or_default();
                if write.is_blind() {
                    writes.clear();
                }
                writes.push(write);
            }
            Event::Read { key, value: seen, mode } => {
                let writes = own.get(key).map_or(&[][..], Vec::as_slice);
                let of_key = &versions[key];
                let visible = |written: &Written| written.version() <= record.read_version;
                let at = of_key.partition_point(visible) - 1;
                let expected =
                    writes.iter().fold(of_key[at].value.clone(), |value, write| write.apply(value));
                if *seen != expected {
                    let (key, seen) = (*key, seen.clone());
                    return Err(Violation::Unexplained { transaction: name, key, seen, expected });
                }
                let decided_by_itself = writes.first().is_some_and(|write| write.is_blind());
                if *mode == ReadMode::Serializable && !decided_by_itself {
                    checked.push((*key, at));
                }
            }
        }
    }
    Ok(checked)
}

impl Event {
    fn key(&self) -> Key {
        match self {
            Self::Read { key, .. } | Self::Write { key, .. } => *key,
        }
    }
}

/// From each transaction to those that must come after it.
struct Graph {
    edges: Vec<Vec<(usize, Because)>>,
}

impl Graph {
    fn add(&mut self, from: usize, to: usize, because: Because) {
        if from != to {
            self.edges[from].push((to, because));
        }
    }

    fn add_time(&mut self, history: &[Record]) {
        let mut committed: Vec<_> =
            history.iter().enumerate().filter(|(_, record)| record.committed.is_some()).collect();
        committed.sort_by_key(|(_, record)| record.began);
        for (name, record) in &committed {
            let later = committed.partition_point(|(_, other)| other.began <= record.ended);
            // Who began after one of these had ended comes after them, and so after this one.
            let mut until = u64::MAX;
            for (other, after) in &committed[later..] {
                if after.began > until {
                    break;
                }
                until = until.min(after.ended);
                self.edges[*name].push((*other, Because::Time));
            }
        }
    }

    /// A cycle, if there is one.
    fn cycle(&self) -> Option<Vec<(usize, Because)>> {
        /// How far the search has come with a transaction.
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            OnPath,
            Done,
        }
        let mut seen = vec![Seen::No; self.edges.len()];
        for root in 0..self.edges.len() {
            if seen[root] != Seen::No {
                continue;
            }
            // The path from the root, each with the next of its edges to follow.
            let mut path = vec![(root, 0)];
            seen[root] = Seen::OnPath;
            while let Some((at, next)) = path.last_mut() {
                let Some((to, _)) = self.edges[*at].get(*next) else {
                    seen[*at] = Seen::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                match seen[*to] {
                    Seen::Done => {}
                    Seen::No => {
                        seen[*to] = Seen::OnPath;
                        path.push((*to, 0));
                    }
                    Seen::OnPath => {
                        let start = path.iter().position(|(name, _)| name == to)?;
                        let edge = |(name, next): &(usize, usize)| (*name, self.edges[*name][next - 1].1);
                        return Some(path[start..].iter().map(edge).collect());
                    }
                }
            }
        }
        None
    }
}
