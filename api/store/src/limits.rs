//! FoundationDB's limits, which hold on every backend, and how a transaction's size is counted.
//!
//! The size is at least what FoundationDB's client counts (`Transaction::getSize` in its
//! `fdbclient/NativeAPI.actor.cpp`): the keys and values of all mutations and the bounds of all read and write
//! conflict ranges, each with the memory its entry takes there. It is counted as calls are made, so a key
//! written twice counts twice. So this limit is the one that is met first, on both backends at the same call.

use std::time::Duration;

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 10_000;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 100_000;
/// The largest transaction, in bytes.
pub const MAX_TRANSACTION_BYTES: usize = 10_000_000;
/// How long after its first read a transaction may still read and commit.
pub const MAX_TRANSACTION_AGE: Duration = Duration::from_secs(5);
/// The most watches open at a time in one process; FoundationDB's default for a database handle.
pub const MAX_WATCHES: usize = 10_000;
/// Keys from here on belong to the database itself; a range may end here.
pub const RESERVED_FROM: u8 = 0xff;
