//! Files of a directory, opened so that the kernel itself keeps every lookup below the root.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::content::{Content, Found, OpenFile, SMALL_FILE_BYTES, Stamp};
use super::error::FileError;
use super::resolve::Entry;
use super::tag::Tag;

/// `openat2` answers EAGAIN when a rename elsewhere raced with the lookup and it cannot rule out an escape.
const OPEN_ATTEMPTS: usize = 8;

/// The first second of the year 10000, which HTTP dates cannot express.
const HTTP_DATE_END: u64 = 253_402_300_800;

/// The directory of static files, open for one request: all lookups of the request see the same directory.
pub(super) struct Root(OwnedFd);

impl Root {
    /// Opens `path`, following symlinks (a deploy may switch one). Blocking.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map(Root)
            .map_err(|errno| FileError::Root { path: path.to_owned(), source: errno.into() })
    }

    /// Looks `path` up, a non-empty relative path. A small file is read at once. Blocking.
    ///
    /// Whatever is neither a regular file nor a directory is [`Entry::Missing`], and so is a symlink that leads
    /// out of the root or is absolute (`RESOLVE_BENEATH` refuses those even if they would end inside).
    pub(super) fn entry(&self, path: &str) -> Result<Entry, FileError> {
        let Some(fd) = self.open_below(path)? else { return Ok(Entry::Missing) };
        let file = File::from(fd);
        let metadata = file.metadata().map_err(FileError::Read)?;
        if metadata.is_dir() {
            return Ok(Entry::Directory);
        }
        if !metadata.is_file() {
            return Ok(Entry::Missing);
        }
        found(path, OpenFile::new(file, Stamp::of(&metadata))).map(Entry::File)
    }

    fn open_below(&self, path: &str) -> Result<Option<OwnedFd>, FileError> {
        // NONBLOCK: opening a fifo must not wait for its writer. NOCTTY: nor may a terminal become ours.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..OPEN_ATTEMPTS {
            result = rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        match result {
            Ok(fd) => Ok(Some(fd)),
            Err(errno) => refusal(path, errno).map(|()| None),
        }
    }
}

/// `Ok` where the client may learn no more than "not there".
fn refusal(path: &str, errno: Errno) -> Result<(), FileError> {
    match errno {
        // Not there; a file used as a directory; a name too long; a socket or a device without driver; a loop.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV | Errno::LOOP => {
            Ok(())
        }
        // RESOLVE_BENEATH: the lookup would have left the root.
        Errno::XDEV => {
            tracing::warn!(path, "refused a static file whose symlink is absolute or leads out of the root");
            Ok(())
        }
        Errno::ACCESS => {
            tracing::warn!(path, "a static file is not readable for this process, answered as missing");
            Ok(())
        }
        // Old kernels, and container runtimes whose seccomp profile does not know the call.
        Errno::NOSYS | Errno::PERM => Err(FileError::Unsupported { source: errno.into() }),
        errno => Err(FileError::Open { path: path.to_owned(), source: io::Error::from(errno) }),
    }
}

fn found(path: &str, file: OpenFile) -> Result<Found, FileError> {
    let stamp = file.stamp;
    let content = if stamp.size <= SMALL_FILE_BYTES {
        Content::Memory(file.read(0, stamp.size)?)
    } else {
        Content::File(file)
    };
    Ok(Found {
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        tag: Tag::of_stamp(&stamp),
        length: stamp.size,
        modified: u64::try_from(stamp.modified.0).ok().filter(|seconds| *seconds < HTTP_DATE_END),
        content,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_kernel_or_sandbox_without_openat2_is_named_and_is_no_404() {
        for errno in [Errno::NOSYS, Errno::PERM] {
            let error = refusal("x", errno).unwrap_err();
            assert!(!error.is_temporary());
            assert!(error.to_string().contains("openat2"), "{error}");
        }
    }

    #[test]
    fn running_out_of_descriptors_is_temporary() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN] {
            assert!(refusal("x", errno).unwrap_err().is_temporary());
        }
        assert!(!refusal("x", Errno::IO).unwrap_err().is_temporary());
    }

    #[test]
    fn a_file_written_to_after_it_was_opened_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![b'a'; 100_000]).unwrap();
        let Entry::File(found) = Root::open(dir.path()).unwrap().entry("f").unwrap() else {
            panic!("no file")
        };
        // Same length, another time: only the time tells.
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(matches!(found.content.clone().read_all(), Err(FileError::Changed)));
        file.set_len(10).unwrap();
        assert!(matches!(found.content.read_all(), Err(FileError::Changed)));
    }

    #[test]
    fn a_file_replaced_by_rename_is_still_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), vec![b'a'; 100_000]).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let Entry::File(old) = root.entry("f").unwrap() else { panic!("no file") };
        std::fs::write(dir.path().join("new"), vec![b'b'; 100_000]).unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("f")).unwrap();
        let Entry::File(new) = root.entry("f").unwrap() else { panic!("no file") };
        assert_ne!(old.tag, new.tag);
        assert!(old.content.read_all().unwrap().iter().all(|byte| *byte == b'a'));
        assert!(new.content.read_all().unwrap().iter().all(|byte| *byte == b'b'));
    }
}
