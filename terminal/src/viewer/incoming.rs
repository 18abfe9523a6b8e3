//! What a client sends: input, sizes, acknowledgements, and signs of life.

use super::{End, Source};
use crate::limits::{INPUT_CHUNK_BYTES, Timings};
use crate::protocol::{ClientMessage, ProtocolError, ServerMessage};
use crate::requests::Size;
use crate::terminal::Terminal;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The client's direction of one socket.
pub(super) struct Incoming<'a> {
    pub(super) terminal: &'a Terminal,
    pub(super) timings: &'a Timings,
    /// Bytes of output processed, since the beginning.
    pub(super) acknowledged: watch::Sender<u64>,
    /// What to tell this client; full, what comes is left out.
    pub(super) notify: mpsc::Sender<ServerMessage>,
}

impl Incoming<'_> {
    /// Reads until the socket is to end.
    pub(super) async fn run(self, source: &mut Source) -> End {
        loop {
            let message = match timeout(self.timings.viewer_silence, source.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return end_of(&error),
                Ok(None) => return End::Broken,
                Err(_) => return End::Silent,
            };
            match message {
                Message::Binary(bytes) => self.input(bytes).await,
                Message::Text(text) => {
                    if let Err(error) = self.control(&text) {
                        return match error {
                            ProtocolError::UnknownType => {
                                End::Refused(CloseCode::Unsupported, "the message has an unknown type")
                            }
                            ProtocolError::Malformed => {
                                End::Refused(CloseCode::Invalid, "the message is not of this protocol")
                            }
                        };
                    }
                }
                Message::Close(_) => return End::Left,
                // Answered, or read as signs of life; frames are not given out by a reader.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    fn control(&self, text: &str) -> Result<(), ProtocolError> {
        match ClientMessage::parse(text)? {
            ClientMessage::Resize { cols, rows } => self.terminal.resize(Size { cols, rows }),
            ClientMessage::Ack { bytes } => {
                self.acknowledged.send_modify(|total| *total = total.saturating_add(bytes));
            }
        }
        Ok(())
    }

    /// Queues input. While the queue is full the socket is not read, so that a long paste waits at the client; a
    /// program that reads nothing at all must not keep us from the client's other messages for ever.
    async fn input(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(INPUT_CHUNK_BYTES));
            match timeout(self.timings.input_stall, self.terminal.input.send(chunk)).await {
                Ok(Ok(())) => {}
                // The shell has ended; the client is about to learn that.
                Ok(Err(_)) => return,
                Err(_) => return self.input_stalled(),
            }
        }
    }

    fn input_stalled(&self) {
        let message = ServerMessage::Error {
            code: "INPUT_STALLED",
            message: "the program reads no input; what was sent last has been discarded",
        };
        if self.notify.try_send(message).is_err() {
            tracing::debug!(terminal = %self.terminal.id, "a viewer takes no notices");
        }
    }
}

fn end_of(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Refused(CloseCode::Size, "the message is larger than 1 MiB"),
        Error::Utf8(_) => End::Refused(CloseCode::Invalid, "the message is not UTF-8"),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => End::Broken,
        Error::Protocol(_) => End::Refused(CloseCode::Protocol, "the frame breaks RFC 6455"),
        _ => End::Broken,
    }
}
