//! What a blob is found by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::digest::Output;
use sha2::{Digest, Sha256};

/// The length of a SHA-256 in bytes.
pub(super) const HASH_BYTES: usize = 32;

/// The SHA-256 of a blob's content. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash(pub [u8; HASH_BYTES]);

/// A text that is no [`BlobHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a blob's hash is written as 64 hexadecimal digits")]
pub struct MalformedHash;

impl BlobHash {
    /// The hash of a content.
    pub fn of(content: &[u8]) -> Self {
        Sha256::digest(content).into()
    }
}

impl From<Output<Sha256>> for BlobHash {
    fn from(digest: Output<Sha256>) -> Self {
        Self(digest.into())
    }
}

impl FromStr for BlobHash {
    type Err = MalformedHash;

    fn from_str(text: &str) -> Result<Self, MalformedHash> {
        let mut hash = [0; HASH_BYTES];
        hex::decode_to_slice(text, &mut hash).map_err(|_| MalformedHash)?;
        Ok(Self(hash))
    }
}

impl Serialize for BlobHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        // FIPS 180-4, the example "abc".
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(BlobHash::of(b"abc").to_string(), text);
        assert_eq!(text.parse(), Ok(BlobHash::of(b"abc")));
        assert_eq!("ba78".parse::<BlobHash>(), Err(MalformedHash));
        assert_eq!("x".repeat(64).parse::<BlobHash>(), Err(MalformedHash));
        let json = serde_json::to_value(BlobHash::of(b"abc")).ok();
        assert_eq!(json.as_ref().and_then(|json| json.as_str()), Some(text));
        assert_eq!(json.and_then(|json| serde_json::from_value(json).ok()), Some(BlobHash::of(b"abc")));
        assert!(serde_json::from_str::<BlobHash>("\"00\"").is_err());
    }
}
