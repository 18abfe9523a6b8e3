//! The bytes of one file and what is known about them: taken from one open descriptor, so that a deploy in
//! the middle of a request can never pair the old tag with the new bytes.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use bytes::Bytes;

use super::error::FileError;
use super::tag::Tag;

/// Files up to this size are read whole when they are opened; larger ones are streamed.
pub(super) const SMALL_FILE_BYTES: u64 = 64 * 1024;

/// A file that exists and may be served.
#[derive(Debug)]
pub(super) struct Found {
    /// Its own name, without directories.
    pub(super) name: String,
    pub(super) tag: Tag,
    /// Bytes.
    pub(super) length: u64,
    /// Last modification in unix seconds, where there is one that an HTTP date can tell.
    pub(super) modified: Option<u64>,
    pub(super) content: Content,
}

/// Where a found file's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Memory(Bytes),
    File(OpenFile),
}

impl Content {
    /// Reads it all; blocking. The caller has checked that the length is one it can afford.
    pub(super) fn read_all(self) -> Result<Bytes, FileError> {
        match self {
            Content::Memory(bytes) => Ok(bytes),
            Content::File(file) => file.read(0, file.stamp.size),
        }
    }
}

/// An open regular file and what `fstat` said about it. Cloning shares the descriptor.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    file: Arc<File>,
    pub(super) stamp: Stamp,
}

impl OpenFile {
    pub(super) fn new(file: File, stamp: Stamp) -> Self {
        OpenFile { file: Arc::new(file), stamp }
    }

    /// Reads exactly `length` bytes at `offset`, and fails with [`FileError::Changed`] if the file is shorter by
    /// now or was written to since it was opened. Blocking.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Bytes, FileError> {
        let length = usize::try_from(length).map_err(|e| FileError::Read(io::Error::other(e)))?;
        let mut buffer = vec![0; length];
        match self.file.read_exact_at(&mut buffer, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(FileError::Changed),
            Err(error) => return Err(FileError::Read(error)),
        }
        let now = Stamp::of(&self.file.metadata().map_err(FileError::Read)?);
        if !now.same_content(&self.stamp) {
            return Err(FileError::Changed);
        }
        Ok(buffer.into())
    }
}

/// What `fstat` says about an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Bytes.
    pub(super) size: u64,
    /// Unix seconds and nanoseconds of the last write.
    pub(super) modified: (i64, i64),
    /// Unix seconds and nanoseconds of the last change of content, name count, owner or mode.
    pub(super) changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether nobody wrote to the file in between. The change time is left out: removing or replacing the
    /// file's name moves it, and the open file stays as good as it was.
    fn same_content(&self, other: &Stamp) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
    }
}
