//! A plugin's configuration: JSON, into a type that cannot hold a wrong one.

use proxy_wasm::traits::RootContext;
use serde::de::DeserializeOwned;

/// Reads the configuration, or logs what is wrong with it. To be called in `on_configure`, which returns false for
/// none: the edge then refuses the plugin, or keeps the version it has.
///
/// No configuration at all is read as `{}`. Rules that hold between fields belong into the type's
/// `#[serde(try_from)]`, so that a value of it is always a valid one.
pub fn configuration<T: DeserializeOwned>(root: &dyn RootContext, plugin: &str) -> Option<T> {
    let bytes = root.get_plugin_configuration().unwrap_or_default();
    match parse(&bytes) {
        Ok(configuration) => Some(configuration),
        Err(error) => {
            log::error!("{plugin}: the configuration is refused: {error}");
            None
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(if bytes.trim_ascii().is_empty() { b"{}" } else { bytes })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use std::collections::BTreeMap;

    use super::parse;

    #[test]
    fn nothing_is_the_empty_object() {
        for bytes in [&b""[..], b" \n", b"{}"] {
            let parsed: BTreeMap<String, u8> = parse(bytes).expect("an empty configuration");
            assert!(parsed.is_empty());
        }
        assert!(parse::<BTreeMap<String, u8>>(b"x").is_err());
    }
}
