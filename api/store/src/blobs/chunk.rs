//! A chunk as it is stored: a digest that binds it to its place, then its bytes.

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::hash::HASH_BYTES;

/// The bytes of every chunk but the last. With digest, key and header it fills a 64 KiB page of redb; one just
/// below the store's value limit would take a page of 128 KiB.
pub const CHUNK_BYTES: usize = 63 << 10;

/// The digest and the bytes of a full chunk.
pub(super) const STORED_CHUNK_BYTES: usize = HASH_BYTES + CHUNK_BYTES;

/// How many chunks a blob of `size` bytes has; `None` if more than can be counted.
pub(super) fn chunks_of(size: u64) -> Option<u32> {
    u32::try_from(size.div_ceil(CHUNK_BYTES as u64)).ok()
}

/// A chunk that is being filled, with room for its digest in front.
pub(super) struct Filling(BytesMut);

impl Filling {
    pub(super) fn new() -> Self {
        Self(BytesMut::zeroed(HASH_BYTES))
    }

    /// Takes as many bytes as still fit and returns the rest.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(STORED_CHUNK_BYTES - self.0.len()));
        if self.0.capacity() < self.0.len() + taken.len() {
            // A second reservation is for the whole: small blobs stay small, others are not copied over and over.
            self.0.reserve(if self.is_empty() { taken.len() } else { STORED_CHUNK_BYTES - self.0.len() });
        }
        self.0.extend_from_slice(taken);
        rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == HASH_BYTES
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() == STORED_CHUNK_BYTES
    }

    /// The bytes held.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The stored form of chunk `number` of a content.
    pub(super) fn seal(mut self, content: Uuid, number: u32) -> Bytes {
        let (head, bytes) = self.0.split_at_mut(HASH_BYTES);
        head.copy_from_slice(&digest(content, number, bytes));
        self.0.freeze()
    }
}

/// The bytes of chunk `number` of a content, or what is wrong with it.
pub(super) fn open(content: Uuid, number: u32, stored: Bytes) -> Result<Bytes, &'static str> {
    let bytes = open_unchecked(stored.clone())?;
    match stored.starts_with(&digest(content, number, &bytes)) {
        true => Ok(bytes),
        false => Err("its digest is another one"),
    }
}

/// The bytes of a chunk for a reader who checks the whole instead.
pub(super) fn open_unchecked(mut stored: Bytes) -> Result<Bytes, &'static str> {
    match stored.len() > HASH_BYTES {
        true => Ok(stored.split_off(HASH_BYTES)),
        false => Err("it is too short"),
    }
}

fn digest(content: Uuid, number: u32, bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut digest = Sha256::new();
    digest.update(content.as_bytes());
    digest.update(number.to_be_bytes());
    digest.update(bytes);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::limits::MAX_VALUE_BYTES;

    #[test]
    fn a_chunk_fits_into_a_value() {
        const { assert!(STORED_CHUNK_BYTES <= MAX_VALUE_BYTES) };
        assert_eq!((chunks_of(0), chunks_of(1)), (Some(0), Some(1)));
        assert_eq!(chunks_of(CHUNK_BYTES as u64), Some(1));
        assert_eq!(chunks_of(CHUNK_BYTES as u64 + 1), Some(2));
    }

    #[test]
    fn a_chunk_opens_in_its_place_only() {
        let (content, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut filling = Filling::new();
        assert_eq!(filling.take(b"abc"), b"");
        let stored = filling.seal(content, 7);
        assert_eq!(open(content, 7, stored.clone()).unwrap().as_ref(), b"abc");
        assert!(open(content, 8, stored.clone()).is_err());
        assert!(open(other, 7, stored.clone()).is_err());
        assert!(open(content, 7, stored.slice(..HASH_BYTES)).is_err());
        let mut damaged = stored.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(open(content, 7, damaged.into()).is_err());
    }

    #[test]
    fn a_chunk_takes_no_more_than_fits() {
        let mut filling = Filling::new();
        let bytes = vec![5; CHUNK_BYTES];
        assert_eq!(filling.take(&bytes[..10]).len(), 0);
        assert_eq!(filling.take(&bytes).len(), 10);
        assert!(filling.is_full());
    }
}
