//! The configuration, checked.

use serde::Deserialize;

use crate::body::Direction;
use crate::find::{Finder, Kind};
use crate::scan::Scanner;

/// Most of `max_body_bytes`: what the edge holds for one plugin, unless told otherwise.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Longest `replacement`, in bytes.
const MAX_REPLACEMENT: usize = 64;
/// Shortest of `token_prefixes`, in bytes: shorter ones begin ordinary words.
const MIN_PREFIX: usize = 3;
/// Headers whose values the edge lets no plugin write.
const NOT_WRITABLE: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A valid configuration.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Settings {
    pub headers: Vec<String>,
    pub scan_headers: Vec<String>,
    pub scanner: Scanner,
    pub replacement: String,
    pub max_body_bytes: usize,
    directions: Vec<Direction>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    directions: Vec<Direction>,
    headers: Vec<String>,
    scan_headers: Vec<String>,
    json_keys: Vec<String>,
    find: Vec<Kind>,
    token_prefixes: Vec<String>,
    replacement: String,
    max_body_bytes: usize,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            directions: vec![Direction::Request, Direction::Response],
            headers: Vec::new(),
            scan_headers: Vec::new(),
            json_keys: Vec::new(),
            find: Vec::new(),
            token_prefixes: Vec::new(),
            replacement: "[redacted]".to_owned(),
            max_body_bytes: 64 * 1024,
        }
    }
}

impl TryFrom<Raw> for Settings {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw {
            directions,
            headers,
            scan_headers,
            json_keys,
            find,
            token_prefixes,
            replacement,
            max_body_bytes,
        } = raw;
        headers.iter().chain(&scan_headers).try_for_each(|name| check_header(name))?;
        // It stands inside JSON strings and headers as it is.
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if replacement.len() > MAX_REPLACEMENT || !replacement.bytes().all(plain) {
            return Err(format!(
                "replacement is {replacement:?}; it can be at most {MAX_REPLACEMENT} characters of ASCII without \" and \\"
            ));
        }
        if !(1..=MAX_BODY_BYTES).contains(&max_body_bytes) {
            return Err(format!("max_body_bytes is {max_body_bytes}; it can be 1 to {MAX_BODY_BYTES}"));
        }
        if json_keys.iter().any(String::is_empty) {
            return Err("json_keys has an empty key".to_owned());
        }
        for prefix in &token_prefixes {
            if prefix.len() < MIN_PREFIX
                || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            {
                return Err(format!(
                    "{prefix:?} of token_prefixes has to be {MIN_PREFIX} or more of letters, digits, - and _"
                ));
            }
        }
        let scanner = Scanner::new(json_keys, Finder::new(&find, token_prefixes));
        Ok(Self { headers, scan_headers, scanner, replacement, max_body_bytes, directions })
    }
}

fn check_header(name: &str) -> Result<(), String> {
    let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        Err(format!("{name:?} is no header's name; write it in lower case"))
    } else if NOT_WRITABLE.contains(&name) || name.starts_with("x-coditect-") {
        Err(format!("{name} cannot be redacted: the edge lets no plugin write it"))
    } else {
        Ok(())
    }
}

impl Settings {
    /// Whether messages of this direction are read.
    pub fn reads(&self, direction: Direction) -> bool {
        self.directions.contains(&direction)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(json: &str) -> Result<Settings, String> {
        serde_json::from_str(json).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn the_documented_configuration_is_taken() {
        let settings = settings(
            r#"{ "directions": ["response"], "headers": ["x-debug-session"], "scan_headers": ["referer"],
                "json_keys": ["password"], "find": ["email", "jwt", "bearer"], "token_prefixes": ["ghp_"],
                "replacement": "[redacted]", "max_body_bytes": 65536 }"#,
        )
        .unwrap();
        assert!(settings.reads(Direction::Response) && !settings.reads(Direction::Request));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (json, reason) in [
            (r#"{"headers": ["X-Upper"]}"#, "write it in lower case"),
            (r#"{"headers": [":path"]}"#, "is no header's name"),
            (r#"{"scan_headers": ["content-length"]}"#, "lets no plugin write it"),
            (r#"{"headers": ["x-coditect-user"]}"#, "lets no plugin write it"),
            (r#"{"replacement": "\""}"#, "replacement is"),
            (r#"{"replacement": "a\nb"}"#, "replacement is"),
            (r#"{"max_body_bytes": 0}"#, "max_body_bytes is 0"),
            (r#"{"max_body_bytes": 1048577}"#, "max_body_bytes is 1048577"),
            (r#"{"json_keys": [""]}"#, "empty key"),
            (r#"{"token_prefixes": ["a"]}"#, "3 or more"),
            (r#"{"token_prefixes": ["sk live"]}"#, "3 or more"),
            (r#"{"find": ["telephone"]}"#, "unknown variant"),
            (r#"{"finds": []}"#, "unknown field"),
        ] {
            let refused = settings(json).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
