//! Matching strings as the format does: exactly or by a regular expression that fits the whole, or that there is none.

use regex::bytes::{Regex, RegexBuilder};

/// The most memory a compiled expression may take, in bytes.
const MAX_REGEX_BYTES: usize = 4 * 1024 * 1024;

/// One expectation of a string.
#[derive(Debug)]
pub(super) struct Matcher {
    invert: bool,
    how: How,
}

#[derive(Debug)]
enum How {
    Exact(Vec<u8>),
    Regex { source: String, compiled: Regex },
}

impl Matcher {
    pub(super) fn exact(text: Vec<u8>, invert: bool) -> Self {
        Self { invert, how: How::Exact(text) }
    }

    /// The syntax is RE2's, as far as the `regex` crate shares it (nearly all: `\C` and `\pN` of RE2 differ).
    pub(super) fn regex(source: &str, invert: bool) -> Result<Self, String> {
        // Alone first: `)(` must not become good by what is put around it.
        let built = Regex::new(source).and_then(|_| {
            RegexBuilder::new(&format!(r"\A(?:{source})\z")).size_limit(MAX_REGEX_BYTES).build()
        });
        let compiled = built.map_err(|error| format!("`{source}` is no regular expression: {error}"))?;
        Ok(Self { invert, how: How::Regex { source: source.to_owned(), compiled } })
    }

    /// Whether the expectation holds for these strings: one of them fits, or none where it is inverted.
    pub(super) fn holds<'a>(&self, strings: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let fits = |string: &[u8]| match &self.how {
            How::Exact(text) => text == string,
            How::Regex { compiled, .. } => compiled.is_match(string),
        };
        strings.into_iter().any(fits) != self.invert
    }

    /// What is expected, for people.
    pub(super) fn describe(&self) -> String {
        let no = if self.invert { "nothing that is " } else { "" };
        match &self.how {
            How::Exact(text) => format!("{no}`{}`", text.escape_ascii()),
            How::Regex { source, .. } => format!("{no}/{source}/"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_regex_fits_the_whole_string_and_a_dot_no_line_end() {
        let holds = |regex: &str, text: &str| Matcher::regex(regex, false).unwrap().holds([text.as_bytes()]);
        assert!(holds("a.c", "abc") && !holds("a.c", "abcd") && !holds("a.c", "a\nc"));
        assert!(holds("(?s)a.c", "a\nc") && holds("a|bc", "bc") && !holds("a|bc", "ac"));
        assert!(holds("x [[:xdigit:]]+$", "x 09af"));
        assert!(Matcher::regex("a)(b", false).is_err() && Matcher::regex("(", false).is_err());
    }

    #[test]
    fn an_inverted_one_holds_where_nothing_fits() {
        let strings = || [&b"a"[..], &b"b"[..]];
        assert!(Matcher::exact(b"b".to_vec(), false).holds(strings()));
        assert!(!Matcher::exact(b"b".to_vec(), true).holds(strings()));
        assert!(Matcher::exact(b"c".to_vec(), true).holds(strings()));
        assert!(!Matcher::exact(b"c".to_vec(), false).holds([]));
    }
}
