//! A copy of the embedded store's file, made while the store is used.
//!
//! All rows of one snapshot go into a new database file under a temporary name beside the target. It is
//! opened again as a store and compared, row by row, with what was read; only then it gets its name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use sha2::{Digest, Sha256};

use super::format::put_row;
use super::source::Rows;
use super::{OnProgress, Progress};
use crate::clock::SystemMonotonicClock;
use crate::contract::{Backend, Row, SnapshotRows, Version};
use crate::embedded::{CopyError, Embedded, EmbeddedOptions, FileCopy, OpenError};
use crate::error::StoreError;
use crate::keyspace::KeySpan;
use crate::limits::RESERVED_FROM;
use crate::store::Store;

/// Rows are committed to the new file in pieces of at least this size, in bytes.
const COMMIT_BYTES: usize = 8 << 20;

/// Memory for the page cache while a new file is read back, in bytes.
const CHECK_CACHE_BYTES: usize = 16 << 20;

/// Why there is no backup. Nothing is left behind, unless the process was killed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Only the embedded store is a file.
    #[error(
        "a {backend} store is no file to copy: use `fdbbackup` for backups, `store export` for a portable copy"
    )]
    NotEmbedded {
        /// The backend.
        backend: &'static str,
    },
    /// The target, or the temporary file, is there already.
    #[error("{path} exists; a backup never overwrites a file: name another one, or remove it")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The path names no file.
    #[error("{path} is not the name of a file")]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("the backup could not be {doing} at {path}: {source}")]
    Io {
        /// What was tried, as a participle.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// The new database could not be written.
    #[error("the backup could not be {doing} at {path}: {source}")]
    Database {
        /// What was tried, as a participle.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The database's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The new database does not open as a store.
    #[error("the backup cannot be opened, and was removed: {0}")]
    Open(#[from] OpenError),
    /// What was read back is not what was written.
    #[error(
        "the backup read back differs from what was written: is the disk or the memory faulty? It was removed"
    )]
    Differs,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A finished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Its rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Length of the file, in bytes.
    pub file_bytes: u64,
    /// The store's version that it holds.
    pub version: u64,
}

/// Copies an embedded store, as it is now, into a new file, which can be opened as a store.
///
/// Other transactions go on; what they change meanwhile makes the store's file grow.
/// Dropping the call removes what was written, at the latest when the current step on the disk ends.
pub async fn backup(store: &Store, file: &Path, progress: OnProgress<'_>) -> Result<Backup, BackupError> {
    let backend = store.backend_name();
    let Some(snapshot) = store.long_snapshot()? else {
        return Err(BackupError::NotEmbedded { backend });
    };
    let version = snapshot.version();
    let target = file.to_owned();
    let partial = blocking(move || Partial::create(target)).await?;
    let (partial, done) = copy_rows(everything(snapshot), partial, progress).await?;
    let partial = blocking(move || partial.finish(version)).await?;
    let found = read_back(&partial.path, version, progress).await?;
    if found.finish() != partial.digest.clone().finish() {
        return Err(BackupError::Differs);
    }
    let file_bytes = blocking(move || partial.publish()).await?;
    Ok(Backup { rows: done.rows, bytes: done.bytes, file_bytes, version: version.0 })
}

/// Writes all rows, and lets go of where they came from.
async fn copy_rows(
    mut rows: Rows,
    mut partial: Partial,
    progress: OnProgress<'_>,
) -> Result<(Partial, Progress), BackupError> {
    let mut done = Progress::new("copying");
    let mut pending = Vec::new();
    let mut pending_bytes = 0;
    loop {
        let page = rows.next_page().await?;
        let last = page.is_none();
        for row in page.into_iter().flatten() {
            pending_bytes += row.key.len() + row.value.len();
            done.add(&row.key, &row.value);
            pending.push(row);
        }
        if last || pending_bytes >= COMMIT_BYTES {
            let batch = std::mem::take(&mut pending);
            pending_bytes = 0;
            partial = blocking(move || partial.write(&batch)).await?;
        }
        progress(done);
        if last {
            return Ok((partial, done));
        }
    }
}

/// Every row there is.
fn everything(snapshot: Box<dyn SnapshotRows>) -> Rows {
    Rows::of_snapshot(snapshot, KeySpan { begin: Vec::new(), end: vec![RESERVED_FROM] })
}

/// Opens the new file as a store and reads all of it.
async fn read_back(
    path: &Path,
    version: Version,
    progress: OnProgress<'_>,
) -> Result<RowsDigest, BackupError> {
    let options = EmbeddedOptions { cache_bytes: CHECK_CACHE_BYTES, ..EmbeddedOptions::new(path) };
    let copy = blocking(move || Ok(Embedded::open(&options, Arc::new(SystemMonotonicClock::new()))?)).await?;
    let mut digest = RowsDigest::default();
    let mut done = Progress::new("checking");
    let snapshot = copy.long_snapshot()?.filter(|snapshot| snapshot.version() == version);
    let mut rows = everything(snapshot.ok_or(BackupError::Differs)?);
    while let Some(page) = rows.next_page().await? {
        for row in page {
            digest.add(&row.key, &row.value);
            done.add(&row.key, &row.value);
        }
        progress(done);
    }
    drop(rows);
    copy.close().await?;
    Ok(digest)
}

/// Runs work on the disk where it stops nobody else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) => Err(BackupError::Store(StoreError::backend("made a backup", ended))),
    }
}

/// The file under its temporary name; it goes with this.
struct Partial {
    target: PathBuf,
    path: PathBuf,
    copy: Option<FileCopy>,
    digest: RowsDigest,
}

impl Partial {
    fn create(target: PathBuf) -> Result<Self, BackupError> {
        let Some(name) = target.file_name() else {
            return Err(BackupError::NoFile { path: target });
        };
        if fs::symlink_metadata(&target).is_ok() {
            return Err(BackupError::Exists { path: target });
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let path = target.with_file_name(hidden);
        match FileCopy::create(&path) {
            Ok(copy) => Ok(Self { target, path, copy: Some(copy), digest: RowsDigest::default() }),
            Err(CopyError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Exists { path })
            }
            Err(error) => Err(failed("made", &path, error)),
        }
    }

    fn write(mut self, rows: &[Row]) -> Result<Self, BackupError> {
        for row in rows {
            self.digest.add(&row.key, &row.value);
        }
        if let Some(copy) = &self.copy {
            copy.write(rows).map_err(|error| failed("written", &self.path, error))?;
        }
        Ok(self)
    }

    /// Completes the file.
    fn finish(mut self, version: Version) -> Result<Self, BackupError> {
        if let Some(copy) = self.copy.take() {
            copy.finish(version).map_err(|error| failed("written", &self.path, error))?;
        }
        Ok(self)
    }

    /// Gives the file its name; returns its length.
    fn publish(self) -> Result<u64, BackupError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| BackupError::Io { doing, path, source }
        };
        let file = File::open(&self.path).map_err(io("synced", &self.path))?;
        file.sync_all().map_err(io("synced", &self.path))?;
        let length = file.metadata().map_err(io("synced", &self.path))?.len();
        // Unlike a rename, a link never replaces a file that appeared meanwhile.
        fs::hard_link(&self.path, &self.target).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists { path: self.target.clone() },
            _ => BackupError::Io { doing: "given its name", path: self.target.clone(), source },
        })?;
        drop(fs::remove_file(&self.path));
        let directory = match self.target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io("synced", directory))?;
        Ok(length)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Already gone if the backup is finished.
        self.copy.take();
        drop(fs::remove_file(&self.path));
    }
}

fn failed(doing: &'static str, path: &Path, error: CopyError) -> BackupError {
    let path = path.to_owned();
    match error {
        CopyError::Io(source) => BackupError::Io { doing, path, source },
        source => BackupError::Database { doing, path, source: Box::new(source) },
    }
}

/// SHA-256 of rows in their order.
#[derive(Clone, Default)]
struct RowsDigest {
    hash: Sha256,
    row: BytesMut,
}

impl RowsDigest {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.row.clear();
        put_row(&mut self.row, key, value);
        self.hash.update(&self.row);
    }

    fn finish(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}
