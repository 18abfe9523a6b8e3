//! WebSocket frames (RFC 6455, section 5) as far as a byte pump needs them: following frame headers over a
//! stream cut into arbitrary chunks, and building the few control frames the edge itself sends.
//!
//! Payloads are skipped, never copied or unmasked. Messages are none of the tracker's business: a control frame
//! may stand between two fragments of a message (section 5.4), so a frame boundary is all that an injection needs.

/// Longest header: two bytes, a 64-bit length, a masking key.
const MAX_HEADER: usize = 14;
/// Longest payload of a control frame (section 5.5).
const MAX_CONTROL_PAYLOAD: usize = 125;
/// Longest reason of a Close frame: the payload's first two bytes are the code.
const MAX_CLOSE_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

/// Who sends the frames of a direction. Clients mask every frame, servers none (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The end that opened the connection: its frames are masked.
    Client,
    /// The end that accepted the connection: its frames are not masked.
    Server,
}

/// Follows the frames of one direction by their headers.
///
/// What a header can show to be wrong makes the stream *opaque*, once and for all: an undefined opcode, a
/// fragmented control frame or one above 125 bytes, masking that does not fit the [`Sender`], a 64-bit length with
/// its top bit set. Boundaries are unknown from there on. The reserved bits are left to the two ends, which may
/// have agreed on extensions, and so are lengths not encoded in the shortest form, which still frame unambiguously.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameTracker {
    sender: Sender,
    position: Position,
    header: [u8; MAX_HEADER],
    close_seen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// `have` bytes of the next header were seen; none: a frame boundary.
    Header { have: usize },
    /// Payload bytes still to come; never 0.
    Payload { left: u64 },
    /// A violation was seen.
    Opaque,
}

impl FrameTracker {
    /// A tracker at the start of a stream, which is a boundary.
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender, position: Position::Header { have: 0 }, header: [0; MAX_HEADER], close_seen: false }
    }

    /// Follows all of `bytes`.
    pub(crate) fn advance(&mut self, bytes: &[u8]) {
        let mut used = 0;
        while used < bytes.len() {
            used += self.advance_to_boundary(&bytes[used..]);
        }
    }

    /// How many of `bytes`, taken from the start, lead to the next boundary: 0 at a boundary, and all of them when
    /// the boundary lies beyond them or the stream is opaque.
    pub(crate) fn until_boundary(&self, bytes: &[u8]) -> usize {
        let mut ahead = *self;
        if self.at_boundary() { 0 } else { ahead.advance_to_boundary(bytes) }
    }

    /// Whether the bytes seen so far are whole frames.
    pub(crate) fn at_boundary(&self) -> bool {
        self.position == Position::Header { have: 0 }
    }

    /// Whether the header of a Close frame was seen. Nothing may be sent after that frame (section 5.5.1).
    pub(crate) fn close_seen(&self) -> bool {
        self.close_seen
    }

    /// Whether a protocol violation was seen.
    pub(crate) fn is_opaque(&self) -> bool {
        self.position == Position::Opaque
    }

    /// Whether a frame of the edge's own may be put into the stream right here.
    pub(crate) fn may_inject(&self) -> bool {
        self.at_boundary() && !self.close_seen
    }

    /// Follows `bytes` up to and including the end of the frame under way, or of the next one when at a boundary.
    /// Returns how many bytes that took.
    fn advance_to_boundary(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            match self.position {
                Position::Opaque => return bytes.len(),
                Position::Payload { left } => {
                    let available = bytes.len() - used;
                    let step = usize::try_from(left).map_or(available, |left| left.min(available));
                    used += step;
                    self.position = payload(left - step as u64);
                }
                Position::Header { have } => {
                    self.header[have] = bytes[used];
                    used += 1;
                    self.position = self.after_header_byte(have + 1);
                }
            }
            if self.at_boundary() {
                break;
            }
        }
        used
    }

    /// Where the stream stands once `have` bytes of a header are known.
    fn after_header_byte(&mut self, have: usize) -> Position {
        let [first, second, extended @ ..] = self.header;
        let opcode = first & OPCODE;
        let control = opcode & 0x8 != 0;
        if !matches!(opcode, 0x0..=0x2 | 0x8..=0xa) || (control && first & FIN == 0) {
            return Position::Opaque;
        }
        if have < 2 {
            return Position::Header { have };
        }
        let short = second & !MASKED;
        let masked = second & MASKED != 0;
        if masked != (self.sender == Sender::Client) || (control && usize::from(short) > MAX_CONTROL_PAYLOAD)
        {
            return Position::Opaque;
        }
        let length_bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if have < 2 + length_bytes + if masked { 4 } else { 0 } {
            return Position::Header { have };
        }
        let length = match length_bytes {
            0 => u64::from(short),
            n => extended[..n].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
        };
        if length >> 63 != 0 {
            return Position::Opaque;
        }
        self.close_seen |= opcode == CLOSE;
        payload(length)
    }
}

fn payload(left: u64) -> Position {
    if left == 0 { Position::Header { have: 0 } } else { Position::Payload { left } }
}

/// A control frame of the edge's own, encoded, without an allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ControlFrame {
    encoded: [u8; 2 + 4 + MAX_CONTROL_PAYLOAD],
    len: usize,
}

impl ControlFrame {
    /// A Close frame. `reason` is cut to [`MAX_CLOSE_REASON`] bytes at a character boundary. `mask` is the masking
    /// key, which a frame sent in the client's role must have and one sent in the server's role must not; it has to
    /// be unpredictable (section 5.3). `code` must be one that may stand in a frame (section 7.4; not 1005, 1006,
    /// 1015).
    pub(crate) fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Self {
        let reason = &reason[..reason.floor_char_boundary(MAX_CLOSE_REASON)];
        let mut payload = [0; MAX_CONTROL_PAYLOAD];
        payload[..2].copy_from_slice(&code.to_be_bytes());
        payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
        Self::encode(CLOSE, &payload[..2 + reason.len()], mask)
    }

    /// A Ping frame without payload. `mask` as in [`ControlFrame::close`].
    pub(crate) fn ping(mask: Option<[u8; 4]>) -> Self {
        Self::encode(PING, &[], mask)
    }

    /// The frame as it goes on the wire.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.encoded[..self.len]
    }

    /// `payload` is at most [`MAX_CONTROL_PAYLOAD`] bytes, so its length fits the header's seven bits.
    fn encode(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Self {
        let mut encoded = [0; 2 + 4 + MAX_CONTROL_PAYLOAD];
        encoded[0] = FIN | opcode;
        encoded[1] = payload.len() as u8;
        let mut at = 2;
        if let Some(key) = mask {
            encoded[1] |= MASKED;
            encoded[at..at + 4].copy_from_slice(&key);
            at += 4;
        }
        let key = mask.unwrap_or_default();
        for (index, byte) in payload.iter().enumerate() {
            encoded[at + index] = byte ^ key[index % 4];
        }
        Self { encoded, len: at + payload.len() }
    }
}

#[cfg(test)]
mod tests;
