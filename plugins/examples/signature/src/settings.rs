//! The configuration, checked.

use std::collections::BTreeMap;

use policy_kit::path;
use serde::Deserialize;

use crate::credentials::{MAX_KEY_ID, is_key_id};

/// Shortest and longest key, in bytes: 128 bits cannot be guessed, and beyond a block of SHA-256 a key gains nothing.
const MIN_KEY: usize = 16;
const MAX_KEY: usize = 64;
/// Most of `max_skew_seconds`.
const MAX_SKEW: u64 = 3600;
/// Most of `max_body_bytes`: what the edge holds for one plugin, unless told otherwise.
const MAX_BODY_BYTES: usize = 1 << 20;

/// A valid configuration. Has no `Debug`, which would print keys.
#[derive(Deserialize)]
#[serde(try_from = "Raw")]
pub struct Settings {
    /// Key id to key.
    pub keys: BTreeMap<String, Vec<u8>>,
    pub paths: Vec<String>,
    pub max_skew_seconds: u64,
    pub max_body_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    keys: BTreeMap<String, String>,
    #[serde(default = "everything")]
    paths: Vec<String>,
    #[serde(default = "default_skew")]
    max_skew_seconds: u64,
    #[serde(default = "default_body")]
    max_body_bytes: usize,
}

fn everything() -> Vec<String> {
    vec!["/".to_owned()]
}

fn default_skew() -> u64 {
    300
}

fn default_body() -> usize {
    256 * 1024
}

impl TryFrom<Raw> for Settings {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { keys, paths, max_skew_seconds, max_body_bytes } = raw;
        if keys.is_empty() {
            return Err("keys is empty, so that every request would be refused".to_owned());
        }
        path::check_prefixes(&paths)?;
        if !(1..=MAX_SKEW).contains(&max_skew_seconds) {
            return Err(format!("max_skew_seconds is {max_skew_seconds}; it can be 1 to {MAX_SKEW}"));
        }
        if !(1..=MAX_BODY_BYTES).contains(&max_body_bytes) {
            return Err(format!("max_body_bytes is {max_body_bytes}; it can be 1 to {MAX_BODY_BYTES}"));
        }
        let keys = keys.into_iter().map(|(id, key)| read(id, &key)).collect::<Result<_, _>>()?;
        Ok(Self { keys, paths, max_skew_seconds, max_body_bytes })
    }
}

/// Reads one key. What is wrong with it is said without repeating it.
fn read(id: String, key: &str) -> Result<(String, Vec<u8>), String> {
    if !is_key_id(&id) {
        return Err(format!(
            "{id:?} is no key id; it has 1 to {MAX_KEY_ID} letters, digits, full stops, hyphens and underscores"
        ));
    }
    let key = hex::decode(key).ok().filter(|key| (MIN_KEY..=MAX_KEY).contains(&key.len()));
    match key {
        Some(key) => Ok((id, key)),
        None => Err(format!("the key {id:?} is not {MIN_KEY} to {MAX_KEY} bytes in hexadecimal")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(json: &str) -> String {
        serde_json::from_str::<Settings>(json).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_no_key_repeated() {
        assert_eq!(refusal(r#"{"keys": {"ci": "000102030405060708090a0b0c0d0e0f"}}"#), "");
        for (json, reason) in [
            (r#"{}"#, "missing field `keys`"),
            (r#"{"keys": {}}"#, "keys is empty"),
            (r#"{"keys": {"c i": "000102030405060708090a0b0c0d0e0f"}}"#, "is no key id"),
            (r#"{"keys": {"ci": "deadbeef"}}"#, "is not 16 to 64 bytes"),
            (r#"{"keys": {"ci": "correct horse battery staple"}}"#, "is not 16 to 64 bytes"),
            (
                r#"{"keys": {"ci": "000102030405060708090a0b0c0d0e0f"}, "max_skew_seconds": 0}"#,
                "max_skew_seconds",
            ),
            (
                r#"{"keys": {"ci": "000102030405060708090a0b0c0d0e0f"}, "max_body_bytes": 0}"#,
                "max_body_bytes",
            ),
            (r#"{"keys": {"ci": "000102030405060708090a0b0c0d0e0f"}, "paths": ["hooks"]}"#, "is no path"),
        ] {
            let refused = refusal(json);
            assert!(refused.contains(reason), "{refused}");
            assert!(!refused.contains("deadbeef") && !refused.contains("horse"), "{refused}");
        }
    }
}
