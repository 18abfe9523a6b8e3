//! What a path stands for, the same for every source: a file, a directory's index, a redirect, or the page of
//! a single-page application.

use super::content::Found;
use super::error::FileError;
use super::path::{FilePath, INDEX};

/// What a source has under a path.
#[derive(Debug)]
pub(super) enum Entry {
    File(Found),
    Directory,
    Missing,
}

/// What a request gets.
#[derive(Debug)]
pub(super) enum Outcome {
    /// `fallback`: the root's index in place of a page the server knows nothing of.
    File {
        file: Found,
        fallback: bool,
    },
    /// A directory with an index, asked for without its slash; the `Location` to answer.
    Redirect(String),
    Missing,
}

/// Finds what `path` stands for through `entry`, the source's lookup. `fallback`: the request may get the
/// root's index where nothing is found.
pub(super) fn resolve(
    path: &FilePath,
    fallback: bool,
    entry: impl Fn(&str) -> Result<Entry, FileError>,
) -> Result<Outcome, FileError> {
    match entry(&path.file())? {
        Entry::File(file) => return Ok(Outcome::File { file, fallback: false }),
        Entry::Directory => {
            if let Some(index) = path.index_below()
                && let Entry::File(_) = entry(&index)?
            {
                return Ok(Outcome::Redirect(path.with_slash()));
            }
        }
        Entry::Missing => {}
    }
    if fallback && let Entry::File(file) = entry(INDEX)? {
        return Ok(Outcome::File { file, fallback: true });
    }
    Ok(Outcome::Missing)
}
