//! A property's value as a case writes it, in the encoding a plugin reads.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// Bytes in Envoy's encoding: a string as it is, an integer as `int64` and a float as `double` (8 bytes, little-endian),
/// a boolean as one byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyValue(pub Vec<u8>);

impl PropertyValue {
    /// A number's encoding.
    #[must_use]
    pub fn int(value: i64) -> Self {
        Self(value.to_le_bytes().to_vec())
    }

    /// A text's encoding.
    #[must_use]
    pub fn text(value: &str) -> Self {
        Self(value.as_bytes().to_vec())
    }

    /// A truth value's encoding.
    #[must_use]
    pub fn bool(value: bool) -> Self {
        Self(vec![u8::from(value)])
    }
}

impl<'de> Deserialize<'de> for PropertyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = PropertyValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property: a string, an integer, a float or a boolean")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<PropertyValue, E> {
        Ok(PropertyValue::text(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<PropertyValue, E> {
        Ok(PropertyValue::int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<PropertyValue, E> {
        i64::try_from(value).map(PropertyValue::int).map_err(|_| E::custom("an integer beyond 63 bits"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<PropertyValue, E> {
        Ok(PropertyValue(value.to_le_bytes().to_vec()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<PropertyValue, E> {
        Ok(PropertyValue::bool(value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn each_type_has_envoys_encoding() {
        let text = "s = '10.0.0.1:80'\ni = 258\nn = -1\nb = true\nf = 0.5";
        let read: BTreeMap<String, PropertyValue> = toml::from_str(text).unwrap();
        assert_eq!(read["s"].0, b"10.0.0.1:80");
        assert_eq!(read["i"].0, [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(read["n"].0, [255; 8]);
        assert_eq!(read["b"].0, [1]);
        assert_eq!(read["f"].0, 0.5f64.to_le_bytes());
        let error = toml::from_str::<BTreeMap<String, PropertyValue>>("x = [1]").unwrap_err();
        assert!(error.message().contains("expected a property"), "{error}");
    }
}
