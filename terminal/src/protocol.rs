//! The wire protocol of an attached WebSocket, version 1 (`coditect.terminal.v1`).
//!
//! Binary messages are the terminal's bytes: output from the server, input from the client. Text messages are JSON
//! objects, told apart by `type`:
//!
//! | from | `type` | fields | meaning |
//! |---|---|---|---|
//! | server | `hello` | `v`: 1, `cols`, `rows`, `seq` | first message; the terminal's size, and the position in its output (bytes since its start) at which what follows begins |
//! | server | `resized` | `cols`, `rows` | the size changed, whoever changed it |
//! | server | `lost` | `bytes` | this viewer fell behind what is kept: so many bytes of output are left out here |
//! | server | `error` | `code`, `message` | a message of this client's had no effect; `INPUT_STALLED`: the program reads no input, a message of input was discarded in part or whole |
//! | server | `exit` | `code` or null, `signal` or null | the program ended, by itself or by that signal; a Close with 1000 follows |
//! | client | `resize` | `cols`, `rows`: 1 to 1000 | changes the size, for every viewer |
//! | client | `ack` | `bytes` | so many more bytes of output have been processed |
//!
//! A client must ignore server messages of unknown types: later versions add some. Flow control: the server sends
//! no output to a viewer with more than 100 000 unacknowledged bytes until fewer than 5 000 are; a client that
//! never acknowledges stops there. `lost` and control messages are not counted.
//!
//! | Close | meaning |
//! |---|---|
//! | 1000 | the program ended |
//! | 1002, 1007, 1009 | the client broke RFC 6455, sent text that is not UTF-8 or not such JSON, or more than 1 MiB |
//! | 1003 | the client sent a text message of unknown type |
//! | 1008 | the client was silent for 60 s |
//! | 1012 | the server stops or restarts; come back |
//! | 4001 | the sign-in ended: `signed out`, `expired` or `suspended` |

use crate::limits::MAX_SIDE;
use crate::requests::Size;
use serde::{Deserialize, Serialize};

/// The name of this protocol in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "coditect.terminal.v1";

/// A text message to the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerMessage {
    Hello { v: u8, cols: u16, rows: u16, seq: u64 },
    Resized { cols: u16, rows: u16 },
    Lost { bytes: u64 },
    Error { code: &'static str, message: &'static str },
    Exit { code: Option<i32>, signal: Option<String> },
}

/// A text message from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ClientMessage {
    Resize { cols: u16, rows: u16 },
    Ack { bytes: u64 },
}

/// A text message that means nothing: the Close it is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("the message has an unknown type")]
    UnknownType,
    #[error("the message is not a JSON object of this protocol")]
    Malformed,
}

impl ServerMessage {
    pub(crate) fn hello(size: Size, seq: u64) -> Self {
        Self::Hello { v: 1, cols: size.cols, rows: size.rows, seq }
    }

    /// The message as it is sent.
    pub(crate) fn to_json(&self) -> String {
        // Structs of numbers and strings always serialise; an empty object would be ignored by a client.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl ClientMessage {
    pub(crate) fn parse(text: &str) -> Result<Self, ProtocolError> {
        #[derive(Deserialize)]
        struct Tag<'a> {
            #[serde(rename = "type", borrow)]
            name: std::borrow::Cow<'a, str>,
        }
        let message = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(_) => {
                return Err(match serde_json::from_str::<Tag<'_>>(text) {
                    Ok(tag) if !matches!(&*tag.name, "resize" | "ack") => ProtocolError::UnknownType,
                    _ => ProtocolError::Malformed,
                });
            }
        };
        match message {
            Self::Resize { cols, rows } if ![cols, rows].iter().all(|side| (1..=MAX_SIDE).contains(side)) => {
                Err(ProtocolError::Malformed)
            }
            message => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn messages_are_written_as_documented() {
        let hello = ServerMessage::hello(Size { cols: 80, rows: 24 }, 7).to_json();
        assert_eq!(hello, r#"{"type":"hello","v":1,"cols":80,"rows":24,"seq":7}"#);
        let exit = ServerMessage::Exit { code: None, signal: Some("SIGHUP".to_owned()) }.to_json();
        assert_eq!(exit, r#"{"type":"exit","code":null,"signal":"SIGHUP"}"#);
        assert_eq!(ServerMessage::Lost { bytes: 3 }.to_json(), r#"{"type":"lost","bytes":3}"#);
    }

    #[test]
    fn client_messages_are_read_or_refused() {
        use ProtocolError::{Malformed, UnknownType};
        let ok = ClientMessage::parse(r#"{"type":"resize","cols":1,"rows":1000}"#);
        assert_eq!(ok, Ok(ClientMessage::Resize { cols: 1, rows: 1000 }));
        let ok = ClientMessage::parse(r#"{"bytes":12,"type":"ack"}"#);
        assert_eq!(ok, Ok(ClientMessage::Ack { bytes: 12 }));
        assert_eq!(ClientMessage::parse(r#"{"type":"paste"}"#), Err(UnknownType));
        assert_eq!(ClientMessage::parse(r#"{"type":"pas\u0074e"}"#), Err(UnknownType));
        for text in [
            "",
            "{",
            "[]",
            "1",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","bytes":-1}"#,
            r#"{"type":"ack","bytes":1,"more":1}"#,
            r#"{"type":"resize","cols":0,"rows":1}"#,
            r#"{"type":"resize","cols":1001,"rows":1}"#,
            r#"{"type":"resize","cols":1e9,"rows":1}"#,
        ] {
            assert_eq!(ClientMessage::parse(text), Err(Malformed), "{text}");
        }
    }
}
