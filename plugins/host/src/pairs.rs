//! The wire form of header maps and property paths ("Serialization" in the specification).
//!
//! A map is `u32 count`, then `u32 name length, u32 value length` for each pair, then each name and each value with
//! a NUL after it; all little-endian. What comes from a guest is hostile: lengths are checked before anything is
//! read or allocated.

use std::ops::Range;

use crate::limits::{MAX_PAIRS, MAX_PAIRS_BYTES, MAX_PROPERTY_PATH_BYTES, MAX_PROPERTY_SEGMENTS};

/// Why bytes are no header map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PairsError {
    #[error("more than {MAX_PAIRS_BYTES} bytes")]
    TooLong,
    #[error("more than {MAX_PAIRS} pairs")]
    TooMany,
    #[error("a length reaches past the end")]
    Overrun,
    #[error("a name or value is not NUL-terminated")]
    Unterminated,
    #[error("bytes after the last pair")]
    Trailing,
}

/// Where a name and its value are in the bytes they were decoded from.
pub(crate) type PairRange = (Range<usize>, Range<usize>);

/// Finds the pairs in `bytes`. No bytes at all are the empty map.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<PairRange>, PairsError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if bytes.len() > MAX_PAIRS_BYTES {
        return Err(PairsError::TooLong);
    }
    let count = word(bytes, 0)?;
    if count > MAX_PAIRS {
        return Err(PairsError::TooMany);
    }
    // At most 1024 pairs and 1 MiB: none of the sums below can overflow.
    let mut position = 4 + count * 8;
    if position > bytes.len() {
        return Err(PairsError::Overrun);
    }
    let mut pairs = Vec::with_capacity(count);
    for index in 0..count {
        let name = string(bytes, &mut position, word(bytes, 4 + index * 8)?)?;
        let value = string(bytes, &mut position, word(bytes, 8 + index * 8)?)?;
        pairs.push((name, value));
    }
    if position != bytes.len() {
        return Err(PairsError::Trailing);
    }
    Ok(pairs)
}

fn word(bytes: &[u8], at: usize) -> Result<usize, PairsError> {
    let word = bytes.get(at..at + 4).and_then(|word| word.first_chunk::<4>());
    word.map(|word| u32::from_le_bytes(*word) as usize).ok_or(PairsError::Overrun)
}

fn string(bytes: &[u8], position: &mut usize, length: usize) -> Result<Range<usize>, PairsError> {
    let start = *position;
    let end = start.checked_add(length).ok_or(PairsError::Overrun)?;
    match bytes.get(end) {
        Some(0) => {}
        Some(_) => return Err(PairsError::Unterminated),
        None => return Err(PairsError::Overrun),
    }
    *position = end + 1;
    Ok(start..end)
}

/// Puts pairs into their wire form, one visit.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    lengths: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Encoder {
    /// Forgets the pairs, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.lengths.clear();
        self.strings.clear();
        self.count = 0;
    }

    /// Frees memory past `most` bytes.
    pub(crate) fn trim(&mut self, most: usize) {
        if self.lengths.capacity() + self.strings.capacity() > most {
            *self = Self::default();
        }
    }

    /// Adds a pair. Lengths past `u32` cannot come from an HTTP message; such a pair is left out.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(name_length), Ok(value_length)) = (u32::try_from(name.len()), u32::try_from(value.len()))
        else {
            return;
        };
        self.count += 1;
        self.lengths.extend_from_slice(&name_length.to_le_bytes());
        self.lengths.extend_from_slice(&value_length.to_le_bytes());
        self.strings.extend_from_slice(name);
        self.strings.push(0);
        self.strings.extend_from_slice(value);
        self.strings.push(0);
    }

    /// Appends the wire form to `out`; of no pairs too.
    pub(crate) fn finish_map(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.lengths);
        out.extend_from_slice(&self.strings);
    }

    /// Appends the wire form to `out`; nothing where there is no pair (Envoy's null result).
    pub(crate) fn finish(&self, out: &mut Vec<u8>) {
        if self.count > 0 {
            self.finish_map(out);
        }
    }
}

/// The segments of a NUL-separated property path, or `None` where it is empty or past the limits.
/// One NUL at the end adds no segment: the C++ SDK sends one, the Rust SDK does not.
pub(crate) fn path_segments(path: &[u8]) -> Option<Vec<&[u8]>> {
    if path.is_empty() || path.len() > MAX_PROPERTY_PATH_BYTES {
        return None;
    }
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    let segments: Vec<&[u8]> = path.split(|byte| *byte == 0).collect();
    (segments.len() <= MAX_PROPERTY_SEGMENTS).then_some(segments)
}

#[cfg(test)]
#[path = "pairs_tests.rs"]
mod tests;
