//! What an entry's hash is taken over.
//!
//! SHA-256 over these fields, in this order, each written as its length (8 bytes, big-endian) and its bytes, so that no
//! two entries have the same encoding:
//!
//! 1. the text `coditect audit entry 1`, which keeps these hashes apart from all others;
//! 2. the tenant's id, 16 bytes; 3. the place in the chain, 8 bytes, big-endian; 4. the hash of the entry before;
//! 5. the entry's id, 16 bytes; 6. its time, 8 bytes, big-endian two's complement;
//! 7. the actor's id, 16 bytes, or nothing; 8. the action; 9. the object's kind; 10. the object's id;
//! 11. a byte 1 and the address, or nothing; 12. the details.
//!
//! Details are written by value, whatever the order of their names: one byte for the kind (0 null, 1 false, 2 true,
//! 3 number, 4 text, 5 list, 6 object), then for a number its decimal digits and for a text its UTF-8, each with
//! its length as above; for a list the number of its items, 8 bytes, and the items; for an object the number of its
//! members and each member's name (as a text without its kind) and value, in the order of the names' bytes.
//!
//! The entry before the first one is the chain's beginning: the same encoding of `coditect audit trail 1` and the
//! tenant's id.

use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::records::{AuditEntry, AuditHash};

const ENTRY: &[u8] = b"coditect audit entry 1";
const BEGINNING: &[u8] = b"coditect audit trail 1";
/// A chain cannot grow beyond this place: ids have 48 bits for it. At a million entries a second it takes nine years.
pub(crate) const MAX_SEQ: u64 = (1 << 48) - 1;

/// What the first entry of a tenant's chain follows.
pub fn beginning(tenant: Uuid) -> AuditHash {
    let mut fields = Fields::default();
    fields.put(BEGINNING);
    fields.put(tenant.as_bytes());
    fields.finish()
}

/// The hash of an entry at a place after another one. What the entry itself says about its place is not looked at.
pub fn hash(entry: &AuditEntry, seq: u64, prev: &AuditHash) -> AuditHash {
    let mut fields = Fields::default();
    fields.put(ENTRY);
    fields.put(entry.tenant_id.as_bytes());
    fields.put(&seq.to_be_bytes());
    fields.put(&prev.0);
    fields.put(entry.id.as_bytes());
    fields.put(&entry.at.to_be_bytes());
    fields.put(entry.actor.as_ref().map_or(&[][..], |actor| actor.as_bytes()));
    fields.put(entry.action.as_bytes());
    fields.put(entry.object.kind.as_bytes());
    fields.put(entry.object.id.as_bytes());
    match &entry.address {
        Some(address) => fields.put(&[&[1], address.as_bytes()].concat()),
        None => fields.put(&[]),
    }
    let mut details = Vec::new();
    put_members(&mut details, &entry.details);
    fields.put(&details);
    fields.finish()
}

/// The id of the entry at a place: a UUID of version 8 (RFC 9562, 5.8) that begins with the place, and ends with what
/// is random in `random`. So ids are in the order of the chain, also among entries of one millisecond.
pub(crate) fn entry_id(seq: u64, random: Uuid) -> Uuid {
    let mut bytes = *random.as_bytes();
    let [_, _, place @ ..] = seq.to_be_bytes();
    bytes[..place.len()].copy_from_slice(&place);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[derive(Default)]
struct Fields(Sha256);

impl Fields {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> AuditHash {
        AuditHash(self.0.finalize().into())
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(value) => out.push(if *value { 2 } else { 1 }),
        Value::Number(number) => {
            out.push(3);
            put_text(out, &number.to_string());
        }
        Value::String(text) => {
            out.push(4);
            put_text(out, text);
        }
        Value::Array(items) => {
            out.push(5);
            out.extend((items.len() as u64).to_be_bytes());
            items.iter().for_each(|item| put_value(out, item));
        }
        Value::Object(members) => {
            out.push(6);
            put_members(out, members);
        }
    }
}

fn put_members(out: &mut Vec<u8>, members: &serde_json::Map<String, Value>) {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    out.extend((sorted.len() as u64).to_be_bytes());
    for (name, value) in sorted {
        put_text(out, name);
        put_value(out, value);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_be_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::records::AuditObject;

    fn entry() -> AuditEntry {
        let details = json!({ "reason": "closed", "bytes": 7, "more": [null, true, { "b": 1, "a": "" }] });
        AuditEntry {
            id: Uuid::from_u128(1),
            tenant_id: Uuid::from_u128(2),
            at: 1_800_000_000_000,
            actor: Some(Uuid::from_u128(3)),
            action: "socket.detach".into(),
            object: AuditObject { kind: "session".into(), id: "a".into() },
            address: Some("192.0.2.1".into()),
            details: details.as_object().unwrap().clone(),
            link: None,
        }
    }

    /// A stored hash must stay what it is: this one was computed from the module's text by other means (Python).
    #[test]
    fn the_encoding_is_the_documented_one() {
        let prev = beginning(Uuid::from_u128(2));
        assert_eq!(prev.to_string(), "54ba030819268f32928dee4a89a1fd5db152c3f144c7f6f54d38f7e2409fe99d");
        assert_eq!(
            hash(&entry(), 5, &prev).to_string(),
            "02f34e9131f2112033f8a6fbcb9f177258d78f56b2d4facdf19be977bfda80d9"
        );
    }

    #[test]
    fn whatever_differs_changes_the_hash() {
        let prev = beginning(Uuid::from_u128(2));
        let change = |how: &dyn Fn(&mut AuditEntry)| {
            let mut changed = entry();
            how(&mut changed);
            hash(&changed, 5, &prev)
        };
        let put =
            |value: Value| move |e: &mut AuditEntry| drop(e.details.insert("bytes".into(), value.clone()));
        let hashes = [
            hash(&entry(), 5, &prev),
            hash(&entry(), 6, &prev),
            hash(&entry(), 5, &AuditHash([0; 32])),
            change(&|e| e.id = Uuid::nil()),
            change(&|e| e.tenant_id = Uuid::nil()),
            change(&|e| e.at += 1),
            change(&|e| e.actor = None),
            change(&|e| e.actor = Some(Uuid::nil())),
            change(&|e| e.action.push('s')),
            change(&|e| (e.object.kind, e.object.id) = ("sessio".into(), "na".into())),
            change(&|e| e.object.id = "b".into()),
            change(&|e| e.address = None),
            change(&|e| e.address = Some(String::new())),
            change(&|e| drop(e.details.remove("bytes"))),
            change(&put(json!("7"))),
            change(&put(json!(8))),
            change(&put(json!([7]))),
            change(&put(json!({ "7": null }))),
            change(&put(json!(null))),
            change(&put(json!(false))),
            change(&put(json!(true))),
        ];
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
    }

    #[test]
    fn ids_are_in_the_order_of_the_chain() {
        let places = [1, 2, 255, 256, 65_535, 65_536, 1 << 32, MAX_SEQ];
        let ids = places.map(|seq| entry_id(seq, Uuid::max()));
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.get_version_num() == 8));
        assert!(entry_id(7, Uuid::max()) < entry_id(8, Uuid::nil()));
    }
}
