//! FoundationDB's limits, which hold on every backend, and how a transaction's size is counted.
//!
//! The size is what FoundationDB would send: the keys and values of all mutations, and the bounds of all
//! read and write conflict ranges. It is counted as calls are made, so a key written twice counts twice:
//! never less than FoundationDB counts, so this limit is always the one that is met first.

use std::time::Duration;

use crate::contract::Mutation;
use crate::error::StoreError;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 10_000;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 100_000;
/// The largest transaction, in bytes.
pub const MAX_TRANSACTION_BYTES: usize = 10_000_000;
/// How long after its first read a transaction may still read and commit.
pub const MAX_TRANSACTION_AGE: Duration = Duration::from_secs(5);
/// Keys from here on belong to the database itself; a range may end here.
pub const RESERVED_FROM: u8 = 0xff;

/// Refuses a key that is too long or reserved.
pub(crate) fn check_key(key: &[u8]) -> Result<(), StoreError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(StoreError::KeyTooLarge { size: key.len() });
    }
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
            if value.len() > MAX_VALUE_BYTES {
                return Err(StoreError::ValueTooLarge { size: value.len() });
            }
            Ok(key.len() + value.len() + point_bytes(key))
        }
        Mutation::Clear { key } => {
            check_key(key)?;
            Ok(2 * point_bytes(key))
        }
        Mutation::ClearRange { begin, end } => {
            check_range(begin, end)?;
            Ok(2 * (begin.len() + end.len()))
        }
    }
}

/// The bytes of the conflict range that covers one key: the key, and the key with a zero byte after it.
pub(crate) fn point_bytes(key: &[u8]) -> usize {
    2 * key.len() + 1
}
