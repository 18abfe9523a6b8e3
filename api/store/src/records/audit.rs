//! The audit trail: its entries, and where each tenant's trail ends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Record;

/// Something that was done in a tenant. Never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The entry's id: in a chain it begins with the place, so that ids are in the order of the chain.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// When it was done, in Unix milliseconds; in a chain never less than the entry's before.
    pub at: i64,
    /// The user who did it; absent if the program did.
    pub actor: Option<Uuid>,
    /// What was done, for example `session.delete`.
    pub action: String,
    /// What it was done to.
    pub object: AuditObject,
    /// The client's address.
    pub address: Option<String>,
    /// What else is worth knowing. Never secrets.
    pub details: Map<String, Value>,
    /// Its place in the tenant's chain; absent in entries of format 1, from before there were chains.
    pub link: Option<AuditLink>,
}

/// An entry's place in its tenant's chain; [`crate::audit`] says what is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLink {
    /// Counts the tenant's entries from 1, without gaps.
    pub seq: u64,
    /// The hash of the entry before, or of the chain's beginning.
    pub prev: AuditHash,
    /// The hash of this entry, `prev` included.
    pub hash: AuditHash,
}

/// Where a tenant's chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// The tenant.
    pub tenant_id: Uuid,
    /// The place of the newest entry, and so the number of entries.
    pub seq: u64,
    /// Its hash.
    pub hash: AuditHash,
    /// Its time, in Unix milliseconds.
    pub at: i64,
}

/// What something was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditObject {
    /// Its kind, for example `session`.
    pub kind: String,
    /// Its id, among those of its kind.
    pub id: String,
}

impl Record for AuditEntry {
    const FAMILY: &'static str = "audit";
    const FORMAT: u8 = 2;

    fn upgrade(from: u8, fields: &mut Map<String, Value>) -> Result<(), String> {
        match from {
            1 => {
                fields.insert("link".into(), Value::Null);
                Ok(())
            }
            _ => Err(format!("there never was a format {from}")),
        }
    }
}

impl Record for AuditHead {
    const FAMILY: &'static str = "audit_head";
}

/// A SHA-256 in the audit trail. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditHash(pub [u8; 32]);

/// A text that is no [`AuditHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash of the audit trail is written as 64 hexadecimal digits")]
pub struct MalformedAuditHash;

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AuditHash {
    type Err = MalformedAuditHash;

    fn from_str(text: &str) -> Result<Self, MalformedAuditHash> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(|_| MalformedAuditHash)?;
        Ok(Self(hash))
    }
}

impl Serialize for AuditHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The bytes are what the program wrote before there were chains.
    #[test]
    fn entries_of_format_1_are_still_read() {
        let entry = AuditEntry::decode(
            b"\x01{\"id\":\"00000000-0000-0000-0000-000000000001\",\
              \"tenant_id\":\"00000000-0000-0000-0000-000000000002\",\"at\":5,\"actor\":null,\
              \"action\":\"session.delete\",\"object\":{\"kind\":\"session\",\"id\":\"a\"},\
              \"address\":null,\"details\":{}}",
        );
        let entry = entry.unwrap();
        assert_eq!((entry.at, entry.action.as_str(), entry.link), (5, "session.delete", None));
    }

    #[test]
    fn hashes_are_read_as_they_are_written() {
        let hash = AuditHash([0xa5; 32]);
        assert_eq!(hash.to_string().parse::<AuditHash>().unwrap(), hash);
        for wrong in ["", "a5", &"g".repeat(64), &"a".repeat(65)] {
            assert!(wrong.parse::<AuditHash>().is_err(), "{wrong}");
        }
    }
}
