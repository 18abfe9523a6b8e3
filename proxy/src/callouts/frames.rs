//! gRPC's framing of messages in a body: a flag, four bytes of length, the message
//! (grpc/grpc, `doc/PROTOCOL-HTTP2.md`, "Length-Prefixed-Message").

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before each message.
const PREFIX_BYTES: usize = 5;

/// A body that is no sequence of messages we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a compressed message, although no compression was offered")]
    Compressed,
    #[error("a message's flag is {0}, which means nothing")]
    Flag(u8),
    #[error("a message has {actual} bytes, at most {most} are taken")]
    TooLarge { actual: usize, most: usize },
}

/// A message as it goes into a body; `None` where its length has no place in the prefix.
pub(super) fn encode(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Some(frame.freeze())
}

/// Takes a body apart. It holds what was pushed and not yet taken out, so at most one message and one piece where
/// all messages are taken out before the next push.
#[derive(Debug)]
pub(super) struct Decoder {
    buffer: BytesMut,
    most: usize,
}

impl Decoder {
    /// For messages of at most `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { buffer: BytesMut::new(), most }
    }

    /// The next piece of the body.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// What follows cannot be read: the call is over.
    pub(super) fn message(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some((prefix, rest)) = self.buffer.split_at_checked(PREFIX_BYTES) else { return Ok(None) };
        let (flag, mut length) = (prefix[0], &prefix[1..]);
        match flag {
            0 => {}
            1 => return Err(FrameError::Compressed),
            flag => return Err(FrameError::Flag(flag)),
        }
        let actual = usize::try_from(length.get_u32()).unwrap_or(usize::MAX);
        if actual > self.most {
            return Err(FrameError::TooLarge { actual, most: self.most });
        }
        if rest.len() < actual {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(actual).freeze()))
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_the_body_is_cut() {
        let messages: [&[u8]; 4] = [b"", b"a", &[0; 300], b"last"];
        let body: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
        for size in 1..body.len() {
            let mut decoder = Decoder::new(300);
            let mut out = Vec::new();
            for piece in body.chunks(size) {
                decoder.push(piece);
                while let Some(message) = decoder.message().unwrap() {
                    out.push(message);
                }
                assert!(decoder.held() < 300 + PREFIX_BYTES + size);
            }
            assert_eq!(out, messages, "in pieces of {size}");
            assert_eq!(decoder.held(), 0);
        }
    }

    #[test]
    fn what_is_no_message_is_refused_at_its_prefix() {
        let read = |bytes: &[u8]| {
            let mut decoder = Decoder::new(10);
            decoder.push(bytes);
            decoder.message()
        };
        assert_eq!(read(&[0, 0, 0, 0]), Ok(None));
        assert_eq!(read(&[1, 0, 0, 0, 1]), Err(FrameError::Compressed));
        assert_eq!(read(&[2, 0, 0, 0, 1]), Err(FrameError::Flag(2)));
        assert_eq!(read(&[0, 0, 0, 0, 11]), Err(FrameError::TooLarge { actual: 11, most: 10 }));
        let actual = u32::MAX as usize;
        assert_eq!(read(&[0, 255, 255, 255, 255]), Err(FrameError::TooLarge { actual, most: 10 }));
    }
}
