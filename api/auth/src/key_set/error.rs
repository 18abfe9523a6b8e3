//! What can be wrong with a key set, and with the file that holds it.

use std::path::PathBuf;
use std::time::Duration;

/// Why a key set cannot be read, or a change to it is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It breaks a rule of key sets. No key material is in the text.
    #[error("not a key set: {0}")]
    Malformed(String),
    /// A rotation is under way.
    #[error(
        "the key {kid} is already waiting to sign; wait until it does, or take it out with `coditect-edge keys retire {kid}`"
    )]
    NextWaiting {
        /// The key that waits.
        kid: String,
    },
    /// There is no room for another key.
    #[error("the set holds {0} keys already; those whose time is over leave at the next rotation")]
    Full(usize),
    /// No key has this id.
    #[error("there is no key {0}")]
    NoSuchKey(String),
    /// A key could not be made; no input can cause it.
    #[error("a key could not be made: {0}")]
    Generate(String),
}

/// Why the file of a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no such file.
    #[error("there is no key set at {0}: make one with `coditect-edge keys init`")]
    Missing(PathBuf),
    /// A file is there already.
    #[error("{0} exists and is not overwritten")]
    Exists(PathBuf),
    /// It can be read by others than its owner.
    #[error(
        "{path} has mode {mode:o}; private keys must be readable by their owner only. Run `chmod 600 {path}`"
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no key set, or a change to it is refused.
    #[error("{path}: {source}")]
    Set {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeySetError,
    },
    /// Another command changes it.
    #[error("{path} is being changed by another command; it did not end within {waited:?}")]
    Locked {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The file system refused.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl KeyFileError {
    /// Whether what was asked for is simply not there: the file, or a key in it.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Set { source: KeySetError::NoSuchKey(_), .. })
    }
}
