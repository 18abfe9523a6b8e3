//! What can be wrong with a trail.

use std::fmt;

use uuid::Uuid;

use crate::records::AuditHash;

/// Something that is wrong with a tenant's trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditProblem {
    /// Whose trail it is.
    pub tenant: Uuid,
    /// The place in the chain that it is about, as far as that can be said.
    pub seq: Option<u64>,
    /// What is wrong there.
    pub fault: AuditFault,
}

impl fmt::Display for AuditProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "tenant {}, entry {seq}: {}", self.tenant, self.fault),
            None => write!(f, "tenant {}: {}", self.tenant, self.fault),
        }
    }
}

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// The entry's content and its hash disagree, or it is not written as the program writes entries.
    #[error("it was changed: it is not what its hash says")]
    Changed,
    /// The entry, or the one before it, stands there in the place of another one.
    #[error("it does not follow the entry before it: one of the two was exchanged")]
    Exchanged,
    /// Entries are gone.
    #[error("{}", if first == last { "it is missing".to_owned() } else { format!("the entries {first} to {last} are missing") })]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The entry stands behind its place.
    #[error("it stands after entry {after}: it was inserted, repeated or moved")]
    OutOfPlace {
        /// The newest entry before it.
        after: u64,
    },
    /// An entry that is in no chain stands among or after those that are.
    #[error("an entry that is in no chain stands after entry {after}: it was inserted, or changed")]
    Unchained {
        /// The newest entry before it.
        after: u64,
    },
    /// The entry cannot be read.
    #[error("{reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// An entry and an index disagree.
    #[error("{path}: {reason}")]
    Index {
        /// The path of the key.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are entries, but nothing says where they end.
    #[error("the head is missing; the last entry there is {last}")]
    NoHead {
        /// The place of the last entry.
        last: u64,
    },
    /// The head cannot be read, or is not written as the program writes heads.
    #[error("the head was changed: {reason}")]
    HeadUnreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// The head names another entry than the one at its place, or not the newest one.
    #[error("the head says {hash} for this place, and it is not so")]
    HeadDiffers {
        /// The hash in the head.
        hash: AuditHash,
    },
    /// The head names an entry behind the last one there is.
    #[error("the tail was cut off: the head names entry {head}, the last one there is {last}")]
    TailCut {
        /// The place in the head.
        head: u64,
        /// The place of the last entry; 0 if there is none.
        last: u64,
    },
    /// The signed head names another entry than the one at its place.
    #[error(
        "it is not the entry that the signed head names: the trail was written anew from there or before"
    )]
    SignedDiffers,
    /// The signed head names an entry behind the last one there is.
    #[error(
        "the tail was cut off, or the whole store put back to an earlier state: a signed head names entry {signed}, \
         the last one there is {last}"
    )]
    SignedTailCut {
        /// The place in the signed head.
        signed: u64,
        /// The place of the last entry; 0 if there is none.
        last: u64,
    },
}
