//! Adding a change, in the transaction that makes it.

use super::position::Position;
use super::{Change, change};
use crate::contract::{Mutation, VERSIONSTAMP_BYTES};
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, Keyspace};
use crate::transaction::Transaction;

/// Appends a change, made at `at` (Unix milliseconds), to the feed. It is there exactly if the transaction commits.
/// Several changes of one transaction keep their order. Appending conflicts with nobody.
///
/// After this the transaction can read neither `changes` nor `changes_head`: that fails with
/// [`StoreError::Unreadable`], since the change has its place only once it is committed.
pub fn append(
    transaction: &Transaction,
    keys: &Keyspace,
    at: i64,
    change: &Change,
) -> Result<(), StoreError> {
    let (key, offset) = Position::unstamped(keys, transaction.next_number()?);
    let value = change::encode(at, change)?;
    transaction.mutate(Mutation::SetVersionstampedKey { key, offset, value })?;
    transaction.mutate(Mutation::SetVersionstampedValue {
        key: keys.global(GlobalFamily::ChangesHead, &()).into(),
        value: vec![0; VERSIONSTAMP_BYTES],
        offset: 0,
    })
}
