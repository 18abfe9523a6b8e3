//! Header fields as a case writes them: a table, or a list of pairs where order or repetition matters.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Names in lower case, and values, in order.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// `{ "x-a" = "1", "x-b" = ["2", "3"] }` or `[["x-a", "1"], ["x-b", "2"]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Pairs);

/// One value, or several of the same name.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of headers, or a list of [name, value]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, values)) = map.next_entry::<String, Values>()? {
            let values = match values {
                Values::One(value) => vec![value],
                Values::Several(values) => values,
            };
            let name = field_name(&name).map_err(A::Error::custom)?;
            for value in values {
                pairs.push((name.clone(), field_value(&value).map_err(A::Error::custom)?));
            }
        }
        Ok(Headers(pairs))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Headers, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = list.next_element::<(String, String)>()? {
            let name = field_name(&name).map_err(A::Error::custom)?;
            pairs.push((name, field_value(&value).map_err(A::Error::custom)?));
        }
        Ok(Headers(pairs))
    }
}

/// A header's name in lower case, if it is one (RFC 9110, 5.1) and not a pseudo-header.
///
/// # Errors
/// What is wrong with it.
pub fn field_name(name: &str) -> Result<Vec<u8>, String> {
    if let Some(pseudo) = name.strip_prefix(':') {
        return Err(format!("`:{pseudo}` is no header here: write it as `{pseudo}` beside `headers`"));
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("`{}` is no header name", name.escape_debug()));
    }
    Ok(name.to_ascii_lowercase().into_bytes())
}

/// A header's value, if it can be one (RFC 9110, 5.5).
///
/// # Errors
/// What is wrong with it.
pub fn field_value(value: &str) -> Result<Vec<u8>, String> {
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(format!("`{}` is no header value: it has a CR, LF or NUL", value.escape_debug()));
    }
    Ok(value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(toml: &str) -> Result<Headers, String> {
        #[derive(serde::Deserialize)]
        struct Holder {
            headers: Headers,
        }
        toml::from_str::<Holder>(toml)
            .map(|holder| holder.headers)
            .map_err(|error| error.message().to_owned())
    }

    fn pairs(list: &[(&str, &str)]) -> Headers {
        Headers(
            list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect(),
        )
    }

    #[test]
    fn a_table_and_a_list_are_the_same_headers() {
        let expected = pairs(&[("x-a", "1"), ("x-b", "2"), ("x-b", "3")]);
        assert_eq!(read(r#"headers = { "X-A" = "1", "x-b" = ["2", "3"] }"#).unwrap(), expected);
        assert_eq!(read(r#"headers = [["x-a", "1"], ["X-B", "2"], ["x-b", "3"]]"#).unwrap(), expected);
    }

    #[test]
    fn what_is_no_header_is_refused_by_name() {
        for (toml, expected) in [
            (r#"headers = { ":path" = "/" }"#, "write it as `path`"),
            (r#"headers = { "a b" = "/" }"#, "`a b` is no header name"),
            (r#"headers = [["x", "a\nb"]]"#, "`a\\nb` is no header value"),
            ("headers = 3", "a table of headers"),
        ] {
            let message = read(toml).unwrap_err();
            assert!(message.contains(expected), "{toml}: {message}");
        }
    }
}
