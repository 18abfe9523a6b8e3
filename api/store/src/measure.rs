//! What a call may hold and what it adds to a transaction's size: see [`crate::limits`].

use crate::contract::{Mutation, VERSIONSTAMP_BYTES};
use crate::error::StoreError;
use crate::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES, RESERVED_FROM};

/// What FoundationDB appends to a versionstamped key or value to say where the stamp goes, in bytes. It counts
/// towards the limits.
const OFFSET_BYTES: usize = 4;

/// What the entry of a mutation takes beside its bytes.
const MUTATION_OVERHEAD: usize = 48;
/// What the entry of a conflict range takes beside its bytes.
const RANGE_OVERHEAD: usize = 24;

/// Refuses a key that is too long or reserved.
pub(crate) fn check_key(key: &[u8]) -> Result<(), StoreError> {
    check_key_size(key.len())?;
    if key.first() == Some(&RESERVED_FROM) {
        return Err(StoreError::KeyReserved);
    }
    Ok(())
}

/// Refuses a range that is inverted or has a bound outside the legal range. An end may be one byte longer
/// than a key, so that the key just after the longest one can be named.
pub(crate) fn check_range(begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
    for bound in [begin, end] {
        if bound.len() > MAX_KEY_BYTES + 1 {
            return Err(StoreError::KeyTooLarge { size: bound.len() });
        }
        if bound > [RESERVED_FROM].as_slice() {
            return Err(StoreError::KeyReserved);
        }
    }
    if begin > end {
        return Err(StoreError::InvertedRange);
    }
    Ok(())
}

/// Refuses a mutation that breaks a limit; otherwise returns its size in bytes.
pub(crate) fn check_mutation(mutation: &Mutation) -> Result<usize, StoreError> {
    match mutation {
        Mutation::Set { key, value } => {
            check_key(key)?;
            check_value(value.len())?;
            Ok(written_bytes(key, value.len()))
        }
        Mutation::Clear { key } => {
            check_key(key)?;
            Ok(written_bytes(key, key.len() + 1))
        }
        Mutation::ClearRange { begin, end } => {
            check_range(begin, end)?;
            Ok(MUTATION_OVERHEAD + begin.len() + end.len() + 2 * range_bytes(begin, end))
        }
        Mutation::Atomic { key, operand, .. } => {
            check_key(key)?;
            check_value(operand.len())?;
            Ok(written_bytes(key, operand.len()))
        }
        Mutation::SetVersionstampedKey { key, offset, value } => {
            check_stamped(*offset, key.len())?;
            check_key_size(key.len() + OFFSET_BYTES)?;
            check_key(key)?;
            check_value(value.len())?;
            Ok(written_bytes(key, OFFSET_BYTES + value.len()))
        }
        Mutation::SetVersionstampedValue { key, value, offset } => {
            check_stamped(*offset, value.len())?;
            check_key(key)?;
            check_value(value.len() + OFFSET_BYTES)?;
            Ok(written_bytes(key, value.len() + OFFSET_BYTES))
        }
    }
}

fn check_key_size(size: usize) -> Result<(), StoreError> {
    if size > MAX_KEY_BYTES { Err(StoreError::KeyTooLarge { size }) } else { Ok(()) }
}

fn check_value(size: usize) -> Result<(), StoreError> {
    if size > MAX_VALUE_BYTES { Err(StoreError::ValueTooLarge { size }) } else { Ok(()) }
}

/// Refuses a versionstamp that would not lie inside its key or value.
fn check_stamped(offset: usize, size: usize) -> Result<(), StoreError> {
    match offset.checked_add(VERSIONSTAMP_BYTES) {
        Some(end) if end <= size => Ok(()),
        _ => Err(StoreError::VersionstampOffset { offset, size }),
    }
}

/// The size of a write to one key: the mutation, its write conflict range, and the read conflict range that it
/// may cut in two.
fn written_bytes(key: &[u8], parameter: usize) -> usize {
    MUTATION_OVERHEAD + key.len() + parameter + 2 * point_bytes(key)
}

/// The size of the conflict range that covers one key: the key, and the key with a zero byte after it.
pub(crate) fn point_bytes(key: &[u8]) -> usize {
    RANGE_OVERHEAD + 2 * key.len() + 1
}

/// The size of a conflict range.
pub(crate) fn range_bytes(begin: &[u8], end: &[u8]) -> usize {
    RANGE_OVERHEAD + begin.len() + end.len()
}
