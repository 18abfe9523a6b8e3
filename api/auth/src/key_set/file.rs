//! The file that holds a key set: read whole, written by replacing it, changed by one command at a time.

use super::KeySet;
use super::error::{KeyFileError, KeySetError};
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;
use zeroize::Zeroizing;

/// More than this is no key set of ours, in bytes.
const MAX_FILE_BYTES: u64 = 512 * 1024;
/// How long a change waits for another command's to end.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// How often the lock is tried meanwhile.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// What changes whenever a file's content or permissions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

/// The file of a key set, by its path.
#[derive(Debug, Clone)]
pub struct KeySetFile {
    path: PathBuf,
}

impl KeySetFile {
    /// The file at `path`, which need not be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells whether it has changed; `None` where it is not there or cannot be looked at.
    pub fn stamp(&self) -> Option<Stamp> {
        fs::metadata(&self.path).ok().map(|data| Stamp::of(&data))
    }

    /// Reads the set.
    ///
    /// # Errors
    /// The file is missing, can be read by others, holds no key set, or the file system refuses.
    pub fn load(&self) -> Result<KeySet, KeyFileError> {
        let io = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => KeyFileError::Missing(self.path.clone()),
            _ => KeyFileError::Io { what: "read", path: self.path.clone(), source },
        };
        let file = File::open(&self.path).map_err(io)?;
        // Of the open file, so that what is judged is what is read.
        let data = file.metadata().map_err(io)?;
        let mode = data.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Readable { path: self.path.clone(), mode });
        }
        if !data.is_file() || data.len() > MAX_FILE_BYTES {
            let reason = format!("expected a file of at most {MAX_FILE_BYTES} bytes");
            return Err(self.wrong(KeySetError::Malformed(reason)));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(data.len()).unwrap_or_default()));
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(io)?;
        KeySet::decode(&bytes).map_err(|source| self.wrong(source))
    }

    /// Makes the file, and its directory, both for their owner only.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] where there is one, or the file system refuses.
    pub fn create(&self, set: &KeySet) -> Result<(), KeyFileError> {
        if let Some(parent) = parent(&self.path) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.map_err(|source| self.refused("make the directory of", source))?;
        }
        let _lock = self.lock(&self.path)?;
        if fs::symlink_metadata(&self.path).is_ok() {
            return Err(KeyFileError::Exists(self.path.clone()));
        }
        self.replace(&self.path, set)
    }

    /// Reads the set, changes it, and puts it in the file's place. Whoever reads meanwhile finds the old set or the new
    /// one, whole. Waits up to 10 s for another command's change.
    ///
    /// # Errors
    /// As [`load`](Self::load); what `how` refuses changes nothing.
    pub fn update<T>(
        &self,
        how: impl FnOnce(&mut KeySet) -> Result<T, KeySetError>,
    ) -> Result<(KeySet, T), KeyFileError> {
        // A link stays one: what it leads to is replaced.
        let target = fs::canonicalize(&self.path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => KeyFileError::Missing(self.path.clone()),
            _ => self.refused("find", source),
        })?;
        let _lock = self.lock(&target)?;
        let mut set = self.load()?;
        let done = how(&mut set).map_err(|source| self.wrong(source))?;
        self.replace(&target, &set)?;
        Ok((set, done))
    }

    fn replace(&self, target: &Path, set: &KeySet) -> Result<(), KeyFileError> {
        let bytes = set.encode().map_err(|source| self.wrong(source))?;
        // What is written can be read again; anything else would be a mistake of ours, and is found before it is one
        // for whoever reads the file.
        KeySet::decode(&bytes).map_err(|source| self.wrong(source))?;
        let temporary = beside(target, &format!("{}.tmp", Uuid::new_v4()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, target)?;
            File::open(parent(target).unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|source| {
            // It may never have been made.
            drop(fs::remove_file(&temporary));
            self.refused("write", source)
        })
    }

    /// Held until dropped. The lock is a file beside it, since the file itself is replaced.
    fn lock(&self, target: &Path) -> Result<File, KeyFileError> {
        let path = beside(target, "lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(|source| self.refused("lock", source))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_DEADLINE => {
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(KeyFileError::Locked { path: self.path.clone(), waited: LOCK_DEADLINE });
                }
                Err(TryLockError::Error(source)) => return Err(self.refused("lock", source)),
            }
        }
    }

    fn wrong(&self, source: KeySetError) -> KeyFileError {
        KeyFileError::Set { path: self.path.clone(), source }
    }

    fn refused(&self, what: &'static str, source: std::io::Error) -> KeyFileError {
        KeyFileError::Io { what, path: self.path.clone(), source }
    }
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}

/// A file in the same directory, its name with one more extension.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
