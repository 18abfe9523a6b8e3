//! Why the embedded store could not be opened.

use std::io;
use std::path::PathBuf;

/// The layout of the file's tables that this program writes and reads.
pub(super) const CURRENT_FORMAT: u64 = 1;

/// Why the embedded store could not be opened. The file is as it was.
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
