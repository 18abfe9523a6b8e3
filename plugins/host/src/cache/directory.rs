//! The folder of compiled modules: whose it is, what is in it, and what goes when it is full.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use super::{CacheError, SUFFIX};

/// Ends the name of a file that is being written.
pub(super) const TEMPORARY: &str = ".tmp";

/// Most files of the folder; the oldest go.
const MAX_FILES: usize = 4096;

/// A file that is still being written after this long, in seconds, is a killed process'.
const ABANDONED_SECONDS: i64 = 3600;

/// Bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// The folder, open, and found to be this process' user's own. Files are reached through the open folder only, so
/// what was checked is what is used.
pub(super) struct Directory(OwnedFd);

impl Directory {
    /// Opens it; one that does not exist is made, for its owner alone. One that exists is taken as it is, or refused:
    /// it may be anything, so its mode is not ours to change.
    pub(super) fn open(path: &Path) -> Result<Self, CacheError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| CacheError::Io { action: "make the folder", source })?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(path, flags, Mode::empty()).map_err(CacheError::io("open the folder"))?;
        let stat = rustix::fs::fstat(&folder).map_err(CacheError::io("look at the folder"))?;
        check_owner("folder", &stat)?;
        Ok(Self(folder))
    }

    /// A file to be read: a regular one, this user's own, of at most `limit` bytes. It is now the youngest.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<File>, CacheError> {
        // Not blocking, should it be a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(CacheError::Kind),
            Err(errno) => return Err(CacheError::io("open the file")(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(CacheError::io("look at the file"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(CacheError::Kind);
        }
        check_owner("file", &stat)?;
        let actual = size(&stat);
        if actual > limit {
            return Err(CacheError::TooLarge { actual, limit });
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let touched = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        if let Err(error) = touched {
            // It only goes earlier than it should.
            tracing::debug!(name, %error, "a compiled module could not be marked as used");
        }
        Ok(Some(file.into()))
    }

    /// Writes a file under another name and renames it, so that it is there whole or not at all. It is not forced to
    /// the disk: what a crash tears is found when it is read.
    pub(super) fn write(&self, name: &str, temporary: &str, parts: &[&[u8]]) -> Result<(), CacheError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(CacheError::io("create a file"))?;
        let mut file = File::from(file);
        let written = parts.iter().try_for_each(|part| file.write_all(part));
        let written = written.map_err(|source| CacheError::Io { action: "write a file", source });
        let named = written.and_then(|()| {
            rustix::fs::renameat(&self.0, temporary, &self.0, name).map_err(CacheError::io("rename a file"))
        });
        if named.is_err() {
            // The first failure is the one to report.
            self.remove(temporary).ok();
        }
        named
    }

    /// Removes a file. That there is none is no error.
    pub(super) fn remove(&self, name: &str) -> Result<(), CacheError> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            // A folder of that name is nobody's compiled module; it goes if it is empty.
            Err(Errno::ISDIR) => rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR),
            other => other,
        }
        .or_else(|errno| if errno == Errno::NOENT { Ok(()) } else { Err(errno) })
        .map_err(CacheError::io("remove a file"))
    }

    /// Removes the files that were not used for longest until those left have at most `limit` bytes together, and what
    /// killed processes left behind. `newest` was just written and stays.
    pub(super) fn shrink(&self, newest: &str, limit: u64) -> Result<(), CacheError> {
        let mut entries = self.entries()?;
        let now = entries.iter().map(|entry| entry.used.0).max().unwrap_or(0);
        entries.sort_by_key(|entry| entry.used);
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let mut files = entries.len();
        for entry in &entries {
            let temporary = entry.name.ends_with(TEMPORARY);
            let abandoned = temporary && now.saturating_sub(entry.used.0) >= ABANDONED_SECONDS;
            let surplus = !temporary && (bytes > limit || files > MAX_FILES) && entry.name != newest;
            if abandoned || surplus {
                self.remove(&entry.name)?;
                bytes = bytes.saturating_sub(entry.bytes);
                files -= 1;
            }
        }
        Ok(())
    }

    /// The files of the cache, those being written included. What else lies in the folder is left alone.
    fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        let list = || CacheError::io("list the folder");
        let mut entries = Vec::new();
        for item in rustix::fs::Dir::read_from(&self.0).map_err(list())? {
            let item = item.map_err(list())?;
            let Ok(name) = item.file_name().to_str() else { continue };
            if !is_ours(name) {
                continue;
            }
            // Another process may just have removed it.
            let Ok(stat) = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let used = (stat.st_mtime, stat.st_mtime_nsec);
            entries.push(Entry { name: name.to_owned(), bytes: size(&stat), used });
        }
        Ok(entries)
    }
}

struct Entry {
    name: String,
    bytes: u64,
    /// When it was last written or read: seconds since 1970, and nanoseconds.
    used: (i64, u64),
}

/// Whether the cache gives such names: hexadecimal digits and one of the two endings.
fn is_ours(name: &str) -> bool {
    let stem = name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(TEMPORARY));
    stem.is_some_and(|stem| !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn check_owner(what: &'static str, stat: &Stat) -> Result<(), CacheError> {
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != user {
        return Err(CacheError::Owner { what, owner: stat.st_uid, user });
    }
    match stat.st_mode & 0o7777 {
        mode if mode & OTHERS_WRITE != 0 => Err(CacheError::Mode { what, mode }),
        _ => Ok(()),
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
