//! A database file made from rows: what a backup is written with.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::Database;

use super::file::{DATA, FORMAT, META, VERSION};
use super::open_error::CURRENT_FORMAT;
use crate::contract::{Row, Version};

/// Memory for the page cache of the file being written, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// Why a copy could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The file could not be made or synced.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The database could not be written.
    #[error(transparent)]
    Redb(#[from] redb::Error),
}

/// A new database file that is being filled. Every call blocks on the disk.
pub(crate) struct FileCopy {
    database: Database,
    path: PathBuf,
}

impl FileCopy {
    /// Makes the file, 0600; fails with [`io::ErrorKind::AlreadyExists`] if there is one. It opens as a store
    /// once [`FileCopy::finish`] has run, and not before.
    pub(crate) fn create(path: &Path) -> Result<Self, CopyError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_file(file);
        Ok(Self { database: database.map_err(redb::Error::from)?, path: path.to_owned() })
    }

    /// Adds rows, durably.
    pub(crate) fn write(&self, rows: &[Row]) -> Result<(), CopyError> {
        self.commit(|write| {
            let mut data = write.open_table(DATA)?;
            for row in rows {
                data.insert(row.key.as_slice(), row.value.as_ref())?;
            }
            Ok(())
        })
    }

    /// Says of which version the rows are, so that versions go on from there, and closes the file.
    pub(crate) fn finish(self, version: Version) -> Result<(), CopyError> {
        self.commit(|write| {
            write.open_table(DATA)?;
            let mut meta = write.open_table(META)?;
            meta.insert(FORMAT, CURRENT_FORMAT)?;
            meta.insert(VERSION, version.0)?;
            Ok(())
        })?;
        drop(self.database);
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }

    fn commit(
        &self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), CopyError> {
        let write = self.database.begin_write().map_err(redb::Error::from)?;
        work(&write)?;
        write.commit().map_err(redb::Error::from)?;
        Ok(())
    }
}
