//! Files compiled into the binary, found by name in a map.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::content::{Content, Found};
use super::resolve::Entry;
use super::tag::Tag;

/// One file compiled into the binary.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedFile {
    /// Relative, `/`-separated, without a leading slash: `assets/index.js`.
    pub path: &'static str,
    /// The content as it is served without compression.
    pub bytes: &'static [u8],
}

/// Embedded files by path, with their tags.
#[derive(Debug)]
pub(super) struct Bundle {
    files: HashMap<&'static str, (Tag, &'static [u8])>,
    directories: HashSet<&'static str>,
}

impl Bundle {
    /// Of two files with one path the later counts.
    pub(super) fn new(files: &'static [EmbeddedFile]) -> Self {
        let directories = files
            .iter()
            .flat_map(|file| file.path.match_indices('/').filter_map(|(at, _)| file.path.get(..at)))
            .collect();
        let files = files.iter().map(|file| (file.path, (Tag::of_content(file.bytes), file.bytes))).collect();
        Bundle { files, directories }
    }

    pub(super) fn entry(&self, path: &str) -> Entry {
        let Some((path, (tag, bytes))) = self.files.get_key_value(path) else {
            return if self.directories.contains(path) { Entry::Directory } else { Entry::Missing };
        };
        Entry::File(Found {
            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
            tag: *tag,
            length: bytes.len() as u64,
            modified: None,
            content: Content::Memory(Bytes::from_static(bytes)),
        })
    }
}
