//! The database's place in the file system: permissions, the lock, and a new file that is there whole or not at
//! all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::EmbeddedOptions;
use super::disk::{Disk, LockedFile};
use super::file::{Opened, Site};
use super::open_error::OpenError;
use crate::contract::Version;

/// What a new file is called until it is a database.
const NEW_SUFFIX: &str = ".new";

/// Opens the database file, or creates it and its directory, for their owner only.
pub(super) fn open(options: &EmbeddedOptions) -> Result<(Site, Opened), OpenError> {
    let path = &options.path;
    let io_error = |source| OpenError::Io { path: path.clone(), source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io_error)?;
    match existing(path).map_err(io_error)? {
        Some(file) => open_file(options, lock(path, file)?),
        None => create(options, directory),
    }
}

/// Makes the database under another name first: if that is cut off, the next start must not find half of one.
fn create(options: &EmbeddedOptions, directory: &Path) -> Result<(Site, Opened), OpenError> {
    let path = &options.path;
    let io_error = |source| OpenError::Io { path: path.clone(), source };
    let mut new = path.clone().into_os_string();
    new.push(NEW_SUFFIX);
    let new = PathBuf::from(new);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&new);
    let file = lock(path, file.map_err(io_error)?)?;
    // Whoever else creates it has the lock on this name until the file has its own; so after this look nobody
    // can have come between.
    if let Some(existing) = existing(path).map_err(io_error)? {
        drop(file);
        return open_file(options, lock(path, existing)?);
    }
    file.clear().map_err(io_error)?;
    let opened = open_file(options, file)?;
    fs::rename(&new, path).map_err(io_error)?;
    // The directory entry must survive a crash as well as the file's content.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error)?;
    Ok(opened)
}

/// The file, if there is one.
fn existing(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn lock(path: &Path, file: File) -> Result<LockedFile, OpenError> {
    let path = path.to_path_buf();
    match LockedFile::new(file) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(OpenError::Locked { path }),
        Err(source) => Err(OpenError::Io { path, source }),
    }
}

fn open_file(options: &EmbeddedOptions, file: LockedFile) -> Result<(Site, Opened), OpenError> {
    let site = Site {
        disk: Arc::new(Disk::new(file)),
        path: options.path.clone(),
        cache_bytes: options.cache_bytes,
    };
    let opened = site.open(Version(0))?;
    Ok((site, opened))
}
