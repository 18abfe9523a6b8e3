//! Reading what an author names on the command line or in a file of cases, never more than a bound.

use crate::suite::SuiteError;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest module that is read, in bytes; the host's own limit is lower.
pub const MAX_MODULE_BYTES: u64 = 64 * 1024 * 1024;

/// The bytes of a file that has at most `limit` of them.
///
/// # Errors
/// It cannot be read, or has more.
pub fn bytes(file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// A plugin's module, in the binary format.
///
/// # Errors
/// Which file cannot be read, and why.
pub fn module(file: &Path) -> io::Result<Vec<u8>> {
    bytes(file, MAX_MODULE_BYTES)
        .map_err(|error| io::Error::new(error.kind(), format!("the plugin {}: {error}", file.display())))
}

/// The text of a file of cases.
pub(crate) fn text(file: &Path, limit: u64) -> Result<String, SuiteError> {
    let unreadable =
        |error: &dyn std::fmt::Display| SuiteError::line(file, 0, format!("it cannot be read: {error}"));
    let bytes = bytes(file, limit).map_err(|error| unreadable(&error))?;
    String::from_utf8(bytes).map_err(|error| unreadable(&error.utf8_error()))
}

/// The ends of the names of files of cases.
const SUITE_ENDS: [&str; 2] = [".test.toml", ".textpb"];

/// Whether a file's name is that of a suite: of our format, or of the other (`tests.textpb`, `tests_x.textpb`; what a
/// `.textpb` holds otherwise is a plugin's configuration).
fn is_suite(name: &str) -> bool {
    name.ends_with(SUITE_ENDS[0]) || (name.ends_with(SUITE_ENDS[1]) && name.contains("tests"))
}

/// The suites among these: a file is one, a directory holds some, at any depth. In the order of their paths; what is
/// hidden is passed over.
///
/// # Errors
/// A path is not there, or a directory cannot be read.
pub fn suites(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let with_path =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if std::fs::metadata(path).map_err(with_path)?.is_dir() {
            collect(path, &mut found, MAX_DEPTH).map_err(with_path)?;
        } else {
            found.push(path.clone());
        }
    }
    found.dedup();
    Ok(found)
}

/// How deep a directory is searched.
const MAX_DEPTH: u32 = 32;
/// Folders of build results and of others' packages: copies in them are not an author's suites.
const PASSED_OVER: [&str; 2] = ["target", "node_modules"];

fn collect(directory: &Path, found: &mut Vec<PathBuf>, depth: u32) -> io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Links are not followed: they may lead in a circle.
        if entry.file_type()?.is_dir() {
            if depth > 0 && !name.starts_with('.') && !PASSED_OVER.contains(&&*name) {
                collect(&entry.path(), found, depth - 1)?;
            }
        } else if is_suite(&name) && !name.starts_with('.') {
            found.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_is_searched_for_suites_and_a_file_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["b", "a/deep", "target", ".git"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in [
            "b/x.test.toml",
            "a/deep/tests.textpb",
            "a/other.toml",
            "a/config.textpb",
            "target/y.test.toml",
            ".git/z.test.toml",
        ] {
            std::fs::write(at(name), "").unwrap();
        }
        let found = suites(&[folder.path().to_owned(), at("a/other.toml")]).unwrap();
        assert_eq!(found, [at("a/deep/tests.textpb"), at("b/x.test.toml"), at("a/other.toml")]);
        let missing = suites(&[at("nowhere")]).unwrap_err();
        assert!(missing.to_string().contains("nowhere"), "{missing}");
    }

    #[test]
    fn no_more_than_the_bound_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(bytes(&file, 5).unwrap(), b"12345");
        assert!(bytes(&file, 4).unwrap_err().to_string().contains("more than 4 bytes"));
        let error = text(&file, 4).unwrap_err().to_string();
        assert!(error.contains("x: it cannot be read: it has more"), "{error}");
    }
}
