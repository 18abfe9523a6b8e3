//! Finds secrets in text by their form, in one pass and in time linear in the text.

use serde::Deserialize;

/// Fewest characters a token has behind its prefix, or behind `Bearer`.
const MIN_TOKEN: usize = 8;
/// Longest part of an e-mail address before the `@` (RFC 5321), and longest domain.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 255;

/// What can be found without being told how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// E-mail addresses.
    Email,
    /// JSON web tokens: three base64url parts, of which the first begins with `eyJ`.
    Jwt,
    /// What stands behind the word `Bearer`.
    Bearer,
}

/// Finds what it was made for.
#[derive(Debug)]
pub struct Finder {
    email: bool,
    jwt: bool,
    bearer: bool,
    prefixes: Vec<String>,
    /// For each byte whether something that is looked for begins with it, or is an address around it.
    begins: [bool; 256],
}

impl Default for Finder {
    fn default() -> Self {
        Self::new(&[], Vec::new())
    }
}

impl Finder {
    /// Finds these kinds, and words that begin with one of `prefixes`.
    pub fn new(kinds: &[Kind], prefixes: Vec<String>) -> Self {
        let has = |kind| kinds.contains(&kind);
        let (email, jwt, bearer) = (has(Kind::Email), has(Kind::Jwt), has(Kind::Bearer));
        let firsts = prefixes.iter().filter_map(|prefix| prefix.bytes().next());
        let kinds = [(email, b'@'), (jwt, b'e'), (bearer, b'b'), (bearer, b'B')];
        let kinds = kinds.into_iter().filter_map(|(wanted, first)| wanted.then_some(first));
        let mut begins = [false; 256];
        for first in firsts.chain(kinds) {
            if let Some(begins) = begins.get_mut(usize::from(first)) {
                *begins = true;
            }
        }
        Self { email, jwt, bearer, prefixes, begins }
    }

    /// Whether it can find anything at all.
    pub fn is_empty(&self) -> bool {
        !(self.email || self.jwt || self.bearer) && self.prefixes.is_empty()
    }

    /// Appends `text` to `out` with what is found replaced; whether something was.
    pub fn redact(&self, text: &[u8], replacement: &[u8], out: &mut Vec<u8>) -> bool {
        let mut copied = 0;
        let mut at = 0;
        while let Some(next) = self.next(text, at) {
            at = next + 1;
            let before = text.get(copied..next).and_then(<[u8]>::last);
            let found = if text.get(next) == Some(&b'@') {
                email_around(text, next, copied)
            } else if before.is_some_and(|byte| is_word(*byte)) {
                None
            } else {
                self.token_at(text, next)
            };
            if let Some((from, to)) = found {
                out.extend_from_slice(text.get(copied..from).unwrap_or_default());
                out.extend_from_slice(replacement);
                (copied, at) = (to, to);
            }
        }
        out.extend_from_slice(text.get(copied..).unwrap_or_default());
        copied > 0
    }

    /// Where, from `at` on, something may begin.
    fn next(&self, text: &[u8], at: usize) -> Option<usize> {
        let rest = text.get(at..)?;
        let found =
            rest.iter().position(|byte| self.begins.get(usize::from(*byte)).is_some_and(|begins| *begins));
        found.map(|found| at + found)
    }

    /// The token in the word that begins at `at`.
    fn token_at(&self, text: &[u8], at: usize) -> Option<(usize, usize)> {
        let word = text.get(at..)?;
        if self.jwt
            && word.starts_with(b"eyJ")
            && let Some(length) = jwt_length(word)
        {
            return Some((at, at + length));
        }
        if self.bearer && word.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer ")) {
            let length = run(word.get(7..)?, is_token68);
            if length >= MIN_TOKEN {
                return Some((at + 7, at + 7 + length));
            }
        }
        let prefix = self.prefixes.iter().find(|prefix| word.starts_with(prefix.as_bytes()))?;
        let length = run(word.get(prefix.len()..)?, is_word);
        (length >= MIN_TOKEN).then_some((at, at + prefix.len() + length))
    }
}

/// The address around the `@` at `at`, none of which lies before `from`.
fn email_around(text: &[u8], at: usize, from: usize) -> Option<(usize, usize)> {
    let before = text.get(from..at)?;
    let mut local = before.iter().rev().take(MAX_LOCAL).take_while(|byte| is_local(**byte)).count();
    // Cut off at its greatest length, neither part may end within a character.
    while local > 0 && text.get(at - local).is_some_and(|byte| continues(*byte)) {
        local -= 1;
    }
    let after = text.get(at + 1..)?;
    let mut domain = after.iter().take(MAX_DOMAIN).take_while(|byte| is_domain(**byte)).count();
    while domain > 0 && after.get(domain).is_some_and(|byte| continues(*byte)) {
        domain -= 1;
    }
    // A full stop at the end is the sentence's.
    while domain > 0 && matches!(after.get(domain - 1), Some(b'.' | b'-')) {
        domain -= 1;
    }
    let has_dot =
        after.get(..domain)?.windows(2).any(|pair| matches!(pair, [b'.', letter] if *letter != b'.'));
    (local > 0 && has_dot).then_some((at - local, at + 1 + domain))
}

/// The length of the JSON web token at the start of this text.
fn jwt_length(word: &[u8]) -> Option<usize> {
    let header = run(word, is_word);
    let claims = word.get(header..)?.strip_prefix(b".").map(|rest| run(rest, is_word))?;
    let signature = word.get(header + 1 + claims..)?.strip_prefix(b".").map(|rest| run(rest, is_word))?;
    // The signature of an unsigned token is empty.
    (claims > 0).then_some(header + claims + signature + 2)
}

/// Whether a byte is within a character of UTF-8 and not its first.
fn continues(byte: u8) -> bool {
    matches!(byte, 0x80..=0xbf)
}

/// How many bytes at the start are of this class.
fn run(text: &[u8], class: fn(u8) -> bool) -> usize {
    text.iter().take_while(|byte| class(**byte)).count()
}

/// base64url, and what words are made of.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// RFC 9110, section 11.2.
fn is_token68(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-') || !byte.is_ascii()
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(text: &str) -> String {
        let finder = Finder::new(&[Kind::Email, Kind::Jwt, Kind::Bearer], vec!["ghp_".to_owned()]);
        let mut out = Vec::new();
        let found = finder.redact(text.as_bytes(), b"#", &mut out);
        assert_eq!(found, out != text.as_bytes(), "{text}");
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn secrets_are_found() {
        for (text, redacted) in [
            ("to ada@example.com.", "to #."),
            ("<ada.l+x@mail.example.co.uk>", "<#>"),
            ("a@b.cc,d@e.ff", "#,#"),
            ("mailto:ada%40x@example.com?x", "mailto:#?x"),
            ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln end", "# end"),
            ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "#"),
            ("Authorization: bearer abc.DEF/123=", "Authorization: bearer #"),
            ("token=ghp_0123456789abcdef;", "token=#;"),
            ("(ghp_0123456789)", "(#)"),
        ] {
            assert_eq!(redact(text), redacted);
        }
    }

    #[test]
    fn other_text_stays() {
        for text in [
            "",
            "@",
            "@@@",
            "a@",
            "@b.cc",
            "a@b",
            "a@b.",
            "a@.",
            "user @ example.com",
            "eyJ",
            "eyJ.",
            "eyJ..x",
            "xeyJa.b.c",
            "bearer of news",
            "unbearer abcdefghijk",
            "ghp_short",
            "xghp_0123456789",
            "\u{e4}\u{f6}",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn characters_stay_whole() {
        let long = "\u{e9}".repeat(300);
        for text in
            [format!("x{long}@b.{long}"), format!("{long}@x.{long}"), "zo\u{e9}@exempl\u{e9}.fr".to_owned()]
        {
            let redacted = redact(&text);
            assert!(!redacted.contains('\u{fffd}') && redacted != text, "{redacted}");
        }
    }

    #[test]
    fn time_is_linear_for_hostile_text() {
        // A quadratic search would take minutes.
        for piece in ["a", "@", "a@", "eyJ.", "eyJ", "bearer ", "ghp_", "a.", "."] {
            let text = piece.repeat(1_000_000 / piece.len());
            let mut out = Vec::new();
            let finder = Finder::new(&[Kind::Email, Kind::Jwt, Kind::Bearer], vec!["ghp_".to_owned()]);
            finder.redact(text.as_bytes(), b"#", &mut out);
        }
    }
}
