//! From the request's path to a path below the root: decoded once, and refused where it could mean more than
//! a plain name per segment.

/// The one hidden name that is served, as the first segment only (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// The file a directory stands for.
pub(super) const INDEX: &str = "index.html";

/// A request path that passed [`FilePath::parse`]: relative, `/`-separated, every segment a plain visible name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePath {
    /// Decoded, without leading or trailing slash; empty for the root.
    decoded: String,
    /// Ended in `/`.
    directory: bool,
}

impl FilePath {
    /// Decodes and checks `path`; `None` means 404 without a look at the file system.
    ///
    /// Refused: no leading `/`; an empty segment but the last; a percent sign without two hex digits; and any
    /// segment that, decoded once, is not UTF-8, holds `/`, `\` or a control character (NUL among them), or
    /// starts with a dot (`.`, `..`, hidden files; a first `.well-known` is let through). Decoding once and
    /// per segment means that `%252e` is the name `%2e` and `%2f` never becomes a separator.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut rest = path.strip_prefix('/')?;
        let directory = rest.is_empty() || rest.ends_with('/');
        rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut decoded = String::with_capacity(rest.len());
        if rest.is_empty() {
            // "/" alone; "//" has an empty segment.
            return (path.len() == 1).then_some(FilePath { decoded, directory });
        }
        for (index, raw) in rest.split('/').enumerate() {
            let segment = decode(raw)?;
            if !is_plain(&segment, index == 0) {
                return None;
            }
            if index > 0 {
                decoded.push('/');
            }
            decoded.push_str(&segment);
        }
        Some(FilePath { decoded, directory })
    }

    /// The file this path asks for: the directory's index where it ends in `/`.
    pub(super) fn file(&self) -> String {
        match (self.directory, self.decoded.is_empty()) {
            (false, _) => self.decoded.clone(),
            (true, true) => INDEX.to_owned(),
            (true, false) => format!("{}/{INDEX}", self.decoded),
        }
    }

    /// The index of the directory this path would be with a trailing slash; `None` where it has one.
    pub(super) fn index_below(&self) -> Option<String> {
        (!self.directory).then(|| format!("{}/{INDEX}", self.decoded))
    }

    /// Whether a single-page application may own this path: its last segment has no dot, so it names no file.
    pub(super) fn may_be_page(&self) -> bool {
        !self.last_segment().contains('.')
    }

    /// Where to send a client that left out the trailing slash: `./name/`, relative to the request's URL.
    /// Starting with `./` it can be read neither as another host (`//host`) nor as a scheme (`a:b`).
    pub(super) fn with_slash(&self) -> String {
        let mut location = String::from("./");
        for byte in self.last_segment().bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                location.push(char::from(byte));
            } else {
                location.push_str(&format!("%{byte:02X}"));
            }
        }
        location.push('/');
        location
    }

    fn last_segment(&self) -> &str {
        self.decoded.rsplit('/').next().unwrap_or_default()
    }
}

fn is_plain(segment: &str, first: bool) -> bool {
    !segment.is_empty()
        && (!segment.starts_with('.') || (first && segment == WELL_KNOWN))
        && !segment.chars().any(|c| c.is_control() || c == '/' || c == '\\')
}

/// Percent-decodes one segment; `None` for a malformed escape or bytes that are not UTF-8.
fn decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut input = raw.bytes();
    while let Some(byte) = input.next() {
        if byte == b'%' {
            bytes.push(hex_digit(input.next()?)? << 4 | hex_digit(input.next()?)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn file(path: &str) -> Option<String> {
        FilePath::parse(path).map(|path| path.file())
    }

    #[test]
    fn decodes_once_and_per_segment() {
        for (path, expected) in [
            ("/", "index.html"),
            ("/a", "a"),
            ("/a/", "a/index.html"),
            ("/a%20b/c%C3%A9.txt", "a b/cé.txt"),
            ("/%252e%252e/x", "%2e%2e/x"),
            ("/.well-known/security.txt", ".well-known/security.txt"),
            ("/%2ewell-known/x", ".well-known/x"),
            ("/a..b/c", "a..b/c"),
        ] {
            assert_eq!(file(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn refuses_whatever_is_not_a_plain_name() {
        for path in [
            "",
            "a",
            "//",
            "///",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/../x",
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/%2e",
            "/%2e%2e/x",
            "/%2E%2e/x",
            "/.%2e/x",
            "/..%2fx",
            "/%2e%2e%2fx",
            "/a%2fb",
            "/a%2Fb",
            "/x%00.html",
            "/%00",
            "/..\\x",
            "/a\\b",
            "/%5c..%5cx",
            "/a%5Cb",
            "/a%0ab",
            "/a%7fb",
            "/a%c2%85b",
            "/%ff",
            "/%c0%ae%c0%ae/x",
            "/%",
            "/%2",
            "/a%zz",
            "/a%+1",
            "/.git/config",
            "/.env",
            "/a/.well-known/x",
            "/.well-known/.x",
            "/...",
        ] {
            assert_eq!(FilePath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn redirects_stay_on_this_host() {
        for (path, expected) in
            [("/a/b", "./b/"), ("/http:", "./http%3A/"), ("/é?", "./%C3%A9%3F/"), ("/a%20b", "./a%20b/")]
        {
            assert_eq!(FilePath::parse(path).unwrap().with_slash(), expected);
        }
    }

    #[test]
    fn pages_have_no_dot_in_their_last_segment() {
        for (path, expected) in
            [("/", true), ("/a", true), ("/a.b/c", true), ("/a/b.js", false), ("/a/b.js/", false)]
        {
            assert_eq!(FilePath::parse(path).unwrap().may_be_page(), expected, "{path}");
        }
    }
}
