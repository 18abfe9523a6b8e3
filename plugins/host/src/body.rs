//! A body's bytes while plugins look at them: shared until somebody changes them.

use bytes::{Bytes, BytesMut};

/// What a plugin sees of a body: the last piece, or all it has held back.
#[derive(Debug, Default)]
pub(crate) enum Body {
    #[default]
    Empty,
    /// As it came, not copied.
    Shared(Bytes),
    /// Put together or changed.
    Own(BytesMut),
}

impl Body {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Puts `bytes` after what there is.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if self.len() == 0 {
            *self = Self::Shared(bytes);
        } else {
            self.append(&bytes);
        }
    }

    pub(crate) fn take(&mut self) -> Bytes {
        match std::mem::take(self) {
            Self::Empty => Bytes::new(),
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes.freeze(),
        }
    }

    /// `proxy_set_buffer_bytes`, as the reference host does it: from 0 puts `data` in the place of the first `length`
    /// bytes (of none: before them), from the end or past it puts it after. Anything else is `false`, and nothing is
    /// changed.
    pub(crate) fn set(&mut self, start: usize, length: usize, data: &[u8]) -> bool {
        let now = self.len();
        if start == 0 && length >= now {
            *self = Self::Own(BytesMut::from(data));
        } else if start == 0 {
            let rest = self.as_slice().get(length..).unwrap_or_default();
            let mut joined = BytesMut::with_capacity(data.len() + rest.len());
            joined.extend_from_slice(data);
            joined.extend_from_slice(rest);
            *self = Self::Own(joined);
        } else if start >= now {
            self.append(data);
        } else {
            return false;
        }
        true
    }

    fn append(&mut self, data: &[u8]) {
        let mut own = match std::mem::take(self) {
            Self::Empty => BytesMut::new(),
            Self::Shared(bytes) => BytesMut::from(&*bytes),
            Self::Own(bytes) => bytes,
        };
        own.extend_from_slice(data);
        *self = Self::Own(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(body: &str, start: usize, length: usize, data: &str) -> Option<String> {
        let mut bytes = Body::default();
        bytes.push(Bytes::copy_from_slice(body.as_bytes()));
        let done = bytes.set(start, length, data.as_bytes());
        done.then(|| String::from_utf8_lossy(&bytes.take()).into_owned())
    }

    #[test]
    fn bytes_are_put_before_after_and_in_the_place_of_others() {
        assert_eq!(set("body", 0, 0, "a ").as_deref(), Some("a body"));
        assert_eq!(set("body", 4, 0, " z").as_deref(), Some("body z"));
        assert_eq!(set("body", 99, 7, " z").as_deref(), Some("body z"));
        assert_eq!(set("body", 0, 4, "other").as_deref(), Some("other"));
        assert_eq!(set("body", 0, usize::MAX, "").as_deref(), Some(""));
        assert_eq!(set("", 0, 0, "x").as_deref(), Some("x"));
        assert_eq!(set("body", 0, 2, "x").as_deref(), Some("xdy"));
        assert_eq!(set("body", 1, 2, "x"), None);
    }

    #[test]
    fn a_piece_alone_is_not_copied() {
        let piece = Bytes::from_static(b"piece");
        let mut body = Body::default();
        body.push(piece.clone());
        assert_eq!(body.take().as_ptr(), piece.as_ptr());
        body.push(piece.clone());
        body.push(piece);
        assert_eq!(&body.take()[..], b"piecepiece");
    }
}
