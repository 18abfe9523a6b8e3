//! A place in the feed.

use std::fmt;

use foundationdb_tuple::Versionstamp as TupleStamp;

use crate::contract::{VERSIONSTAMP_BYTES, Versionstamp};
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, Key, Keyspace};

/// The length of a [`Position`] in bytes: a versionstamp, and a number within its transaction.
const POSITION_BYTES: usize = VERSIONSTAMP_BYTES + 2;

/// A place in the feed: all changes up to and including one. Positions sort as the changes were made, and can be kept
/// by the follower over a restart ([`Position::to_bytes`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position([u8; POSITION_BYTES]);

impl Position {
    /// Before all changes.
    pub const START: Self = Self([0; POSITION_BYTES]);

    /// The form to be kept.
    pub fn to_bytes(self) -> [u8; POSITION_BYTES] {
        self.0
    }

    /// The position that was kept.
    pub fn from_bytes(bytes: [u8; POSITION_BYTES]) -> Self {
        Self(bytes)
    }

    /// After all changes of a transaction.
    pub(super) fn after(stamp: Versionstamp) -> Self {
        Self::of(stamp, u16::MAX)
    }

    /// The transaction in which this position lies.
    pub(super) fn stamp(self) -> Versionstamp {
        let mut stamp = [0; VERSIONSTAMP_BYTES];
        stamp.copy_from_slice(&self.0[..VERSIONSTAMP_BYTES]);
        Versionstamp(stamp)
    }

    /// The change with that number in a transaction.
    fn of(stamp: Versionstamp, number: u16) -> Self {
        let mut bytes = [0; POSITION_BYTES];
        let (high, low) = bytes.split_at_mut(VERSIONSTAMP_BYTES);
        high.copy_from_slice(&stamp.0);
        low.copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }

    /// The key of the change here.
    pub(super) fn key(self, keys: &Keyspace) -> Key {
        keys.global(GlobalFamily::Changes, &(TupleStamp::from(self.0),))
    }

    /// The first key that can hold a change after this position.
    pub(super) fn next_key(self, keys: &Keyspace) -> Vec<u8> {
        let mut key = Vec::from(self.key(keys));
        key.push(0);
        key
    }

    /// The position of the change at a key.
    pub(super) fn of_key(keys: &Keyspace, key: &[u8]) -> Result<Self, StoreError> {
        let (stamp,): (TupleStamp,) = keys.global_unpack(GlobalFamily::Changes, key)?;
        Ok(Self(*stamp.as_bytes()))
    }

    /// The key of change `number` of a transaction that is not committed, and where the stamp goes in it.
    pub(super) fn unstamped(keys: &Keyspace, number: u16) -> (Vec<u8>, usize) {
        let key = Vec::from(Self::of(Versionstamp([0; VERSIONSTAMP_BYTES]), number).key(keys));
        let offset = key.len() - POSITION_BYTES;
        (key, offset)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The stamp in `changes_head` or `changes_horizon`.
pub(super) fn stamp_in(family: GlobalFamily, value: &[u8]) -> Result<Versionstamp, StoreError> {
    value.try_into().map(Versionstamp).map_err(|_| StoreError::Record {
        family: family.name(),
        reason: format!("{} bytes instead of {VERSIONSTAMP_BYTES}", value.len()),
    })
}
