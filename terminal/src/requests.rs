//! The bodies requests carry.

use crate::TerminalError;
use crate::limits::{DEFAULT_COLS, DEFAULT_ROWS, MAX_BODY_BYTES, MAX_SIDE};
use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// A terminal's size in characters, each side within 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    #[serde(deserialize_with = "side")]
    pub(crate) cols: u16,
    #[serde(deserialize_with = "side")]
    pub(crate) rows: u16,
}

/// The body of `POST …/terminals`; every field, and the body itself, may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTerminal {
    #[serde(default = "default_cols", deserialize_with = "side")]
    cols: u16,
    #[serde(default = "default_rows", deserialize_with = "side")]
    rows: u16,
}

impl NewTerminal {
    pub(crate) fn parse(body: &[u8]) -> Result<Size, TerminalError> {
        let Self { cols, rows } = parse(if body.trim_ascii().is_empty() { b"{}" } else { body })?;
        Ok(Size { cols, rows })
    }
}

impl Size {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, TerminalError> {
        parse(body)
    }
}

/// Reads a whole body, of bounded length and in bounded time.
pub(crate) async fn read_body<B>(body: B, within: Duration) -> Result<Bytes, TerminalError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = std::pin::pin!(Limited::new(body, MAX_BODY_BYTES));
    match tokio::time::timeout(within, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(TerminalError::BodyTooLarge { limit: MAX_BODY_BYTES })
        }
        Ok(Err(_)) | Err(_) => Err(TerminalError::BodyLost),
    }
}

fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, TerminalError> {
    let refused = |error: serde_json::Error| match error.classify() {
        serde_json::error::Category::Data => TerminalError::Invalid(error.to_string()),
        _ => TerminalError::InvalidJson(error),
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(refused)?;
    // serde would take an array for a struct, field by field.
    if body.trim_ascii().first() != Some(&b'{') {
        return Err(TerminalError::Invalid("the body is not a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(refused)
}

/// To JSON and its schemas 80.0 is the integer 80.
fn side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let side = (1..=MAX_SIDE).find(|side| f64::from(*side) == number);
    side.ok_or_else(|| {
        D::Error::custom(format_args!("{number} is not a whole number within 1 to {MAX_SIDE}"))
    })
}

fn default_cols() -> u16 {
    DEFAULT_COLS
}

fn default_rows() -> u16 {
    DEFAULT_ROWS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use http_body_util::Full;

    #[test]
    fn what_is_left_out_has_a_default() {
        assert_eq!(NewTerminal::parse(b"").unwrap(), Size { cols: 80, rows: 24 });
        assert_eq!(NewTerminal::parse(br#"{"rows":7}"#).unwrap(), Size { cols: 80, rows: 7 });
        assert_eq!(NewTerminal::parse(br#"{"rows":7.0}"#).unwrap(), Size { cols: 80, rows: 7 });
    }

    #[test]
    fn each_bad_body_has_its_status() {
        let cases: [(&[u8], u16); 11] = [
            (b"{", 400),
            (b"\xff\xfe", 400),
            (b"{}{}", 400),
            (b"[]", 422),
            (b"null", 422),
            (br#"{"cols":0,"rows":1}"#, 422),
            (br#"{"cols":1001,"rows":1}"#, 422),
            (br#"{"cols":-1,"rows":1}"#, 422),
            (br#"{"cols":"9","rows":1}"#, 422),
            (br#"{"cols":9.5,"rows":1}"#, 422),
            (br#"{"cols":1,"rows":1,"shell":"/bin/x"}"#, 422),
        ];
        for (body, status) in cases {
            let text = String::from_utf8_lossy(body);
            assert_eq!(NewTerminal::parse(body).unwrap_err().status().as_u16(), status, "{text}");
            assert_eq!(Size::parse(body).unwrap_err().status().as_u16(), status, "{text}");
        }
        assert_eq!(Size::parse(br#"{"cols":1}"#).unwrap_err().status().as_u16(), 422);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413() {
        let full = |bytes| Full::new(Bytes::from(vec![b' '; bytes]));
        let within = Duration::from_secs(5);
        assert_eq!(read_body(full(MAX_BODY_BYTES), within).await.unwrap().len(), MAX_BODY_BYTES);
        let error = read_body(full(MAX_BODY_BYTES + 1), within).await.unwrap_err();
        assert_eq!(error.status().as_u16(), 413);
    }
}
