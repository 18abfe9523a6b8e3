//! What a gRPC call of a plugin is answered.

use super::headers::Headers;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

/// The answer to a gRPC call, in the order in which it comes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawGrpcAnswer")]
pub struct GrpcAnswer {
    /// Metadata before the messages.
    pub initial: Headers,
    /// Messages, without their frames. A unary call gets the first, or an empty one, where the status is 0.
    pub messages: Vec<Bytes>,
    /// Metadata after the messages.
    pub trailing: Headers,
    /// gRPC's status; 0 unless told otherwise.
    pub status: i32,
    /// What goes with the status.
    pub message: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawGrpcAnswer {
    initial: Headers,
    messages: Option<Vec<String>>,
    messages_base64: Option<Vec<String>>,
    trailing: Headers,
    status: i32,
    message: String,
}

impl TryFrom<RawGrpcAnswer> for GrpcAnswer {
    type Error = String;

    fn try_from(raw: RawGrpcAnswer) -> Result<Self, String> {
        let decoded = |message: &String| {
            let decoded = STANDARD.decode(message.trim());
            decoded.map(Bytes::from).map_err(|problem| format!("messages_base64: {problem}"))
        };
        let messages = match (raw.messages, raw.messages_base64) {
            (Some(_), Some(_)) => return Err("give one of `messages` and `messages_base64`".to_owned()),
            (Some(texts), None) => texts.into_iter().map(Bytes::from).collect(),
            (None, Some(base64)) => base64.iter().map(decoded).collect::<Result<_, _>>()?,
            (None, None) => Vec::new(),
        };
        let RawGrpcAnswer { initial, trailing, status, message, .. } = raw;
        Ok(Self { initial, messages, trailing, status, message })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_are_text_or_base64() {
        let read = |text: &str| toml::from_str::<GrpcAnswer>(text);
        assert_eq!(read("messages = ['a', '']").unwrap().messages, ["a", ""]);
        assert_eq!(read("messages_base64 = ['AAE=']\nstatus = 5").unwrap().messages, [&b"\0\x01"[..]]);
        assert!(read("messages_base64 = ['?']").unwrap_err().message().contains("messages_base64"));
        assert!(read("messages = []\nmessages_base64 = []").unwrap_err().message().contains("give one of"));
    }
}
