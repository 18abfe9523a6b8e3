//! Signed heads of audit trails as a document, so that they can be kept elsewhere and held against the trails later.
//!
//! It is JSON. The signature is Ed25519 over these fields, each written as its length (8 bytes, big-endian) and its
//! bytes: the text `coditect audit heads 1`; `store`; `made_at` (8 bytes, big-endian, Unix milliseconds); the key's id;
//! and for each head, in the order of the document, the tenant (16 bytes), `seq` (8), `hash` (32) and `at` (8).

use crate::audit_key::{AuditKey, AuditPublicKey};
use anyhow::{Context, bail};
use coditect_store::records::{AuditHash, AuditHead};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use uuid::Uuid;

/// The version of the document.
const FORMAT: u32 = 1;
const DOMAIN: &[u8] = b"coditect audit heads 1";
/// The largest document that is read, in bytes: some hundred thousand tenants.
const MAX_BYTES: u64 = 64 << 20;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignedHeads {
    format: u32,
    /// What the store was and where, for people.
    store: String,
    /// Unix milliseconds.
    made_at: i64,
    heads: Vec<Head>,
    /// The id of the key.
    key: String,
    signature: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    tenant: Uuid,
    seq: u64,
    hash: AuditHash,
    at: i64,
}

impl SignedHeads {
    /// Signs heads.
    pub(super) fn sign(key: &AuditKey, store: &str, made_at: i64, heads: &[AuditHead]) -> Self {
        let heads = heads.iter().map(|head| Head {
            tenant: head.tenant_id,
            seq: head.seq,
            hash: head.hash,
            at: head.at,
        });
        let mut document = Self {
            format: FORMAT,
            store: store.to_owned(),
            made_at,
            heads: heads.collect(),
            key: key.public().id(),
            signature: String::new(),
        };
        document.signature = key.sign(&document.message());
        document
    }

    /// Reads a document from a file.
    ///
    /// # Errors
    /// There is none, or it is something else.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text))
            .with_context(name)?;
        if text.len() as u64 > MAX_BYTES {
            bail!("{} has more than {MAX_BYTES} bytes: that is no document of heads", path.display());
        }
        let document: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no document of heads", path.display()))?;
        if document.format != FORMAT {
            bail!(
                "{} has format {}, this program knows format {FORMAT}: use the version that wrote it, or a newer one",
                path.display(),
                document.format
            );
        }
        Ok(document)
    }

    /// Its heads, if the signature is that key's.
    ///
    /// # Errors
    /// It was signed with another key, or changed.
    pub(super) fn verified(&self, key: &AuditPublicKey) -> anyhow::Result<Vec<AuditHead>> {
        if self.key != key.id() {
            bail!(
                "the heads are signed with the key {}, not with {}: give the public key of that time (--public-key)",
                self.key,
                key.id()
            );
        }
        if !key.verifies(&self.message(), &self.signature) {
            bail!("the signature of the heads is wrong: the document was changed");
        }
        let heads = self.heads.iter().map(|head| AuditHead {
            tenant_id: head.tenant,
            seq: head.seq,
            hash: head.hash,
            at: head.at,
        });
        Ok(heads.collect())
    }

    fn message(&self) -> Vec<u8> {
        let mut message = Vec::new();
        let mut put = |bytes: &[u8]| {
            message.extend((bytes.len() as u64).to_be_bytes());
            message.extend(bytes);
        };
        put(DOMAIN);
        put(self.store.as_bytes());
        put(&self.made_at.to_be_bytes());
        put(self.key.as_bytes());
        for head in &self.heads {
            put(head.tenant.as_bytes());
            put(&head.seq.to_be_bytes());
            put(&head.hash.0);
            put(&head.at.to_be_bytes());
        }
        message
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use coditect_auth::SeededEntropy;

    #[test]
    fn whatever_is_changed_breaks_the_signature() {
        let dir = tempfile::tempdir().unwrap();
        let entropy = SeededEntropy::new(5);
        let (key, _) = AuditKey::load_or_create(&dir.path().join("a"), &entropy).unwrap();
        let (other, _) = AuditKey::load_or_create(&dir.path().join("b"), &entropy).unwrap();
        let head = |n: u8| AuditHead {
            tenant_id: Uuid::from_bytes([n; 16]),
            seq: n.into(),
            hash: AuditHash([n; 32]),
            at: n.into(),
        };
        let heads = [head(1), head(2)];
        let signed = SignedHeads::sign(&key, "store", 7, &heads);
        let file = dir.path().join("heads.json");
        std::fs::write(&file, serde_json::to_string(&signed).unwrap()).unwrap();
        let read = SignedHeads::read(&file).unwrap();
        assert_eq!(read.verified(&key.public()).unwrap(), heads);
        assert!(read.verified(&other.public()).unwrap_err().to_string().contains("--public-key"));
        let changes: [fn(&mut SignedHeads); 8] = [
            |d| d.store.push('x'),
            |d| d.made_at += 1,
            |d| {
                d.heads.pop();
            },
            |d| d.heads.swap(0, 1),
            |d| d.heads[0].tenant = Uuid::nil(),
            |d| d.heads[0].seq += 1,
            |d| d.heads[0].hash.0[0] ^= 1,
            |d| d.heads[0].at += 1,
        ];
        for change in changes {
            let mut changed = read.clone();
            change(&mut changed);
            assert!(changed.verified(&key.public()).is_err(), "{changed:?}");
        }
        for wrong in ["", "{}", "[]", r#"{"format":1}"#] {
            std::fs::write(&file, wrong).unwrap();
            assert!(SignedHeads::read(&file).is_err(), "{wrong}");
        }
    }
}
