//! Keys taken apart into tuple elements, whatever bytes they are.
//!
//! The tuple layer's own decoder recurses with each level of nesting that a key claims to have, and reads
//! numbers that it would itself write otherwise. Keys may have been written by anyone, so this one knows the
//! program's five kinds of elements only, and only in the one form in which they are written.

use std::borrow::Cow;
use std::fmt;

use foundationdb_tuple::{Bytes, TuplePack, TupleUnpack, Versionstamp, pack, unpack};
use uuid::Uuid;

/// The tuple layer's type codes; source: FoundationDB, `design/tuple.md`.
const BYTES: u8 = 0x01;
const TEXT: u8 = 0x02;
const INT_MIN: u8 = 0x0c;
const INT_ZERO: u8 = 0x14;
const INT_MAX: u8 = 0x1c;
const UUID: u8 = 0x30;
const STAMP: u8 = 0x33;

/// The bytes of a UUID.
const UUID_BYTES: usize = 16;
/// The bytes of a versionstamp in a tuple: the transaction's ten and two of its user's.
const STAMP_BYTES: usize = 12;

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementKind {
    Uuid,
    Text,
    Int,
    Bytes,
    Stamp,
}

impl ElementKind {
    /// The kind of that name, as [`super::families`] writes it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "uuid" => Self::Uuid,
            "text" => Self::Text,
            "int" => Self::Int,
            "bytes" => Self::Bytes,
            "stamp" => Self::Stamp,
            _ => return None,
        })
    }
}

impl fmt::Display for ElementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Int => "int",
            Self::Bytes => "bytes",
            Self::Stamp => "stamp",
        })
    }
}

/// One element of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Element<'k> {
    Uuid(Uuid),
    Text(Cow<'k, str>),
    Int(i64),
    Bytes(Cow<'k, [u8]>),
    Stamp([u8; STAMP_BYTES]),
}

impl Element<'_> {
    pub(crate) fn kind(&self) -> ElementKind {
        match self {
            Self::Uuid(_) => ElementKind::Uuid,
            Self::Text(_) => ElementKind::Text,
            Self::Int(_) => ElementKind::Int,
            Self::Bytes(_) => ElementKind::Bytes,
            Self::Stamp(_) => ElementKind::Stamp,
        }
    }

    /// Appends the element to a key.
    pub(crate) fn append_to(&self, key: &mut Vec<u8>) {
        match self {
            Self::Uuid(id) => foundationdb_tuple::pack_into(&(id,), key),
            Self::Text(text) => foundationdb_tuple::pack_into(&(text.as_ref(),), key),
            Self::Int(number) => foundationdb_tuple::pack_into(&(number,), key),
            Self::Bytes(bytes) => foundationdb_tuple::pack_into(&(bytes.as_ref(),), key),
            Self::Stamp(bytes) => foundationdb_tuple::pack_into(&(Versionstamp::from(*bytes),), key),
        };
    }
}

/// Takes the elements off a key, up to the first bytes that are none: those are returned as they are.
pub(crate) fn split(key: &[u8]) -> (Vec<Element<'_>>, &[u8]) {
    let mut elements = Vec::new();
    let mut rest = key;
    while let Some((element, after)) = first(rest) {
        elements.push(element);
        rest = after;
    }
    (elements, rest)
}

/// The first element and what follows it.
fn first(key: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let code = *key.first()?;
    let length = match code {
        BYTES | TEXT => terminated(key)?,
        INT_MIN..=INT_MAX => 1 + usize::from(code.abs_diff(INT_ZERO)),
        UUID => 1 + UUID_BYTES,
        STAMP => 1 + STAMP_BYTES,
        _ => return None,
    };
    let (bytes, rest) = key.split_at_checked(length)?;
    let element = match code {
        BYTES => Element::Bytes(whole::<Bytes<'_>>(bytes)?.0),
        TEXT => Element::Text(whole(bytes)?),
        UUID => Element::Uuid(whole(bytes)?),
        STAMP => Element::Stamp(*whole::<Versionstamp>(bytes)?.as_bytes()),
        _ => Element::Int(whole(bytes)?),
    };
    Some((element, rest))
}

/// Decodes one element, if these bytes are how it is written.
fn whole<'k, T: TupleUnpack<'k> + TuplePack>(bytes: &'k [u8]) -> Option<T> {
    let (value,): (T,) = unpack(bytes).ok()?;
    (pack(&(&value,)) == bytes).then_some(value)
}

/// The length of a byte or text element: it ends with a zero byte that no `0xff` follows.
fn terminated(key: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += key.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        if key.get(at) != Some(&0xff) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        let elements = [
            Element::Uuid(Uuid::from_u128(7)),
            Element::Text("a\0/\u{ff}ä".into()),
            Element::Text("".into()),
            Element::Int(i64::MIN),
            Element::Int(i64::MAX),
            Element::Int(0),
            Element::Int(-1),
            Element::Bytes(Cow::Borrowed(&[0, 0xff, 0, 0])),
            Element::Stamp([9; 12]),
        ];
        let mut key = Vec::new();
        elements.iter().for_each(|element| element.append_to(&mut key));
        assert_eq!(split(&key), (elements.to_vec(), [].as_slice()));
    }

    #[test]
    fn what_is_no_element_is_left_as_it_is() {
        // Nested, null, a float, a number that is too long, one with a leading zero byte, an unfinished text,
        // bytes that are not UTF-8, half a UUID.
        for rest in [
            &[0x05, 0x05, 0x05][..],
            &[0x00],
            &[0x20, 1, 2, 3, 4],
            &[0x1d, 9, 1],
            &[0x16, 0, 5],
            &[0x02, b'a'],
            &[0x02, 0xc3, 0x28, 0],
            &[0x30, 1, 2],
            &[0x02, b'a', 0, 0xff],
        ] {
            let mut key = pack(&("a", 1));
            key.extend_from_slice(rest);
            let (elements, left) = split(&key);
            assert_eq!((elements.len(), left), (2, rest));
        }
        let deep = vec![0x05; 10_000];
        assert_eq!(split(&deep).1, deep);
    }
}
