//! Opening the database: format, repair, and that nothing is written before everything was found in order.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, TableDefinition, TableError,
    TableHandle,
};

use super::Snapshot;
use super::contain::contained;
use super::disk::Disk;
use super::generation::{Generation, Handle};
use super::open_error::{CURRENT_FORMAT, OpenError};
use crate::contract::Version;

/// The data: raw keys to raw values.
pub(super) const DATA: TableDefinition<&[u8], &[u8]> = TableDefinition::new("coditect");
/// Facts about the file itself.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("coditect_meta");
/// Key in [`META`]: the layout of the file's tables.
pub(super) const FORMAT: &str = "format";
/// Key in [`META`]: the version of the newest commit.
pub(super) const VERSION: &str = "version";

/// A database that can be opened, and opened again.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) disk: Arc<Disk>,
    /// What to call it.
    pub(super) path: PathBuf,
    /// Memory for redb's page cache, in bytes.
    pub(super) cache_bytes: usize,
}

/// A database that is open.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) generation: Arc<Generation>,
    pub(super) snapshot: Arc<Snapshot>,
}

/// A database that was repaired too far.
#[derive(Debug, thiserror::Error)]
#[error("the commits after version {found} cannot be read, up to {newest} were durable")]
struct LostCommits {
    found: u64,
    newest: u64,
}

impl Site {
    /// Opens the database, or makes one of an empty disk, and reads its newest state. After an unclean end redb
    /// reads everything first. The disk is written to only if all that succeeded and nothing up to `newest`, the
    /// newest version known to be durable, is missing.
    pub(super) fn open(&self, newest: Version) -> Result<Opened, OpenError> {
        let generation = Generation::held(Arc::clone(&self.disk));
        let opened = contained(|| self.examine(&generation))
            .unwrap_or_else(|damage| Err(self.damaged(damage)))
            .map_err(|error| match generation.failure() {
                // The disk's own error, rather than what redb or the page that was not read make of it.
                Some(failure) if failure.error.kind() != io::ErrorKind::UnexpectedEof => {
                    self.io(io::Error::new(failure.error.kind(), failure.error))
                }
                _ => error,
            })?;
        // Where redb finds a damaged page in the newest commit it takes that for one that was cut off.
        let found = opened.snapshot.version;
        if found < newest {
            return Err(self.damaged(LostCommits { found: found.0, newest: newest.0 }));
        }
        opened.generation.promote().map_err(|source| self.io(source))?;
        Ok(opened)
    }

    fn examine(&self, generation: &Arc<Generation>) -> Result<Opened, OpenError> {
        let path = self.path.clone();
        let database = Database::builder()
            .set_cache_size(self.cache_bytes)
            .set_repair_callback(move |repair| {
                let percent = repair.progress() * 100.0;
                tracing::info!(path = %path.display(), "the store was not closed properly, checking it: {percent:.0} %");
            })
            .create_with_backend(Handle(Arc::clone(generation)))
            .map_err(|source| self.classify(source))?;
        match format(&database).map_err(|source| self.redb(source))? {
            Some(CURRENT_FORMAT) => {}
            Some(found) => return Err(OpenError::NewerFormat { path: self.path.clone(), found }),
            None if has_tables(&database).map_err(|source| self.redb(source))? => {
                return Err(OpenError::Foreign { path: self.path.clone() });
            }
            None => initialise(&database).map_err(|source| self.redb(source))?,
        }
        let snapshot = read_snapshot(&database, generation).map_err(|source| self.redb(source))?;
        Ok(Opened { database, generation: Arc::clone(generation), snapshot: Arc::new(snapshot) })
    }

    fn classify(&self, source: DatabaseError) -> OpenError {
        match source {
            DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path: self.path.clone() },
            // A file that is not redb's reports invalid data as an I/O error.
            DatabaseError::Storage(StorageError::Io(source))
                if source.kind() != io::ErrorKind::InvalidData
                    && source.kind() != io::ErrorKind::UnexpectedEof =>
            {
                self.io(source)
            }
            source => self.damaged(source),
        }
    }

    fn damaged(&self, source: impl std::error::Error + Send + Sync + 'static) -> OpenError {
        OpenError::Damaged { path: self.path.clone(), source: Box::new(source) }
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.clone(), source }
    }

    fn redb(&self, source: redb::Error) -> OpenError {
        match source {
            source @ redb::Error::Corrupted(_) => self.damaged(source),
            source => OpenError::Redb { path: self.path.clone(), source: Box::new(source) },
        }
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
pub(super) fn read_snapshot(
    database: &Database,
    generation: &Arc<Generation>,
) -> Result<Snapshot, redb::Error> {
    let read: ReadTransaction = database.begin_read()?;
    let version = read.open_table(META)?.get(VERSION)?.map_or(0, |guard| guard.value());
    Ok(Snapshot {
        version: Version(version),
        table: read.open_table(DATA)?,
        generation: Arc::clone(generation),
    })
}
