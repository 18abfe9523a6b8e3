//! Ranges of keys: what lies below a prefix, and the part of it that a page of a list shows.

use foundationdb_tuple::{Subspace, TuplePack, TupleUnpack};

use super::{Key, malformed};
use crate::error::StoreError;

/// A range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpan {
    /// The first key.
    pub begin: Vec<u8>,
    /// The first key after the span.
    pub end: Vec<u8>,
}

impl KeySpan {
    /// Whether a key lies in the span.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.begin.as_slice() && key < self.end.as_slice()
    }

    /// The part of the span after a key; seen from the end, the part before it.
    pub(crate) fn beyond(mut self, key: &Key, reverse: bool) -> Self {
        if reverse {
            let end = key.as_ref().to_vec();
            self.end = end.clamp(self.begin.clone(), self.end);
        } else {
            let mut begin = key.as_ref().to_vec();
            begin.push(0);
            self.begin = begin.clamp(self.begin, self.end.clone());
        }
        self
    }
}

/// The keys of one family that share their first elements. All it makes lies below them.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    family: &'static str,
    space: Subspace,
}

impl Branch {
    pub(super) fn new(family: &'static str, space: Subspace) -> Self {
        Self { family, space }
    }

    /// The family's name.
    pub(crate) fn family(&self) -> &'static str {
        self.family
    }

    /// The key with these elements after the shared ones.
    pub(crate) fn key<T: TuplePack>(&self, rest: &T) -> Key {
        Key(self.space.pack(rest))
    }

    /// All its keys that have elements after the shared ones.
    pub(crate) fn span(&self) -> KeySpan {
        let (begin, end) = self.space.range();
        KeySpan { begin, end }
    }

    /// Those of its keys whose next element is text that begins with `prefix`.
    pub(crate) fn span_of_text(&self, prefix: &str) -> KeySpan {
        let mut begin = self.space.pack(&(prefix,));
        // Without the byte that ends the text, it may go on.
        begin.pop();
        let mut end = begin.clone();
        // The last byte below 0xff, one higher; the code of a text element is one, so there is such a byte.
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                break;
            }
        }
        KeySpan { begin, end }
    }

    /// The elements of a key after the shared ones.
    pub(crate) fn unpack<'k, T: TupleUnpack<'k>>(&self, key: &'k [u8]) -> Result<T, StoreError> {
        self.space.unpack(key).map_err(|error| malformed(self.family, &error))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::{Keyspace, TenantFamily};
    use super::*;

    fn branch() -> Branch {
        Keyspace::new("r").tenant(Uuid::nil()).branch(TenantFamily::FilesByPath, &(Uuid::nil(),))
    }

    #[test]
    fn text_is_found_by_how_it_begins_and_nothing_else_is() {
        let texts = ["", "\0", "\0\0", "a", "a\0", "a\0b", "a\u{1}", "a/", "a/b", "ab", "b", "\u{10ffff}"];
        for prefix in texts {
            let span = branch().span_of_text(prefix);
            for text in texts {
                let key = branch().key(&(text,));
                let inside = key.as_ref() >= span.begin.as_slice() && key.as_ref() < span.end.as_slice();
                assert_eq!(inside, text.starts_with(prefix), "{text:?} after {prefix:?}");
            }
        }
    }

    #[test]
    fn beyond_a_key_is_what_follows_it_and_never_more_than_the_span() {
        let (span, key) = (branch().span(), branch().key(&("m",)));
        let after = span.clone().beyond(&key, false);
        assert!(after.begin.as_slice() > key.as_ref() && after.end == span.end);
        assert!(after.begin.as_slice() < branch().key(&("m\0",)).as_ref());
        let before = span.clone().beyond(&key, true);
        assert_eq!((before.begin.as_slice(), before.end.as_slice()), (span.begin.as_slice(), key.as_ref()));
        for foreign in [vec![], vec![0xfe; 40]] {
            for reverse in [false, true] {
                let part = span.clone().beyond(&Key(foreign.clone()), reverse);
                assert!(part.begin >= span.begin && part.end <= span.end && part.begin <= part.end);
            }
        }
    }
}
