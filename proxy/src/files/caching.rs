//! `Cache-Control`: names that carry a hash of their content never change what they mean and are kept for
//! good; everything else is asked for again each time (and answered 304 by its ETag).
//!
//! Taking an ordinary name for a hashed one keeps a stale file in browsers for a year, the other mistake costs
//! one short request: so the rule is strict, and misses some real hashes. A name is hashed where
//!
//! 1. its stem (the name without the last extension, and without the one before `.map`) ends in `-` and one of
//!    - exactly 8 characters of `A-Z a-z 0-9 _` with upper and lower case (Vite, Rollup: `index-DiwrgTda.js`),
//!      unless it is a capitalised word (`my-Elements.js`);
//!    - exactly 8 of `A-Z a-z 0-9 _ -` with one `-` in the middle of them, upper and lower case and a digit;
//!    - 8 to 64 of `A-Z a-z 0-9 _` with at least two groups each of digits and of letters, and three different
//!      letters (`app-8f3a2b1c.js`, but not `canvas2d`, `datepicker3`, `1024x1024`, `2024jan15`);
//! 2. or one of its middle dot-separated parts is 8 to 64 of `0-9 a-f` with a digit and a letter (webpack:
//!    `main.8f3a2b1c.js`, `main.8f3a2b1c.chunk.js`).
//!
//! What stays ambiguous: eight letters in camel case after a dash (`my-DateTime.js`) look exactly like a hash.

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";

/// The length of the hash Rollup, and with it Vite, puts into names.
const ROLLUP_HASH: usize = 8;
/// A SHA-256 in hexadecimal.
const LONGEST_HASH: usize = 64;

/// The `Cache-Control` value for a file called `name`.
pub(super) fn cache_control(name: &str) -> &'static str {
    if is_hashed(name) { IMMUTABLE } else { REVALIDATE }
}

fn is_hashed(name: &str) -> bool {
    has_dashed_hash(name) || has_dotted_hash(name)
}

fn has_dashed_hash(name: &str) -> bool {
    let name = name.strip_suffix(".map").filter(|rest| rest.contains('.')).unwrap_or(name);
    let Some((stem, _)) = name.rsplit_once('.') else { return false };
    let last = stem.rsplit_once('-').map_or("", |(_, last)| last);
    is_short_hash(last) || is_long_hash(last) || dashed_tail(stem).is_some_and(is_dashed_hash)
}

/// The last eight bytes, where a dash stands before them.
fn dashed_tail(stem: &str) -> Option<&str> {
    let at = stem.len().checked_sub(ROLLUP_HASH)?;
    stem.get(..at)?.ends_with('-').then(|| stem.get(at..)).flatten()
}

fn is_short_hash(part: &str) -> bool {
    part.len() == ROLLUP_HASH && is_word(part) && is_mixed_case(part) && !is_capitalised(part)
}

fn is_dashed_hash(part: &str) -> bool {
    let dashes = part.bytes().filter(|byte| *byte == b'-').count();
    dashes == 1
        && part.bytes().all(|byte| byte == b'-' || is_word_byte(byte))
        && is_mixed_case(part)
        && part.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_long_hash(part: &str) -> bool {
    (ROLLUP_HASH..=LONGEST_HASH).contains(&part.len())
        && is_word(part)
        && groups(part, |byte| byte.is_ascii_digit()) >= 2
        && groups(part, |byte| byte.is_ascii_alphabetic()) >= 2
        && different_letters(part) >= 3
}

fn has_dotted_hash(name: &str) -> bool {
    let mut parts = name.split('.').skip(1).peekable();
    while let Some(part) = parts.next() {
        // The last part is the extension.
        if parts.peek().is_some() && is_hex_hash(part) {
            return true;
        }
    }
    false
}

fn is_hex_hash(part: &str) -> bool {
    (ROLLUP_HASH..=LONGEST_HASH).contains(&part.len())
        && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_word(part: &str) -> bool {
    part.bytes().all(is_word_byte)
}

fn is_mixed_case(part: &str) -> bool {
    part.bytes().any(|byte| byte.is_ascii_uppercase()) && part.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_capitalised(part: &str) -> bool {
    part.bytes().skip(1).all(|byte| byte.is_ascii_lowercase())
}

/// How many runs of characters `belongs` accepts there are.
fn groups(part: &str, belongs: impl Fn(&u8) -> bool) -> usize {
    part.as_bytes().split(|byte| !belongs(byte)).filter(|group| !group.is_empty()).count()
}

fn different_letters(part: &str) -> u32 {
    let seen = part
        .bytes()
        .filter(u8::is_ascii_alphabetic)
        .fold(0_u32, |seen, byte| seen | 1 << (byte.to_ascii_lowercase() - b'a'));
    seen.count_ones()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_bundlers_write_them_are_hashed() {
        for name in [
            "index-DiwrgTda.js",
            "index-C3HsWrFD.css",
            "index-DiwrgTda.js.map",
            "my-component-B_x9qA1c.js",
            "index-B-x9_qA1.js",
            "index--x9_qA1B.js",
            "app-8f3a2b1c.js",
            "main.8f3a2b1c.js",
            "main.8f3a2b1c.chunk.js",
            "main.8f3a2b1c.js.map",
            "logo-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.svg",
        ] {
            assert!(is_hashed(name), "{name}");
        }
    }

    #[test]
    fn ordinary_names_are_not() {
        for name in [
            "index.html",
            "service-worker.js",
            "my-component.js",
            "my-Component.js",
            "my-Elements.js",
            "jquery-3.7.1.min.js",
            "report-2024-01-15.html",
            "report-20240115.html",
            "report.20240115.csv",
            "bootstrap-datepicker3.css",
            "my-canvas2d.js",
            "data-LanguageTable.js",
            "lang-en-US-v2.js",
            "apple-touch-icon-180x180.png",
            "favicon-32x32.png",
            "icon-1024x1024.png",
            "icon-1024x1024px.png",
            "report-2024jan15.html",
            "trace-20240115T103000Z.json",
            "x.deadbeef.js",
            "8f3a2b1c.js",
            "main.8f3a2b1c",
            "index-DiwrgTda",
            "index-DiwrgTd\u{e9}.js",
            "-.js",
            "",
            ".",
        ] {
            assert!(!is_hashed(name), "{name}");
        }
    }
}
