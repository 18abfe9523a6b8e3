//! What the caller of a change expects at a path.

use super::FileError;
use crate::blobs::BlobHash;
use crate::records::File;

/// What must be at a path for it to be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Whatever there is or is not.
    #[default]
    Any,
    /// A file.
    Present,
    /// No file.
    Absent,
    /// A file with one of these contents.
    OneOf(Vec<BlobHash>),
    /// No file, or one with none of these contents.
    NoneOf(Vec<BlobHash>),
}

impl Condition {
    /// Holds the condition against what there is.
    ///
    /// # Errors
    ///
    /// [`FileError::Precondition`].
    pub fn check(&self, file: Option<&File>) -> Result<(), FileError> {
        let current = file.map(|file| file.content.sha256);
        let holds = match self {
            Self::Any => true,
            Self::Present => current.is_some(),
            Self::Absent => current.is_none(),
            Self::OneOf(hashes) => current.is_some_and(|hash| hashes.contains(&hash)),
            Self::NoneOf(hashes) => current.is_none_or(|hash| !hashes.contains(&hash)),
        };
        if holds { Ok(()) } else { Err(FileError::Precondition { current }) }
    }
}
