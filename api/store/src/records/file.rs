//! Files of a workspace: their names and what they hold. The bytes are kept by content, once per tenant.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use super::Record;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut digest = [0; 32];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut digest)
            .map_err(|error| de::Error::custom(format!("no SHA-256 digest: {error}")))?;
        Ok(Self(digest))
    }
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The digest of its bytes, which is also where they are kept.
    pub sha256: Sha256,
    /// How many bytes there are.
    pub size: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

/// A file of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The file's id; it stays when the file is moved or its content replaced.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The workspace it belongs to.
    pub session_id: Uuid,
    /// Its path in the workspace, as the caller names it: nothing here reads meaning into it. One file of a
    /// workspace has it.
    pub path: String,
    /// What it holds.
    pub content: Content,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Counts the changes.
    pub version: u64,
}

impl Record for File {
    const FAMILY: &'static str = "files";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_digest_is_64_hex_digits() {
        let digest = Sha256(std::array::from_fn(|at| u8::try_from(at * 8).unwrap()));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json.len(), 66);
        assert_eq!(serde_json::from_str::<Sha256>(&json).unwrap(), digest);
        for wrong in ["\"\"", "\"00\"", "1", &json.replace("00", "zz"), &json.replace("f8", "f")] {
            assert!(serde_json::from_str::<Sha256>(wrong).is_err(), "{wrong}");
        }
    }
}
