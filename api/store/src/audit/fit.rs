//! Bringing events into the size that the trail has for them. What is too long is cut and marked, never refused: a
//! trace that says less is worth more than none.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::records::AuditObject;

/// The longest details, in bytes of JSON.
pub const MAX_DETAILS_BYTES: usize = 4 << 10;
/// The longest kind of an object, in bytes.
const MAX_KIND_BYTES: usize = 64;
/// The longest id of an object, in bytes: it is part of a key.
const MAX_OBJECT_BYTES: usize = 512;
/// The longest address, in bytes.
const MAX_ADDRESS_BYTES: usize = 128;
/// The longest name of an action, in bytes.
const MAX_ACTION_BYTES: usize = 64;
/// How much a text that was cut says about what is missing, in bytes.
const MARK_BYTES: usize = 20;
/// The longest text in details that were too long, in bytes.
const MAX_CUT_TEXT_BYTES: usize = 256;
/// The deepest details.
const MAX_DEPTH: usize = 16;
/// The name under which cut details say that they are: the value is their length before, in bytes.
const CUT: &str = "cut_from_bytes";

/// An object as the trail knows it.
pub(crate) fn object(object: &AuditObject) -> AuditObject {
    AuditObject { kind: text(&object.kind, MAX_KIND_BYTES), id: text(&object.id, MAX_OBJECT_BYTES) }
}

/// An address as the trail knows it.
pub(crate) fn address(address: &str) -> String {
    text(address, MAX_ADDRESS_BYTES)
}

/// An action as the trail knows it.
pub(crate) fn action(action: &str) -> String {
    text(action, MAX_ACTION_BYTES)
}

/// Details as the trail knows them: at most [`MAX_DETAILS_BYTES`], names in order, and nothing that a reader could
/// read differently from what was written (a fraction is kept as its digits, for those are not always read back to
/// the bit).
pub(crate) fn details(details: &Map<String, Value>) -> Map<String, Value> {
    let whole = plain_members(details, 0);
    let bytes = size(&whole);
    if bytes <= MAX_DETAILS_BYTES {
        return whole;
    }
    let mut kept = Map::new();
    kept.insert(CUT.into(), bytes.into());
    let mut left = MAX_DETAILS_BYTES - size(&kept);
    for (name, value) in whole {
        let value = match value {
            Value::String(long) => Value::String(text(&long, MAX_CUT_TEXT_BYTES)),
            other => other,
        };
        let one = Map::from_iter([(name, value)]);
        let bytes = size(&one);
        if bytes <= left {
            left -= bytes;
            kept.extend(one);
        }
    }
    in_order(kept)
}

/// A text of at most `limit` bytes. A longer one ends with `…` and a part of its hash, so that two that begin alike
/// stay different.
fn text(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let begin = text.get(..text.floor_char_boundary(limit - MARK_BYTES)).unwrap_or_default();
    let hash = hex::encode(Sha256::digest(text));
    format!("{begin}…{}", hash.get(..16).unwrap_or_default())
}

fn plain(value: &Value, depth: usize) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => Value::String(number.to_string()),
        Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => Value::String("…".into()),
        Value::Array(items) => items.iter().map(|item| plain(item, depth + 1)).collect(),
        Value::Object(members) => Value::Object(plain_members(members, depth + 1)),
        other => other.clone(),
    }
}

fn plain_members(members: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    in_order(members.iter().map(|(name, value)| (name.clone(), plain(value, depth))).collect())
}

/// The members by name, however maps are built in this program.
fn in_order(members: Map<String, Value>) -> Map<String, Value> {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    members.into_iter().collect()
}

/// The length of the JSON, in bytes.
fn size(members: &Map<String, Value>) -> usize {
    serde_json::to_string(members).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let small = map(json!({ "reason": "closed", "bytes": [1, -2, null, true], "nested": { "a": {} } }));
        assert_eq!(details(&small), small);
        let same = AuditObject { kind: "session".into(), id: "x".repeat(MAX_OBJECT_BYTES) };
        assert_eq!(object(&same), same);
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let long = "\u{1}é".repeat(3000);
        let mut many =
            Map::from_iter([("reason".to_owned(), json!("closed")), ("path".to_owned(), json!(long))]);
        for n in 0..300 {
            many.insert(format!("name{n}"), json!({ "value": n }));
        }
        let cut = details(&many);
        assert!(size(&cut) <= MAX_DETAILS_BYTES, "{}", size(&cut));
        assert!(cut[CUT].as_u64().unwrap() > 9000, "{cut:?}");
        assert!(cut.len() > 50, "as much as fits is kept: {}", cut.len());

        let (one, two) = (format!("{}a", "é".repeat(400)), format!("{}b", "é".repeat(400)));
        let [one, two] = [one, two].map(|id| object(&AuditObject { kind: "file".into(), id }).id);
        assert!(one.len() <= MAX_OBJECT_BYTES && one.contains('…'));
        assert_ne!(one, two, "what differs stays different");
        assert!(address(&"1".repeat(1000)).len() <= MAX_ADDRESS_BYTES);
        assert!(action(&"1".repeat(1000)).len() <= MAX_ACTION_BYTES);
    }

    #[test]
    fn what_is_kept_reads_back_to_the_same_bytes() {
        let mut deep = json!(1.5);
        for _ in 0..100 {
            deep = json!([deep, 0.1, 1e300, u64::MAX, i64::MIN]);
        }
        let kept = details(&map(json!({ "z": deep, "a": 5e-324 })));
        let json = serde_json::to_string(&kept).unwrap();
        let read: Map<String, Value> = serde_json::from_str(&json).unwrap();
        assert_eq!((serde_json::to_string(&read).unwrap(), &read), (json, &kept));
        assert!(kept["a"].is_string());
    }
}
