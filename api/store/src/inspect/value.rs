//! A stored value in a form that people can read.

use serde_json::{Value, json};

use crate::keyspace::Keyspace;
use crate::keyspace::path::to_path;

/// Fields whose content is not shown.
const SECRET_FIELDS: [&str; 6] = ["password_hash", "password", "secret", "token", "refresh_token", "api_key"];
/// What is shown instead.
const REDACTED: &str = "[redacted]";

/// A value and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The family of its key, if that is a known one.
    pub family: Option<&'static str>,
    /// What the family's values are, in the words of the key catalogue.
    pub holds: Option<&'static str>,
    /// The value.
    pub content: Content,
}

/// A value, taken apart as far as its family says how.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing: the key says it all.
    Empty,
    /// A record: its format byte, and its JSON without secrets.
    Record(u8, Value),
    /// A tuple of key elements, written as a path.
    Tuple(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Content {
    /// As JSON, with a field that says which it is.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Empty => json!({}),
            Self::Record(format, record) => json!({ "format": format, "record": record }),
            Self::Tuple(path) => json!({ "tuple": path }),
            Self::Bytes(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                json!({ "hex": hex })
            }
        }
    }
}

/// Describes a value by the family of its key. What is not as the family says is shown as bytes.
pub fn describe(keys: &Keyspace, key: &[u8], value: &[u8]) -> Described {
    let family = keys.locate(key).ok().map(|located| located.place.info());
    let holds = family.map(|info| info.value);
    let content = match (holds, value.split_first()) {
        (_, None) => Content::Empty,
        (Some(holds), Some((format, json))) if holds.starts_with("record ") => {
            match serde_json::from_slice(json) {
                Ok(mut record) => {
                    redact(&mut record);
                    Content::Record(*format, record)
                }
                Err(_) => Content::Bytes(value.to_vec()),
            }
        }
        (Some(holds), _) if holds.starts_with("tuple ") => Content::Tuple(to_path(value)),
        _ => Content::Bytes(value.to_vec()),
    };
    Described { family: family.map(|info| info.name), holds, content }
}

/// Takes password hashes and other secrets out of a record.
pub fn redact(record: &mut Value) {
    match record {
        Value::Object(fields) => {
            for (name, value) in fields {
                if !value.is_null() && SECRET_FIELDS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
                    *value = REDACTED.into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use foundationdb_tuple::pack;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn values_are_read_as_their_family_says() {
        let keys = Keyspace::new("r");
        let id = Uuid::from_u128(1);
        let user = pack(&("r", "tenant", id, "users", id));
        let record = b"\x01{\"email\":\"a@b\",\"password_hash\":\"$argon2id$\",\"more\":[{\"Token\":\"x\",\"secret\":null}]}";
        let told = describe(&keys, &user, record);
        assert_eq!((told.family, told.holds), (Some("users"), Some("record User")));
        let expected = json!({
            "email": "a@b", "password_hash": REDACTED, "more": [{ "Token": REDACTED, "secret": null }],
        });
        assert_eq!(told.content, Content::Record(1, expected));
        assert_eq!(describe(&keys, &user, b"\x01{").content, Content::Bytes(b"\x01{".to_vec()));

        let email = pack(&("r", "global", "users_by_email", "a@b"));
        let tuple = pack(&(id, id));
        assert_eq!(describe(&keys, &email, &tuple).content, Content::Tuple(format!("/{id}/{id}")));
        assert_eq!(describe(&keys, &pack(&("r", "global", "tenants", id)), b"").content, Content::Empty);
        for unknown in [pack(&("r", "global", "new")), pack(&("s", "global", "store")), vec![0xfe]] {
            let told = describe(&keys, &unknown, b"\x01{}");
            assert_eq!((told.family, told.content), (None, Content::Bytes(b"\x01{}".to_vec())));
        }
    }
}
