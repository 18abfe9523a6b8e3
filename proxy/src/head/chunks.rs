//! Whether a chunked body can be read in one way only (RFC 9112, section 7.1).
//!
//! Pingora's parser takes an empty size for zero, lets a bare LF stand in an extension and skips whatever stands
//! where trailers are. Another reader may see another end of the message there, so such bodies are refused before it
//! sees them. Bytes are followed, not copied; what they say is left to the parser.

use super::framing::is_token;

/// Hexadecimal digits of a chunk's size.
const MAX_SIZE_DIGITS: u8 = 16;
/// The largest size, in bytes: what fits a signed number, since some readers have those.
const MAX_SIZE: u64 = i64::MAX as u64;
/// Bytes of all extensions and trailers of one body together; both are thrown away.
const MAX_EXTRA_BYTES: usize = 16 * 1024;

/// The body is no chunked one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunked body is malformed")]
pub(crate) struct MalformedChunks;

/// Follows one chunked body.
#[derive(Debug)]
pub(crate) struct Chunks {
    place: Place,
    size: u64,
    extra: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a size of which so many digits were seen.
    Size(u8),
    /// In blanks after a size, which only an extension or the line's end may follow.
    AfterSize,
    Extension,
    SizeLf,
    /// So many bytes of data are left; never 0.
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a line after the last chunk.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    /// The body is whole; what follows is not part of it.
    Done,
}

impl Chunks {
    /// At the start of a body.
    pub(crate) fn new() -> Self {
        Self { place: Place::Size(0), size: 0, extra: 0 }
    }

    /// Follows `bytes`; what lies behind the body's end is not looked at.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<(), MalformedChunks> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self.place {
                Place::Done => return Ok(()),
                Place::Data(left) => {
                    let available = bytes.len() - at;
                    let step = usize::try_from(left).map_or(available, |left| left.min(available));
                    at += step;
                    let left = left - step as u64;
                    self.place = if left == 0 { Place::DataCr } else { Place::Data(left) };
                }
                place => {
                    self.place = self.after(place, *byte)?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn after(&mut self, place: Place, byte: u8) -> Result<Place, MalformedChunks> {
        let next = match (place, byte) {
            (Place::Size(0), _) if !byte.is_ascii_hexdigit() => return Err(MalformedChunks),
            (Place::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                return self.digit(digits, byte);
            }
            (Place::Size(_) | Place::AfterSize, b' ' | b'\t') => Place::AfterSize,
            (Place::Size(_) | Place::AfterSize, b';') => Place::Extension,
            (Place::Size(_) | Place::AfterSize | Place::Extension, b'\r') => return Ok(Place::SizeLf),
            (Place::Extension, _) if is_text(byte) => Place::Extension,
            (Place::SizeLf, b'\n') if self.size == 0 => return Ok(Place::Trailer),
            (Place::SizeLf, b'\n') => return Ok(Place::Data(std::mem::take(&mut self.size))),
            (Place::DataCr, b'\r') => return Ok(Place::DataLf),
            (Place::DataLf, b'\n') => return Ok(Place::Size(0)),
            (Place::Trailer, b'\r') => return Ok(Place::EndLf),
            (Place::Trailer | Place::TrailerName, _) if is_token(byte) => Place::TrailerName,
            (Place::TrailerName, b':') => Place::TrailerValue,
            (Place::TrailerValue, b'\r') => return Ok(Place::TrailerLf),
            (Place::TrailerValue, _) if is_text(byte) => Place::TrailerValue,
            (Place::TrailerLf, b'\n') => return Ok(Place::Trailer),
            (Place::EndLf, b'\n') => return Ok(Place::Done),
            _ => return Err(MalformedChunks),
        };
        self.extra += 1;
        if self.extra > MAX_EXTRA_BYTES { Err(MalformedChunks) } else { Ok(next) }
    }

    fn digit(&mut self, digits: u8, byte: u8) -> Result<Place, MalformedChunks> {
        let value = char::from(byte).to_digit(16).map(u64::from).ok_or(MalformedChunks)?;
        if digits == MAX_SIZE_DIGITS || self.size > MAX_SIZE >> 4 {
            return Err(MalformedChunks);
        }
        self.size = (self.size << 4) | value;
        Ok(Place::Size(digits + 1))
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a body is sound, complete or not, however it is cut.
    fn sound(body: &[u8]) -> bool {
        let mut whole = Chunks::new();
        let judged = whole.advance(body).is_ok();
        let mut bytes = Chunks::new();
        assert_eq!(body.iter().all(|byte| bytes.advance(&[*byte]).is_ok()), judged, "{body:?}");
        judged
    }

    #[test]
    fn sound_bodies_pass() {
        for body in [
            &b"3\r\nabc\r\n0\r\n\r\n"[..],
            b"003;a=b;c=\"d\"\r\nabc\r\n0;x\r\nT: 1\r\nU:\r\n\r\nGET / HTTP/1.1\r\n",
            b"A \r\n0123456789\r\n0\r\n\r\n\0\n",
            b"7fffffffffffffff\r\nabc",
            b"",
            b"3\r\nab",
        ] {
            assert!(sound(body), "{body:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for body in [
            &b"\r\nabc"[..],
            b"zz\r\n",
            b"-3\r\n",
            b"+3\r\n",
            b"0x3\r\n",
            b" 3\r\n",
            b"3 4\r\n",
            b"3\n",
            b"3;a\nb\r\n",
            b"3;a\rb\r\n",
            b"3\r\nabcX",
            b"3\r\nabc\n",
            b"3\r\nabc\r\n\r\n",
            b"00000000000000003\r\n",
            b"8000000000000000\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\n\n",
            b"0\r\nGET / HTTP/1.1\r\n",
            b"0\r\nA: b\nC: d\r\n",
            b"0\r\n folded\r\n",
        ] {
            assert!(!sound(body), "{body:?}");
        }
    }

    #[test]
    fn what_is_thrown_away_is_bounded() {
        assert!(!sound(&[b"3;", &[b'a'; MAX_EXTRA_BYTES][..]].concat()));
        assert!(!sound(&[&b"0\r\n"[..], &b"T: 1\r\n".repeat(MAX_EXTRA_BYTES)[..]].concat()));
        assert!(!sound(&b"1;xxxxxxxx\r\na\r\n".repeat(MAX_EXTRA_BYTES)));
        assert!(sound(&b"1\r\na\r\n".repeat(MAX_EXTRA_BYTES)));
    }
}
