//! A disk in memory that tests can make fail, and that remembers what it was asked to do.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, Medium};
use super::file::Site;

/// The smallest part of a disk that is written whole or not at all, in bytes.
pub(super) const SECTOR_BYTES: usize = 512;

/// What was done to the disk.
#[derive(Debug, Clone)]
pub(super) enum Done {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
    Sync,
}

/// Which operations fail.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Faults {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) set_len: bool,
    pub(super) sync: bool,
    /// The next sync fails, later ones do not.
    pub(super) one_sync: bool,
    /// Writes from this offset on find no space.
    pub(super) full_from: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) bytes: Vec<u8>,
    pub(super) faults: Faults,
    /// In order; only if `recording`.
    pub(super) done: Vec<Done>,
    pub(super) recording: bool,
    pub(super) reads: u64,
}

/// The disk; clones share it.
#[derive(Debug, Default, Clone)]
pub(super) struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    pub(super) fn with(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { bytes, ..State::default() })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// A database on this disk.
    pub(super) fn site(&self, cache_bytes: usize) -> Site {
        Site { disk: Arc::new(Disk::new(self.clone())), path: "memory".into(), cache_bytes }
    }
}

fn fails(fault: bool) -> io::Result<()> {
    if fault { Err(io::Error::other("the cable is loose")) } else { Ok(()) }
}

fn place(offset: u64, len: usize) -> std::ops::Range<usize> {
    let begin = usize::try_from(offset).unwrap_or(usize::MAX);
    begin..begin.saturating_add(len)
}

impl Medium for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.reads += 1;
        fails(state.faults.read)?;
        let bytes = state.bytes.get(place(offset, out.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        fails(state.faults.write)?;
        if state.faults.full_from.is_some_and(|full| offset + data.len() as u64 > full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let place = place(offset, data.len());
        if state.recording {
            state.done.push(Done::Write { offset: place.start, data: data.to_vec() });
        }
        if state.bytes.len() < place.end {
            state.bytes.resize(place.end, 0);
        }
        state.bytes.get_mut(place).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        fails(state.faults.set_len)?;
        let len = place(len, 0).start;
        if state.recording {
            state.done.push(Done::SetLen(len));
        }
        state.bytes.resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let once = std::mem::take(&mut state.faults.one_sync);
        fails(state.faults.sync || once)?;
        if state.recording {
            state.done.push(Done::Sync);
        }
        Ok(())
    }

    fn available(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn release(&self) {}
}
