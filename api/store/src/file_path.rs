//! Which paths files of a workspace may have.
//!
//! Paths are relative to the workspace, UTF-8, their segments separated by slashes. They are compared byte by byte:
//! nothing is folded or normalised. What a URL's path cannot carry through the edge (control characters, a backslash)
//! is in no file's path either, whichever way it came: such a file could not be read.

/// The longest path, in bytes; source: Linux, `PATH_MAX`.
pub const MAX_PATH_BYTES: usize = 4096;
/// The longest segment, in bytes; source: Linux, `NAME_MAX`.
pub const MAX_SEGMENT_BYTES: usize = 255;
/// The most segments. Each is looked up when a file is created.
pub const MAX_SEGMENTS: usize = 128;

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nothing at all.
    #[error("a path has at least one character")]
    Empty,
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("a path has at most {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// A segment is longer than [`MAX_SEGMENT_BYTES`].
    #[error("a segment of a path has at most {MAX_SEGMENT_BYTES} bytes")]
    LongSegment,
    /// More than [`MAX_SEGMENTS`].
    #[error("a path has at most {MAX_SEGMENTS} segments")]
    TooDeep,
    /// A slash at the beginning or the end, or two in a row.
    #[error("a path has no empty segments: no slash at its beginning or end, no two in a row")]
    EmptySegment,
    /// `.` or `..`.
    #[error("a path has no `.` or `..` segments")]
    DotSegment,
    /// NUL, another control character, or a backslash.
    #[error("a path has no control characters and no backslash")]
    Character,
}

/// Whether a file or a directory may have this path.
///
/// # Errors
///
/// The first rule that it breaks.
pub fn check(path: &str) -> Result<(), PathProblem> {
    if path.is_empty() {
        return Err(PathProblem::Empty);
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(PathProblem::TooLong);
    }
    if path.bytes().any(|byte| byte.is_ascii_control() || byte == b'\\') {
        return Err(PathProblem::Character);
    }
    let mut segments = 0;
    for segment in path.split('/') {
        match segment {
            "" => return Err(PathProblem::EmptySegment),
            "." | ".." => return Err(PathProblem::DotSegment),
            _ if segment.len() > MAX_SEGMENT_BYTES => return Err(PathProblem::LongSegment),
            _ => segments += 1,
        }
    }
    if segments > MAX_SEGMENTS { Err(PathProblem::TooDeep) } else { Ok(()) }
}

/// The directories a path lies in, from the nearest to the outermost: `a/b` and `a` of `a/b/c`.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').filter_map(|(at, _)| path.get(..at))
}

/// Whether `path` lies below the directory `directory`; everything lies below the root, `""`.
pub fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// What the paths of everything below a directory begin with.
pub(crate) fn prefix(directory: &str) -> String {
    if directory.is_empty() { String::new() } else { format!("{directory}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        let deep = vec!["d"; MAX_SEGMENTS].join("/");
        let long = vec!["l".repeat(MAX_SEGMENT_BYTES); MAX_PATH_BYTES / (MAX_SEGMENT_BYTES + 1)].join("/");
        for path in
            ["a", "a/b", "..a/b..", "...", " ", "a b/ä", "\u{10ffff}", "%2e%2e", "a:move", "~", &deep, &long]
        {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn each_rule_is_held() {
        let cases = [
            ("", PathProblem::Empty),
            ("/", PathProblem::EmptySegment),
            ("/a", PathProblem::EmptySegment),
            ("a/", PathProblem::EmptySegment),
            ("a//b", PathProblem::EmptySegment),
            (".", PathProblem::DotSegment),
            ("a/../b", PathProblem::DotSegment),
            ("a/.", PathProblem::DotSegment),
            ("a\0b", PathProblem::Character),
            ("a\nb", PathProblem::Character),
            ("a\u{7f}", PathProblem::Character),
            ("a\\b", PathProblem::Character),
        ];
        for (path, problem) in cases {
            assert_eq!(check(path), Err(problem), "{path:?}");
        }
        assert_eq!(check(&"d/".repeat(MAX_SEGMENTS).repeat(2)), Err(PathProblem::EmptySegment));
        assert_eq!(check(&vec!["d"; MAX_SEGMENTS + 1].join("/")), Err(PathProblem::TooDeep));
        assert_eq!(check(&"l".repeat(MAX_SEGMENT_BYTES + 1)), Err(PathProblem::LongSegment));
        assert_eq!(check(&"l".repeat(MAX_PATH_BYTES + 1)), Err(PathProblem::TooLong));
    }

    #[test]
    fn ancestors_go_outwards() {
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(ancestors("a").count(), 0);
        assert!(is_below("a/b", "a") && is_below("a", "") && !is_below("a", "a") && !is_below("ab", "a"));
    }
}
