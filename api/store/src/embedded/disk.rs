//! What a database lies on, and what is known of it: which header is durable, and whether it works again.
//!
//! redb writes a commit's pages into free places and then one header, within one sector, that makes them the
//! database. So as long as the last header that was synced is put back, a commit that failed half-way has not
//! happened: nothing it wrote is reachable.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// After the disk was full, writes are not tried again before this much is free, in bytes.
const HEADROOM_BYTES: u64 = 1 << 20;
/// The most that is read and written at once when a failed write is repeated, in bytes.
const REPEAT_BYTES: usize = 1 << 20;

/// Bytes at offsets that survive: a file, or what a test puts in its place. Reads run concurrently with
/// everything else.
pub(super) trait Medium: fmt::Debug + Send + Sync + 'static {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` from `offset`; fails with `UnexpectedEof` beyond the end.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts or extends, with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Returns when all that was written before is durable.
    fn sync(&self) -> io::Result<()>;
    /// How many bytes could still be allocated, where that is known.
    fn available(&self) -> io::Result<Option<u64>>;
    /// Lets others have it. Nobody reads or writes any more.
    fn release(&self);
}

/// A file under an exclusive lock, held until it is dropped or [`Disk::release`]d.
///
/// It is opened once and kept: the kernel reports a failed write-back to each open file once, so one opened
/// later could sync without hearing of it.
#[derive(Debug)]
pub(super) struct LockedFile(File);

impl LockedFile {
    /// Locks the file; `None` if another process, or another store in this one, has it. The lock (`flock`) is
    /// one that redb's own programs respect.
    pub(super) fn new(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes what a start that was cut off left behind.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.0.set_len(0)
    }
}

impl Medium for LockedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn available(&self) -> io::Result<Option<u64>> {
        let space = rustix::fs::fstatvfs(&self.0)?;
        Ok(Some(space.f_bavail.saturating_mul(space.f_frsize)))
    }

    fn release(&self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "cannot unlock the database file before the last transaction has ended");
        }
    }
}

/// What was asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write { offset: u64, len: usize },
    SetLen(u64),
    Sync,
}

/// The first operation of a generation that failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) operation: Operation,
    pub(super) error: Arc<io::Error>,
}

/// True if the error means that there is no room: on the disk, in a quota, or under a limit on the file's size.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// A medium, with the header that was made durable last.
#[derive(Debug)]
pub(super) struct Disk {
    medium: Box<dyn Medium>,
    header: Mutex<Header>,
}

#[derive(Debug, Default)]
struct Header {
    durable: Vec<u8>,
    /// Written, or tried to, since the last sync.
    pending: Option<Vec<u8>>,
    /// How many headers were made durable.
    count: u64,
}

impl Disk {
    pub(super) fn new(medium: impl Medium) -> Self {
        Self { medium: Box::new(medium), header: Mutex::default() }
    }

    fn header(&self) -> MutexGuard<'_, Header> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.medium.len()
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium.read(offset, out)
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset == 0 {
            self.header().pending = Some(data.to_vec());
        }
        self.medium.write(offset, data)
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium.set_len(len)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.medium.sync()?;
        let mut header = self.header();
        if let Some(written) = header.pending.take() {
            header.durable = written;
            header.count += 1;
        }
        Ok(())
    }

    /// See [`Medium::release`].
    pub(super) fn release(&self) {
        self.medium.release();
    }

    /// How many headers were made durable; grows with each commit that was.
    pub(super) fn headers_synced(&self) -> u64 {
        self.header().count
    }

    /// Puts the durable header back if another one was written over it. If that succeeds, what was written
    /// since has not happened, not even after a crash.
    pub(super) fn restore(&self) -> io::Result<()> {
        let durable = {
            let header = self.header();
            if header.pending.is_none() || header.durable.is_empty() {
                return Ok(());
            }
            header.durable.clone()
        };
        self.medium.write(0, &durable)?;
        self.medium.sync()?;
        self.header().pending = None;
        Ok(())
    }

    /// Whether the disk works again: repeats what failed, with the bytes that are there, then restores the
    /// header and syncs. Nobody else may write meanwhile.
    pub(super) fn probe(&self, failure: &Failure) -> io::Result<()> {
        if is_full(&failure.error)
            && let Some(available) = self.medium.available()?
            && available < HEADROOM_BYTES
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match failure.operation {
            Operation::Write { offset, len } => self.rewrite(offset, len)?,
            // A longer file is no harm: redb takes its layout from the length.
            Operation::SetLen(len) if len > self.medium.len()? => self.medium.set_len(len)?,
            Operation::SetLen(_) | Operation::Read | Operation::Sync => {}
        }
        self.restore()?;
        self.medium.sync()
    }

    fn rewrite(&self, offset: u64, len: usize) -> io::Result<()> {
        let mut buffer = vec![0; len.min(REPEAT_BYTES)];
        let (mut at, mut left) = (offset, len);
        while left > 0 {
            let part = buffer.len().min(left);
            let Some(bytes) = buffer.get_mut(..part) else { break };
            self.medium.read(at, bytes)?;
            self.medium.write(at, bytes)?;
            at += bytes.len() as u64;
            left -= part;
        }
        Ok(())
    }
}
