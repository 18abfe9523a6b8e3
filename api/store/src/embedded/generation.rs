//! One opening of the database by redb, and what keeps a failed one from doing harm.
//!
//! redb refuses everything, reads too, once a write has failed, until the database is opened again; and opening
//! reads the whole file. So redb is not told. From the first failure on a generation is [`Mode::Held`]: what
//! redb writes stays in memory and is never made durable; its commit is not published, and whoever made it asks
//! [`Generation::is_direct`] before believing in it. Its snapshots stay readable for as long as it takes until
//! the disk works again; then a new generation takes over and the old one is fenced.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use tokio::sync::Notify;

use super::disk::{Disk, Failure, Operation};

/// The unit in which writes are held, in bytes.
const BLOCK_BYTES: u64 = 4096;
/// The most that is held, in bytes: more than one commit writes. Beyond it writes fail in redb too, and then
/// only what is cached can be read.
const MAX_HELD_BYTES: u64 = 256 << 20;

/// Where writes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// To the disk.
    Direct = 0,
    /// Into memory.
    Held = 1,
    /// Nowhere: reads and writes fail.
    Fenced = 2,
}

/// The writes that are held.
#[derive(Debug, Default)]
struct Held {
    blocks: HashMap<u64, Vec<u8>>,
    /// The length, where it differs from the disk's.
    len: Option<u64>,
    failure: Option<Failure>,
}

#[derive(Debug)]
pub(super) struct Generation {
    disk: Arc<Disk>,
    mode: AtomicU8,
    /// Locked around every write, so that none is on its way when the mode has changed.
    held: Mutex<Held>,
    /// Told of the first failure.
    pub(super) trouble: Notify,
}

impl Generation {
    /// One that holds its writes, until [`Generation::promote`].
    pub(super) fn held(disk: Arc<Disk>) -> Arc<Self> {
        let mode = AtomicU8::new(Mode::Held as u8);
        Arc::new(Self { disk, mode, held: Mutex::default(), trouble: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode(&self) -> Mode {
        match self.mode.load(Ordering::SeqCst) {
            0 => Mode::Direct,
            1 => Mode::Held,
            _ => Mode::Fenced,
        }
    }

    /// True if all that was written went to the disk and all syncs were real.
    pub(super) fn is_direct(&self) -> bool {
        self.mode() == Mode::Direct
    }

    /// True if a newer generation took over, or the database was closed.
    pub(super) fn is_fenced(&self) -> bool {
        self.mode() == Mode::Fenced
    }

    /// The first operation that failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    /// Lets nothing more through to the disk; reads go on.
    pub(super) fn hold(&self) {
        let _held = self.lock();
        if self.is_direct() {
            self.mode.store(Mode::Held as u8, Ordering::SeqCst);
        }
    }

    /// Ends reads and writes. When this returns none is on its way that could still do or show anything.
    pub(super) fn fence(&self) {
        let mut held = self.lock();
        self.mode.store(Mode::Fenced as u8, Ordering::SeqCst);
        held.blocks = HashMap::new();
    }

    /// Writes what is held to the disk, the header last, and from now on directly. After an error the
    /// generation is of no more use.
    pub(super) fn promote(&self) -> io::Result<()> {
        let mut held = self.lock();
        if let Some(len) = held.len {
            self.disk.set_len(len)?;
        }
        let header = held.blocks.remove(&0);
        if !held.blocks.is_empty() || held.len.is_some() {
            for (block, bytes) in &held.blocks {
                self.disk.write(block * BLOCK_BYTES, bytes)?;
            }
            self.disk.sync()?;
        }
        if let Some(header) = header {
            self.disk.write(0, &header)?;
            self.disk.sync()?;
        }
        *held = Held::default();
        self.mode.store(Mode::Direct as u8, Ordering::SeqCst);
        Ok(())
    }

    /// Reads from the disk and from what is held.
    fn read_held(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.disk.read(offset, out) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let len = self.lock().len(&self.disk)?;
                if offset.saturating_add(out.len() as u64) > len {
                    return Err(error);
                }
                // Held, or zeros, are what lies beyond the disk's own end.
                out.fill(0);
                read_up_to_end(&self.disk, offset, out)?;
            }
            read => read?,
        }
        self.lock().lay_over(offset, out);
        Ok(())
    }

    /// Notes a failure; only the first one counts.
    fn failed(&self, held: &mut Held, operation: Operation, error: io::Error) {
        if held.failure.is_none() {
            held.failure = Some(Failure { operation, error: Arc::new(error) });
            self.trouble.notify_one();
        }
    }

    /// Does `direct` on the disk, or, from the first failure on, `instead` in memory.
    fn change(
        &self,
        operation: Operation,
        direct: impl FnOnce(&Disk) -> io::Result<()>,
        instead: impl FnOnce(&mut Held, &Disk) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut held = self.lock();
        match self.mode() {
            Mode::Direct => {
                let Err(error) = direct(&self.disk) else { return Ok(()) };
                self.failed(&mut held, operation, error);
                self.mode.store(Mode::Held as u8, Ordering::SeqCst);
                instead(&mut held, &self.disk)
            }
            Mode::Held => instead(&mut held, &self.disk),
            Mode::Fenced => Err(fenced()),
        }
    }
}

fn fenced() -> io::Error {
    io::Error::other("the database was opened anew, or closed")
}

impl Held {
    fn len(&self, disk: &Disk) -> io::Result<u64> {
        self.len.map_or_else(|| disk.len(), Ok)
    }

    fn set_len(&mut self, len: u64) {
        self.len = Some(len);
        self.blocks.retain(|block, _| block * BLOCK_BYTES < len);
    }

    fn write(&mut self, disk: &Disk, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let (block, range) = piece(at, rest.len());
            let (now, later) = rest.split_at_checked(range.len()).unwrap_or((rest, &[]));
            if !self.blocks.contains_key(&block) {
                if self.blocks.len() as u64 * BLOCK_BYTES >= MAX_HELD_BYTES {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                let mut bytes = vec![0; range.end.max(BLOCK_BYTES as usize)];
                if now.len() < bytes.len() {
                    read_up_to_end(disk, block * BLOCK_BYTES, &mut bytes)?;
                }
                self.blocks.insert(block, bytes);
            }
            if let Some(target) = self.blocks.get_mut(&block).and_then(|bytes| bytes.get_mut(range)) {
                target.copy_from_slice(now);
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Lays the held blocks over what was read from the disk.
    fn lay_over(&self, offset: u64, out: &mut [u8]) {
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let (block, range) = piece(at, rest.len());
            let Some((now, later)) = rest.split_at_mut_checked(range.len()) else { return };
            if let Some(bytes) = self.blocks.get(&block).and_then(|bytes| bytes.get(range)) {
                now.copy_from_slice(bytes);
            }
            at += now.len() as u64;
            rest = later;
        }
    }
}

/// The block at `at`, and the part of it that `len` bytes from there on cover.
fn piece(at: u64, len: usize) -> (u64, Range<usize>) {
    let begin = usize::try_from(at % BLOCK_BYTES).unwrap_or(0);
    (at / BLOCK_BYTES, begin..(begin + len).min(BLOCK_BYTES as usize))
}

/// Reads what there is; beyond the end are zeros.
fn read_up_to_end(disk: &Disk, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let there = usize::try_from(disk.len()?.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
    match out.get_mut(..there) {
        Some(part) if !part.is_empty() => disk.read(offset, part),
        _ => Ok(()),
    }
}

/// What redb gets: it wants to own its backend.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Generation>);

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        let held = self.0.lock();
        held.len(&self.0.disk)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let generation = &self.0;
        let read = match generation.mode() {
            Mode::Direct => generation.disk.read(offset, out),
            Mode::Held => generation.read_held(offset, out),
            Mode::Fenced => Err(fenced()),
        };
        if let Err(error) = &read {
            let copy = io::Error::new(error.kind(), error.to_string());
            generation.failed(&mut generation.lock(), Operation::Read, copy);
        }
        // The page may belong to the next generation by now, which may have written it meanwhile.
        if generation.is_fenced() { Err(fenced()) } else { read }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.change(
            Operation::SetLen(len),
            |disk| disk.set_len(len),
            |held, _| {
                held.set_len(len);
                Ok(())
            },
        )
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.change(Operation::Sync, Disk::sync, |_, _| Ok(()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.change(
            Operation::Write { offset, len: data.len() },
            |disk| disk.write(offset, data),
            |held, disk| held.write(disk, offset, data),
        )
    }

    fn close(&self) -> io::Result<()> {
        self.0.fence();
        Ok(())
    }
}
