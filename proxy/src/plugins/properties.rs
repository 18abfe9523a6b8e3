//! Properties that plugins set: seen by the plugins after them, and told by the access log.

use coditect_proxy_wasm::Refused;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Properties one request may carry from plugin to plugin.
const MAX_PROPERTIES: usize = 64;
/// Bytes of all their paths and values.
const MAX_BYTES: usize = 16 * 1024;
/// Properties of one request that the access log tells.
const MAX_LOGGED: usize = 16;
/// A longer path or value is cut in the access log, in bytes.
const MAX_LOGGED_BYTES: usize = 256;

/// The properties set so far, in the order in which they were first set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Properties {
    /// Paths joined by NUL, as the ABI writes them, and values.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Properties {
    /// Appends the value of the property that was set under exactly this path.
    pub(crate) fn get(&self, path: &[&[u8]], value: &mut Vec<u8>) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let path = path.join(&0);
        let found = self.entries.iter().find(|(known, _)| *known == path);
        found.inspect(|(_, set)| value.extend_from_slice(set)).is_some()
    }

    /// Sets one. Later plugins could take `coditect.*` for the edge's word, so that is nobody's to write; Envoy's own
    /// names are found before these.
    ///
    /// # Errors
    /// It is the edge's, or there are too many.
    pub(crate) fn set(&mut self, path: &[&[u8]], value: &[u8]) -> Result<(), Refused> {
        if matches!(path.first(), Some(&b"coditect")) {
            return Err(Refused);
        }
        let path = path.join(&0);
        let known = self.entries.iter().position(|(known, _)| *known == path);
        let others = self.entries.iter().enumerate().filter(|(index, _)| Some(*index) != known);
        let bytes: usize = others.map(|(_, (path, value))| path.len() + value.len()).sum();
        if bytes + path.len() + value.len() > MAX_BYTES {
            return Err(Refused);
        }
        match known {
            Some(index) => self.entries[index].1 = value.to_vec(),
            None if self.entries.len() < MAX_PROPERTIES => self.entries.push((path, value.to_vec())),
            None => return Err(Refused),
        }
        Ok(())
    }

    /// Whether none was set.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Serialize for Properties {
    /// For the access log: the first [`MAX_LOGGED`], segments joined by dots, what is no UTF-8 replaced.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let logged = self.entries.iter().take(MAX_LOGGED);
        let logged: BTreeMap<String, String> =
            logged.map(|(path, value)| (text(path).replace('\0', "."), text(value))).collect();
        logged.serialize(serializer)
    }
}

fn text(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(MAX_LOGGED_BYTES)];
    String::from_utf8_lossy(cut).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn get(properties: &Properties, path: &[&[u8]]) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        properties.get(path, &mut value).then_some(value)
    }

    #[test]
    fn the_last_value_counts_and_paths_are_exact() {
        let mut properties = Properties::default();
        properties.set(&[b"a", b"b"], b"1").unwrap();
        properties.set(&[b"a", b"b"], b"2").unwrap();
        assert_eq!(get(&properties, &[b"a", b"b"]), Some(b"2".to_vec()));
        assert_eq!(get(&properties, &[b"a"]), None);
        assert!(properties.set(&[b"coditect", b"user_id"], b"root").is_err());
    }

    #[test]
    fn number_and_size_are_bounded() {
        let mut many = Properties::default();
        let taken = (0..1000).filter(|n| many.set(&[n.to_string().as_bytes()], b"").is_ok()).count();
        assert_eq!(taken, MAX_PROPERTIES);
        let mut large = Properties::default();
        large.set(&[b"x"], &vec![0; MAX_BYTES - 1]).unwrap();
        assert!(large.set(&[b"y"], b"").is_err());
        large.set(&[b"x"], b"small again").unwrap();
        large.set(&[b"y"], b"").unwrap();
    }

    #[test]
    fn what_is_logged_is_bounded_json() {
        let mut properties = Properties::default();
        properties.set(&[b"a", b"\"\n\xff"], &[b'\\'; 1000]).unwrap();
        (0..60).for_each(|n: u32| properties.set(&[n.to_string().as_bytes()], &[0xff; 200]).unwrap());
        let json = serde_json::to_string(&properties).unwrap();
        assert!(json.len() < 32 * 1024, "{}", json.len());
        let parsed: BTreeMap<String, String> = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed.len(), MAX_LOGGED);
        assert_eq!(parsed.get("a.\"\n\u{fffd}").map(String::len), Some(MAX_LOGGED_BYTES));
    }
}
