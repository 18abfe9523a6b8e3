//! Keys as paths that people can read and type, and back: `/coditect/tenant/<uuid>/users/<uuid>`.
//!
//! Each tuple element is one segment:
//!
//! | element | segment |
//! |---|---|
//! | UUID | `842f0e35-08c5-5932-9d8d-6fdfff7ea4c9` |
//! | number | `-12` |
//! | bytes | `0x` and hex digits |
//! | versionstamp | `stamp:` and 24 hex digits |
//! | text | percent-escaped; after `text:` where it would read as something else, or is empty |
//! | bytes that are no element | `raw:` and hex digits, as the last segment |
//!
//! Every key has exactly one path, and it is printable ASCII whatever the key holds.

use std::borrow::Cow;
use std::fmt::Write as _;

use uuid::Uuid;

use super::element::{Element, split};

/// What may follow in a segment for it to be text without a doubt.
const TEXT_MARK: &str = "text:";
const STAMP_MARK: &str = "stamp:";
const RAW_MARK: &str = "raw:";
const BYTES_MARK: &str = "0x";
/// The length of a UUID's text.
const UUID_TEXT: usize = 36;
/// The signs that text keeps unescaped, beside ASCII letters and digits. The colon must not be among them.
const PLAIN_SIGNS: &[u8] = b"-_.~@+=,";

/// Why a path names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("a path begins with `/`")]
    NoSlash,
    /// Two slashes in a row, or one at the end.
    #[error("a path has no empty segments; the empty text is written `text:`")]
    EmptySegment,
    /// A number beyond 64 bits, or with superfluous zeros or signs.
    #[error("`{0}` is no number of 64 bits; text of digits is written `text:{0}`")]
    Number(String),
    /// After a mark that announces hex digits there is something else, or too little or too much of it.
    #[error("`{0}` is not an even number of hex digits of the right length")]
    Hex(String),
    /// A percent sign without two hex digits after it, or bytes that are not UTF-8.
    #[error("`{0}` is not percent-escaped UTF-8")]
    Escape(String),
    /// A word and a colon that announce nothing known.
    #[error("`{0}` begins with an unknown mark; a colon in text is written `%3A`")]
    Mark(String),
    /// A segment after `raw:`, which nothing can follow.
    #[error("`raw:` can only be the last segment")]
    AfterRaw,
}

/// The path of a key.
pub fn to_path(key: &[u8]) -> String {
    let (elements, rest) = split(key);
    let mut path = String::new();
    for element in &elements {
        path.push('/');
        push_element(&mut path, element);
    }
    if !rest.is_empty() {
        path.push('/');
        path.push_str(RAW_MARK);
        path.push_str(&hex::encode(rest));
    }
    if path.is_empty() {
        path.push('/');
    }
    path
}

/// The key of a path.
///
/// # Errors
///
/// [`PathError`] says which segment is not as this module describes it.
pub fn from_path(path: &str) -> Result<Vec<u8>, PathError> {
    let segments = path.strip_prefix('/').ok_or(PathError::NoSlash)?;
    let mut key = Vec::new();
    if segments.is_empty() {
        return Ok(key);
    }
    let mut raw = false;
    for segment in segments.split('/') {
        if raw {
            return Err(PathError::AfterRaw);
        }
        if let Some(digits) = segment.strip_prefix(RAW_MARK) {
            key.extend(unhex(digits, segment)?);
            raw = true;
        } else {
            element(segment)?.append_to(&mut key);
        }
    }
    Ok(key)
}

fn push_element(path: &mut String, element: &Element<'_>) {
    match element {
        Element::Uuid(id) => path.push_str(&id.hyphenated().to_string()),
        Element::Int(number) => path.push_str(&number.to_string()),
        Element::Bytes(bytes) => {
            path.push_str(BYTES_MARK);
            path.push_str(&hex::encode(bytes));
        }
        Element::Stamp(bytes) => {
            path.push_str(STAMP_MARK);
            path.push_str(&hex::encode(bytes));
        }
        Element::Text(text) => {
            if text.is_empty() || is_uuid(text) || is_digits(text) || text.starts_with(BYTES_MARK) {
                path.push_str(TEXT_MARK);
            }
            push_escaped(path, text);
        }
    }
}

fn element(segment: &str) -> Result<Element<'_>, PathError> {
    if segment.is_empty() {
        return Err(PathError::EmptySegment);
    }
    if is_uuid(segment) {
        let id = Uuid::try_parse(segment).map_err(|_| PathError::Hex(segment.into()))?;
        return Ok(Element::Uuid(id));
    }
    if is_digits(segment) {
        let number: Option<i64> = segment.parse().ok();
        return number
            .filter(|number| number.to_string() == segment)
            .map(Element::Int)
            .ok_or_else(|| PathError::Number(segment.into()));
    }
    if let Some(digits) = segment.strip_prefix(BYTES_MARK) {
        return Ok(Element::Bytes(unhex(digits, segment)?.into()));
    }
    match segment.split_once(':') {
        None => unescape(segment).map(Element::Text),
        Some(("text", text)) => unescape(text).map(Element::Text),
        Some(("stamp", digits)) => {
            let bytes = unhex(digits, segment)?;
            bytes.try_into().map(Element::Stamp).map_err(|_| PathError::Hex(segment.into()))
        }
        Some(_) => Err(PathError::Mark(segment.into())),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_TEXT
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_digits(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn push_escaped(path: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN_SIGNS.contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(path, "%{byte:02X}");
        }
    }
}

/// The bytes that hex digits stand for; `segment` is what an error names.
fn unhex(digits: &str, segment: &str) -> Result<Vec<u8>, PathError> {
    hex::decode(digits).map_err(|_| PathError::Hex(segment.into()))
}

fn unescape(text: &str) -> Result<Cow<'_, str>, PathError> {
    let wrong = || PathError::Escape(text.into());
    if !text.contains('%') {
        return Ok(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
            bytes.extend(hex::decode(digits).map_err(|_| wrong())?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout)]

    use coditect_auth::{Entropy, SeededEntropy};
    use foundationdb_tuple::{Versionstamp, pack};

    use super::*;

    #[test]
    fn a_path_reads_like_a_path() {
        let id = Uuid::from_u128(0x842f_0e35_08c5_5932_9d8d_6fdf_ff7e_a4c9);
        let stamp = Versionstamp::complete([1; 10], 2);
        for (key, path) in [
            (pack(&("coditect", "tenant", id, "users", id)), format!("/coditect/tenant/{id}/users/{id}")),
            (pack(&("users_by_email", "ann+1@example.com")), "/users_by_email/ann+1@example.com".into()),
            (pack(&("src/a b.rs", "../ä\0:%")), "/src%2Fa%20b.rs/..%2F%C3%A4%00%3A%25".into()),
            (pack(&(0, -12, i64::MAX)), "/0/-12/9223372036854775807".into()),
            (pack(&(&[0xab_u8, 0][..], &[][..] as &[u8])), "/0xab00/0x".into()),
            (pack(&(stamp,)), "/stamp:010101010101010101010002".into()),
            (
                pack(&("", "12", "0x1", id.to_string(), "raw", "-")),
                format!("/text:/text:12/text:0x1/text:{id}/raw/-"),
            ),
            (vec![0x02, b'a', 0, 0x05, 0xff], "/a/raw:05ff".into()),
            (vec![], "/".into()),
        ] {
            assert_eq!(to_path(&key), path);
            assert_eq!(from_path(&path), Ok(key), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_reason() {
        for (path, reason) in [
            ("", PathError::NoSlash),
            ("a/b", PathError::NoSlash),
            ("/a//b", PathError::EmptySegment),
            ("/a/", PathError::EmptySegment),
            ("/007", PathError::Number("007".into())),
            ("/-0", PathError::Number("-0".into())),
            ("/9223372036854775808", PathError::Number("9223372036854775808".into())),
            ("/0xabc", PathError::Hex("0xabc".into())),
            ("/0xzz", PathError::Hex("0xzz".into())),
            ("/stamp:00", PathError::Hex("stamp:00".into())),
            ("/a%2", PathError::Escape("a%2".into())),
            ("/%ff", PathError::Escape("%ff".into())),
            ("/%+1", PathError::Escape("%+1".into())),
            ("/uuid:1", PathError::Mark("uuid:1".into())),
            ("/raw:00/a", PathError::AfterRaw),
        ] {
            assert_eq!(from_path(path), Err(reason), "{path}");
        }
    }

    /// Bytes near to what keys are made of: tuples of awkward elements, cut, joined and changed.
    fn awkward(entropy: &SeededEntropy) -> Vec<u8> {
        let mut dice = [0_u8; 32];
        entropy.fill(&mut dice);
        let texts =
            ["", "a", "12", "-3", "0x", "text:", "\0", "\u{ff}", "/", "..", "%41", "raw:00", "é", "~"];
        let mut key = Vec::new();
        for pair in dice[..usize::from(dice[31] % 24)].chunks(2) {
            let text = texts[usize::from(pair[0]) % texts.len()];
            match pair[0] >> 5 {
                0 => Element::Int(i64::from(pair[0]) - 128).append_to(&mut key),
                1 => Element::Bytes(dice[..4].into()).append_to(&mut key),
                2 => Element::Uuid(entropy.uuid()).append_to(&mut key),
                3 => Element::Stamp([pair[0]; 12]).append_to(&mut key),
                4 => Element::Text(entropy.uuid().to_string().into()).append_to(&mut key),
                5 => key.extend_from_slice(pair),
                _ => Element::Text(text.into()).append_to(&mut key),
            }
        }
        key
    }

    #[test]
    fn every_key_has_one_path_that_leads_back() {
        let seed = 0x9a7b_0001;
        println!("seed {seed}");
        let entropy = SeededEntropy::new(seed);
        for _ in 0..20_000 {
            let key = awkward(&entropy);
            let path = to_path(&key);
            assert_eq!(from_path(&path).as_deref(), Ok(key.as_slice()), "{path}");
            assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        }
    }

    #[test]
    fn no_path_makes_the_parser_stumble() {
        let seed = 0x9a7b_0002;
        println!("seed {seed}");
        let entropy = SeededEntropy::new(seed);
        let alphabet = b"/:%0x1-aftesxrwmp.~\xc3\xa4";
        for _ in 0..20_000 {
            let mut dice = [0; 24];
            entropy.fill(&mut dice);
            let bytes: Vec<u8> =
                dice.iter().map(|die| alphabet[usize::from(*die) % alphabet.len()]).collect();
            let path = format!("/{}", String::from_utf8_lossy(&bytes));
            if let Ok(key) = from_path(&path) {
                assert_eq!(from_path(&to_path(&key)), Ok(key), "{path}");
            }
        }
    }
}
