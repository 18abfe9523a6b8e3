//! Opening the database file: permissions, lock, format, and errors that say what to do.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, TableDefinition, TableError,
    TableHandle,
};

use super::contain::contained;
use super::{EmbeddedOptions, Snapshot};
use crate::contract::Version;

/// The data: raw keys to raw values.
pub(super) const DATA: TableDefinition<&[u8], &[u8]> = TableDefinition::new("coditect");
/// Facts about the file itself.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("coditect_meta");
/// Key in [`META`]: the layout of the file's tables.
const FORMAT: &str = "format";
/// Key in [`META`]: the version of the newest commit.
pub(super) const VERSION: &str = "version";
/// The layout this program writes and reads.
const CURRENT_FORMAT: u64 = 1;

/// Why the embedded store could not be opened. Nothing was overwritten.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store in this one, has the file open.
    #[error("{path} is in use by another process: stop that one first, or give this one a file of its own")]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The file is not a redb database, or it is damaged.
    #[error("{path} is not a usable database file, restore it from a backup or move it away: {source}")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A healthy redb database of some other program.
    #[error("{path} is a database of another program; give this one a file of its own")]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// Written by a newer version of this program.
    #[error(
        "{path} has format {found}, this program knows formats up to {CURRENT_FORMAT}: run the newer program that wrote it"
    )]
    NewerFormat {
        /// The database file.
        path: PathBuf,
        /// The format found.
        found: u64,
    },
    /// Reading or writing failed.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The database's own operations failed on a file that had opened.
    #[error("cannot read {path}: {source}")]
    Redb {
        /// The database file.
        path: PathBuf,
        /// What redb reported.
        source: Box<redb::Error>,
    },
}

pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) snapshot: Snapshot,
}

/// Opens or creates the database file and reads its newest state.
pub(super) fn open(options: &EmbeddedOptions) -> Result<Opened, OpenError> {
    let path = &options.path;
    let file = open_file(path).map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
    contained(|| {
        let database = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create_file(file)
            .map_err(|source| classify(path, source))?;
        prepare(path, database)
    })
    .unwrap_or_else(|damage| Err(OpenError::Damaged { path: path.clone(), source: Box::new(damage) }))
}

/// Checks the format of an open database, or initialises an empty one.
pub(super) fn prepare(path: &Path, database: Database) -> Result<Opened, OpenError> {
    let redb = |source: redb::Error| OpenError::Redb { path: path.to_path_buf(), source: Box::new(source) };
    match format(&database).map_err(redb)? {
        Some(CURRENT_FORMAT) => {}
        Some(found) => {
            return Err(OpenError::NewerFormat { path: path.to_path_buf(), found });
        }
        None if has_tables(&database).map_err(redb)? => {
            return Err(OpenError::Foreign { path: path.to_path_buf() });
        }
        None => initialise(&database).map_err(redb)?,
    }
    let snapshot = read_snapshot(&database).map_err(redb)?;
    Ok(Opened { database, snapshot })
}

/// Opens the file for its owner only, creating it and its directory.
fn open_file(path: &Path) -> io::Result<File> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let existed = path.exists();
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if !existed {
        // The directory entry must survive a crash as well as the file's content.
        File::open(parent)?.sync_all()?;
    }
    Ok(file)
}

fn classify(path: &Path, source: DatabaseError) -> OpenError {
    let path = path.to_path_buf();
    match source {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path },
        // A file that is not redb's reports invalid data as an I/O error.
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData
                && source.kind() != io::ErrorKind::UnexpectedEof =>
        {
            OpenError::Io { path, source }
        }
        source => OpenError::Damaged { path, source: Box::new(source) },
    }
}

fn format(database: &Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get(FORMAT)?.map(|guard| guard.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn has_tables(database: &Database) -> Result<bool, redb::Error> {
    let read = database.begin_read()?;
    let foreign = read.list_tables()?.any(|table| table.name() != META.name() && table.name() != DATA.name());
    Ok(foreign || read.list_multimap_tables()?.next().is_some())
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        write.open_table(DATA)?;
        let mut meta = write.open_table(META)?;
        meta.insert(FORMAT, CURRENT_FORMAT)?;
        meta.insert(VERSION, 0)?;
    }
    write.commit()?;
    Ok(())
}

/// The newest committed state, with its version.
pub(super) fn read_snapshot(database: &Database) -> Result<Snapshot, redb::Error> {
    let read: ReadTransaction = database.begin_read()?;
    let version = read.open_table(META)?.get(VERSION)?.map_or(0, |guard| guard.value());
    Ok(Snapshot { version: Version(version), table: read.open_table(DATA)? })
}
