//! What can be wrong with a file of cases, said so that the place can be found.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file of cases that cannot be run.
#[derive(Debug)]
pub struct SuiteError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 where it is not at one line.
    pub line: usize,
    /// The case.
    pub case: Option<String>,
    /// The key in the case, or in the file.
    pub key: String,
    /// What was found and what was expected.
    pub message: String,
}

impl std::error::Error for SuiteError {}

impl fmt::Display for SuiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if let Some(case) = &self.case {
            write!(f, ": case `{}`", case.escape_debug())?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl SuiteError {
    /// A problem of the file, or of one of its cases.
    pub(crate) fn at(file: &Path, case: Option<&str>, key: &str, message: String) -> Self {
        let (case, key) = (case.map(str::to_owned), key.to_owned());
        Self { file: file.to_owned(), line: 0, case, key, message }
    }

    /// A problem at a line.
    pub(crate) fn line(file: &Path, line: usize, message: String) -> Self {
        Self { file: file.to_owned(), line, case: None, key: String::new(), message }
    }

    /// What the TOML reader says; `path` is where it was, such as `case[2].request.method`.
    pub(super) fn toml(file: &Path, text: &str, error: &toml::de::Error, path: &str) -> Self {
        let offset = error.span().map(|span| span.start);
        let line = offset.map_or(0, |offset| {
            text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
        });
        let (case, key) = locate(text, path);
        Self { file: file.to_owned(), line, case, key, message: error.message().to_owned() }
    }
}

/// The case's name and the key in it.
fn locate(text: &str, path: &str) -> (Option<String>, String) {
    let whole = || (None, if path == "." { String::new() } else { path.to_owned() });
    let Some((index, key)) = path.strip_prefix("case[").and_then(|rest| rest.split_once(']')) else {
        return whole();
    };
    let name = || {
        let index: usize = index.parse().ok()?;
        let table: toml::Table = text.parse().ok()?;
        table.get("case")?.get(index)?.get("name")?.as_str().map(str::to_owned)
    };
    match name() {
        Some(name) => (Some(name), key.trim_start_matches('.').to_owned()),
        None => whole(),
    }
}
