//! A JSON document of the client's own: any value, kept as it is written but for the space between its tokens. Numbers
//! keep all their digits, objects the order of their fields.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{check_content_type, read};
use crate::error::ApiError;

/// The deepest nesting of arrays and objects, so that whoever parses the document later needs no deep stack.
const MAX_DEPTH: usize = 100;
/// How much larger than its compact form a document may be sent: indented JSON is up to about twice as long.
const SPACE_FACTOR: usize = 2;

/// A JSON document whose compact form has at most `LIMIT` bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document<const LIMIT: usize>(pub(crate) Bytes);

impl<S: Send + Sync, const LIMIT: usize> FromRequest<S> for Document<LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let body = read(request.into_body(), LIMIT.saturating_mul(SPACE_FACTOR)).await?;
        let text = std::str::from_utf8(&body).map_err(|error| {
            ApiError::InvalidJson(format!("it is not UTF-8 from byte {} on", error.valid_up_to()))
        })?;
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| ApiError::InvalidJson(error.to_string()))?;
        let compact = compact(text)?;
        match compact.len() <= LIMIT {
            true => Ok(Self(compact.into())),
            false => Err(ApiError::PayloadTooLarge { limit: LIMIT as u64 }),
        }
    }
}

/// Valid JSON without the space between its tokens.
fn compact(text: &str) -> Result<Vec<u8>, ApiError> {
    let mut compact = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped, mut depth) = (false, false, 0_usize);
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_DEPTH {
                return Err(ApiError::validation(
                    "body",
                    format!("must not be nested deeper than {MAX_DEPTH}"),
                ));
            }
        }
        compact.push(byte);
    }
    Ok(compact)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn compacted(text: &str) -> String {
        String::from_utf8(compact(text).unwrap()).unwrap()
    }

    #[test]
    fn only_the_space_between_tokens_goes() {
        for (text, expected) in [
            (" null\n", "null"),
            ("{ \"b\" : [ 1.00 ,\t2e400 ], \"a\": \" x \" }", "{\"b\":[1.00,2e400],\"a\":\" x \"}"),
            (r#"{"a\" ": "\\" , "b" : " \\\" " }"#, r#"{"a\" ":"\\","b":" \\\" "}"#),
            (
                "[ 12345678901234567890123 , \"\u{e9} \u{1f600}\" ]",
                "[12345678901234567890123,\"\u{e9} \u{1f600}\"]",
            ),
        ] {
            assert_eq!(compacted(text), expected);
            assert_eq!(compacted(expected), expected);
        }
    }

    #[test]
    fn nesting_is_limited_outside_of_strings() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(compact(&nested(MAX_DEPTH)).is_ok());
        assert!(compact(&nested(MAX_DEPTH + 1)).is_err());
        assert!(compact(&format!("\"{}\"", nested(1000))).is_ok());
    }
}
