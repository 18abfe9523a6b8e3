//! The store's contract: strictly serializable optimistic transactions over ordered byte keys, with
//! FoundationDB's meaning. A backend implements [`Backend`] and [`BackendTransaction`]; everything else in
//! the program uses [`crate::Store`] and [`crate::Transaction`], which add the limits and the retry loop.
//!
//! What the contract promises, whatever the backend:
//!
//! - A transaction reads one snapshot, taken at its first read, plus its own writes.
//! - It commits only if nothing it read (outside snapshot reads) was written by a transaction that committed
//!   after that snapshot. Keys it had itself written or cleared before reading them do not count as read.
//! - Once `commit` has returned, the writes are durable and every later transaction sees them.
//! - Atomic mutations are applied to the value there is at commit. Reading a key after one in the same
//!   transaction counts as a read.
//! - A transaction without writes is not checked for conflicts: its reads were consistent anyway. Its age counts.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::StoreError;

/// A point in the store's history. Later commits have greater versions, also across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// The bytes of a [`Versionstamp`].
pub const VERSIONSTAMP_BYTES: usize = 10;

/// A transaction's place in the order of all commits: its commit version, 8 bytes, and its place among the
/// transactions of that version, 2 bytes, both big-endian. So stamps sort as bytes as the commits did.
///
/// Source: FoundationDB, "Versionstamps" in its data-modelling guide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versionstamp(pub [u8; VERSIONSTAMP_BYTES]);

impl Versionstamp {
    /// The stamp of the `order`-th transaction of a version.
    pub fn new(version: Version, order: u16) -> Self {
        let mut bytes = [0; VERSIONSTAMP_BYTES];
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&version.0.to_be_bytes());
        low.copy_from_slice(&order.to_be_bytes());
        Self(bytes)
    }
}

impl fmt::Debug for Versionstamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a commit that wrote something returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The version from which on every reader sees the writes.
    pub version: Version,
    /// What the store put in place of the transaction's versionstamps.
    pub versionstamp: Versionstamp,
}

/// Whether a read takes part in conflict detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// The transaction fails to commit if what was read has changed by then.
    Serializable,
    /// The read is not checked at commit: for statistics, hints and clean-up.
    Snapshot,
}

/// One write. Writes of a transaction take effect in the order they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// Sets a key to a value.
    Set {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key if it is there.
    Clear {
        /// The key.
        key: Vec<u8>,
    },
    /// Removes every key from `begin` up to, but without, `end`.
    ClearRange {
        /// The first key to go.
        begin: Vec<u8>,
        /// The first key to stay.
        end: Vec<u8>,
    },
    /// Changes a value without reading it: two transactions that only do this to a key never conflict.
    Atomic {
        /// The key.
        key: Vec<u8>,
        /// What is done.
        op: AtomicOp,
        /// What it is done with.
        operand: Bytes,
    },
    /// Sets a key that carries the transaction's [`Versionstamp`]. Until the commit nobody knows the key: a
    /// read that could meet it fails with [`StoreError::Unreadable`], and so does the commit after such a read. A
    /// later clear takes it back if it covers the key with the lowest stamp the transaction could get: one above
    /// its read version if it has one by then, else zero. So take the read version before appending to a log that
    /// the same transaction trims.
    SetVersionstampedKey {
        /// The key, with [`VERSIONSTAMP_BYTES`] bytes of any content at `offset`.
        key: Vec<u8>,
        /// Where the stamp goes, in bytes from the key's begin.
        offset: usize,
        /// The value.
        value: Bytes,
    },
    /// Sets a value that carries the transaction's [`Versionstamp`]. Reading the key in the same transaction
    /// fails with [`StoreError::Unreadable`], until it is cleared; the commit after such a read does too.
    SetVersionstampedValue {
        /// The key.
        key: Vec<u8>,
        /// The value, with [`VERSIONSTAMP_BYTES`] bytes of any content at `offset`.
        value: Vec<u8>,
        /// Where the stamp goes, in bytes from the value's begin.
        offset: usize,
    },
}

/// What an atomic mutation does. Numbers are unsigned, little-endian, as wide as the operand: a shorter
/// stored value is extended with zero bytes, a longer one cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicOp {
    /// Adds the operand, wrapping; an absent value counts as zero.
    Add,
    /// Keeps the smaller number; an absent value becomes the operand.
    Min,
    /// Keeps the greater number; an absent value becomes the operand.
    Max,
    /// Removes the key if its value equals the operand, byte for byte.
    CompareAndClear,
}

/// A range to read: keys from `begin` up to, but without, `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRead {
    /// The first key that may be returned.
    pub begin: Vec<u8>,
    /// The first key after the range.
    pub end: Vec<u8>,
    /// The most rows to return; at least 1.
    pub limit: usize,
    /// From the end backwards.
    pub reverse: bool,
    /// Whether the part that was read is checked at commit.
    pub mode: ReadMode,
}

impl RangeRead {
    /// The first `limit` rows of a range, ascending, checked at commit.
    pub fn new(begin: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>, limit: usize) -> Self {
        Self { begin: begin.into(), end: end.into(), limit, reverse: false, mode: ReadMode::Serializable }
    }

    /// The same range from its end.
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// The same range, not checked at commit.
    pub fn snapshot(mut self) -> Self {
        self.mode = ReadMode::Snapshot;
        self
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Bytes,
}

/// A part of a range, in the order asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePage {
    /// The rows; fewer than the limit if the range ended or the page grew to about 1 MiB.
    pub rows: Vec<Row>,
    /// True if reading stopped at the limit or at the page's size, so rows may follow. Go on just after
    /// (reversed: with `end` at) the last row's key.
    pub more: bool,
}

/// Resolves once the value of a key is no longer what its transaction saw.
///
/// Starts to watch when its transaction commits (one without writes must be committed too) and may outlive it
/// by any time. It can also resolve although nothing changed, and may miss a value that changed and changed
/// back; so read the key again, and set the next watch in that transaction. Dropping it ends it.
///
/// # Errors
///
/// [`StoreError::Cancelled`] if the transaction did not commit, [`StoreError::Closed`] if the store was closed.
pub struct Watch(BoxFuture<'static, Result<(), StoreError>>);

impl Watch {
    /// A watch that is what `future` is.
    pub fn new(future: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Watch {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What a backend must provide to run transactions.
#[async_trait]
pub trait Backend: Send + Sync {
    /// What it is, in one word, for people: `embedded` or `foundationdb`.
    fn name(&self) -> &'static str;

    /// Starts a transaction. Costs nothing until its first read.
    fn begin(&self) -> Box<dyn BackendTransaction>;

    /// Whether the backend can read and commit, as far as is known without writing. For readiness.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The newest state, readable for as long as it is held rather than for 5 s; `None` where the backend has
    /// no such thing. While it is held the backend keeps everything that has changed since, so that an
    /// embedded file grows: for exports and backups.
    fn long_snapshot(&self) -> Result<Option<Box<dyn SnapshotRows>>, StoreError> {
        Ok(None)
    }

    /// Lets queued commits finish, then releases files, threads and connections. Later use of the store
    /// fails with [`StoreError::Closed`]. Calling it again does nothing.
    async fn close(&self) -> Result<(), StoreError>;
}

/// The rows of one moment, from [`Backend::long_snapshot`]. Dropping it lets go of that moment.
#[async_trait]
pub trait SnapshotRows: Send + Sync {
    /// The version of that moment.
    fn version(&self) -> Version;

    /// Rows of a range, as [`BackendTransaction::range`] without writes; the mode means nothing here.
    /// Cancel safe.
    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError>;
}

/// One transaction of a backend. Keys, values and ranges were checked against [`crate::limits`] before they
/// get here; the age limit is the backend's to hold.
///
/// Reads may run concurrently with each other. Dropping a read's future is harmless. Dropping it without a
/// commit discards the transaction.
#[async_trait]
pub trait BackendTransaction: Send + Sync {
    /// The version this transaction reads at; takes the snapshot if there was no read yet.
    async fn read_version(&self) -> Result<Version, StoreError>;

    /// The value of a key, with this transaction's own writes.
    async fn get(&self, key: &[u8], mode: ReadMode) -> Result<Option<Bytes>, StoreError>;

    /// Rows of a range, with this transaction's own writes. Only the part that was really read is checked
    /// at commit.
    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError>;

    /// Buffers a write.
    fn mutate(&self, mutation: Mutation) -> Result<(), StoreError>;

    /// Adds a range to what is checked at commit, as if it had been read: without what the transaction has set
    /// or cleared itself before.
    fn add_read_conflict(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError>;

    /// Watches a key from the value it has now, with this transaction's own writes; counts as a read of it.
    async fn watch(&self, key: &[u8]) -> Result<Watch, StoreError>;

    /// Commits; `None` if there was nothing to write. Every later call fails with [`StoreError::Used`].
    /// Dropping this future once it was polled leaves the result unknown.
    async fn commit(&self) -> Result<Option<Committed>, StoreError>;
}
