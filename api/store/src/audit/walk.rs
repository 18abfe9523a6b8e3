//! One tenant's chain, entry by entry, from its beginning to its end.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::chain;
use super::problem::AuditFault;
use crate::records::{AuditEntry, AuditHash, AuditLink, Record};

/// A walk along a chain. Its memory does not grow with the chain.
pub(super) struct Walk {
    /// The place that comes next.
    next: u64,
    /// The hash of the entry before, if that is known.
    prev: Option<AuditHash>,
    /// How many entries were seen, those in no chain included.
    pub(super) entries: u64,
    /// How many of them are in no chain and stand before the chain's beginning.
    pub(super) unchained: u64,
    /// Hash and time of the entries at these places, once they were seen.
    pub(super) watched: BTreeMap<u64, Option<(AuditHash, i64)>>,
}

/// A place, as far as that can be said, and what is wrong there.
pub(super) type Found = (Option<u64>, AuditFault);

impl Walk {
    pub(super) fn new(tenant: Uuid, watched: impl IntoIterator<Item = u64>) -> Self {
        Self {
            next: 1,
            prev: Some(chain::beginning(tenant)),
            entries: 0,
            unchained: 0,
            watched: watched.into_iter().map(|seq| (seq, None)).collect(),
        }
    }

    /// The place of the newest entry so far.
    pub(super) fn place(&self) -> u64 {
        self.next - 1
    }

    /// Looks at the next entry, as it is stored.
    pub(super) fn step(&mut self, stored: &[u8]) -> Vec<Found> {
        self.entries += 1;
        match AuditEntry::decode(stored) {
            Ok(entry) => match entry.link {
                Some(link) => self.chained(&entry, link, stored),
                None => self.unchained().into_iter().collect(),
            },
            Err(error) => {
                // Most likely it is the next one.
                let seq = self.next;
                (self.next, self.prev) = (seq + 1, None);
                vec![(Some(seq), AuditFault::Unreadable { reason: error.to_string() })]
            }
        }
    }

    fn unchained(&mut self) -> Option<Found> {
        if self.next > 1 {
            return Some((None, AuditFault::Unchained { after: self.place() }));
        }
        self.unchained += 1;
        None
    }

    fn chained(&mut self, entry: &AuditEntry, link: AuditLink, stored: &[u8]) -> Vec<Found> {
        let AuditLink { seq, prev, hash } = link;
        let mut found = Vec::new();
        let canonical = entry.encode().is_ok_and(|bytes| bytes == stored);
        let is_sound = canonical
            && chain::hash(entry, seq, &prev) == hash
            && entry.id == chain::entry_id(seq, entry.id)
            && (1..=chain::MAX_SEQ).contains(&seq);
        if !is_sound {
            // What it says of its place is not to be believed either, unless it is the place that it stands at.
            found.push((Some(if seq == self.next { seq } else { self.next }), AuditFault::Changed));
            if seq != self.next {
                (self.next, self.prev) = (self.next + 1, None);
                return found;
            }
        } else if seq < self.next {
            found.push((Some(seq), AuditFault::OutOfPlace { after: self.place() }));
            return found;
        } else if seq > self.next {
            found.push((Some(self.next), AuditFault::Missing { first: self.next, last: seq - 1 }));
        } else if self.prev.is_some_and(|expected| expected != prev) {
            found.push((Some(seq), AuditFault::Exchanged));
        }
        (self.next, self.prev) = (seq + 1, is_sound.then_some(hash));
        if let Some(watched) = self.watched.get_mut(&seq) {
            *watched = Some((hash, entry.at));
        }
        found
    }
}
