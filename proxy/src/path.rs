//! Paths that could be read in two ways are refused before they are routed.
//!
//! Routing looks at the path as it was sent. An upstream may decode it once more, so a path that would mean another
//! one after decoding (`/theia/%2e%2e/api`) must not get that far.

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathProblem {
    /// Not an absolute path (`*`, an authority, nothing).
    NotAbsolute,
    /// `.` or `..` as a segment, plain or percent-encoded.
    DotSegment,
    /// A backslash, a control character or NUL, plain or percent-encoded, or bytes beyond ASCII.
    Character,
    /// A `%` without two hexadecimal digits.
    Escape,
}

impl PathProblem {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the request target must be an absolute path",
            Self::DotSegment => "the path has a `.` or `..` segment",
            Self::Character => "the path has a character that is not allowed in one",
            Self::Escape => "the path has a broken percent-encoding",
        }
    }
}

/// Judges a path without its query.
pub(crate) fn check(path: &str) -> Result<(), PathProblem> {
    if !path.starts_with('/') {
        return Err(PathProblem::NotAbsolute);
    }
    let bytes = path.as_bytes();
    let mut at = 0;
    // The segment so far consists of this many dots and nothing else; `None` once it cannot be a dot segment.
    let mut dots = None;
    while at < bytes.len() {
        let (byte, width) = decode(bytes, at)?;
        at += width;
        match byte {
            // An encoded slash separates segments for whoever decodes it.
            b'/' => {
                dot_segment(dots)?;
                dots = Some(0);
            }
            b'\\' | 0..=0x1f | 0x7f => return Err(PathProblem::Character),
            _ if width == 1 && byte >= 0x80 => return Err(PathProblem::Character),
            b'.' => dots = dots.map(|dots: u8| dots.saturating_add(1)),
            _ => dots = None,
        }
    }
    dot_segment(dots)
}

fn dot_segment(dots: Option<u8>) -> Result<(), PathProblem> {
    if matches!(dots, Some(1 | 2)) { Err(PathProblem::DotSegment) } else { Ok(()) }
}

/// The byte at `at`, decoded once, and how many bytes it takes.
fn decode(bytes: &[u8], at: usize) -> Result<(u8, usize), PathProblem> {
    if bytes[at] != b'%' {
        return Ok((bytes[at], 1));
    }
    let digit =
        |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16)).ok_or(PathProblem::Escape);
    let value = digit(at + 1)? * 16 + digit(at + 2)?;
    u8::try_from(value).map(|byte| (byte, 3)).map_err(|_| PathProblem::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in ["/", "/a/b.js", "/..a/b..", "/...", "/a%20b/%C3%A4", "/a//b", "/.well-known/x", "/a%2Fb"]
        {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_mean_another_one_are_refused() {
        for path in
            ["/..", "/../a", "/a/..", "/a/./b", "/%2e%2e/a", "/a/.%2E", "/a%2f..%2fb", "/a/%2e%2e%2fb", "/."]
        {
            assert_eq!(check(path), Err(PathProblem::DotSegment), "{path}");
        }
        for path in ["/a\\b", "/a%5cb", "/a%00", "/a%0d%0ab", "/a\u{7f}", "/\u{e4}"] {
            assert_eq!(check(path), Err(PathProblem::Character), "{path}");
        }
        for path in ["/%", "/%2", "/%zz", "/a%2"] {
            assert_eq!(check(path), Err(PathProblem::Escape), "{path}");
        }
        for path in ["", "*", "a/b", "example.com:80"] {
            assert_eq!(check(path), Err(PathProblem::NotAbsolute), "{path}");
        }
    }
}
