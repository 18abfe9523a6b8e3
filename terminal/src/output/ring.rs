//! The last bytes of a stream that has no end.

use bytes::Bytes;
use std::collections::VecDeque;

/// How far behind the oldest byte a line may end for a reader to be started there.
const CLEAN_START_BYTES: usize = 1024;

/// A bounded buffer that forgets its oldest bytes. It takes memory as it fills, never more than its limit.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    limit: usize,
    end: u64,
}

impl Ring {
    /// Keeps the last `limit` bytes; at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), limit: limit.max(1), end: 0 }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit as u64
    }

    /// The position after the last byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The position of the oldest byte kept.
    pub(super) fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(self.limit)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(self.limit);
        self.bytes.drain(..excess);
        self.grow(self.bytes.len() + kept.len());
        self.bytes.extend(kept);
    }

    /// Doubles like any vector, but stops at the limit.
    fn grow(&mut self, needed: usize) {
        if needed > self.bytes.capacity() {
            let target = needed.max(self.bytes.capacity() * 2).min(self.limit);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
    }

    /// Up to `limit` bytes from the position `from` on, which must be kept.
    pub(super) fn read(&self, from: u64, limit: usize) -> Bytes {
        let skip = usize::try_from(from.saturating_sub(self.start())).unwrap_or(usize::MAX);
        let take = self.bytes.len().saturating_sub(skip).min(limit);
        self.bytes.range(skip.min(self.bytes.len())..).take(take).copied().collect()
    }

    /// Where a reader that has seen nothing of what came before is best started: after the end of a line near the
    /// oldest byte where bytes were forgotten, so that it does not begin inside a character or an escape sequence.
    pub(super) fn clean_start(&self) -> u64 {
        if self.start() == 0 {
            return 0;
        }
        let near = self.bytes.iter().take(CLEAN_START_BYTES.min(self.limit / 8));
        let line = near.enumerate().find(|(_, byte)| **byte == b'\n');
        self.start() + line.map_or(0, |(at, _)| at as u64 + 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_oldest_bytes_are_forgotten() {
        let mut ring = Ring::new(5);
        ring.append(b"abc");
        ring.append(b"defg");
        assert_eq!((ring.start(), ring.end()), (2, 7));
        assert_eq!(ring.read(2, 100), "cdefg");
        assert_eq!(ring.read(4, 2), "ef");
        assert_eq!(ring.read(7, 2), "");
    }

    #[test]
    fn more_than_the_limit_at_once_leaves_its_end() {
        let mut ring = Ring::new(3);
        ring.append(b"0123456789");
        assert_eq!((ring.start(), ring.end()), (7, 10));
        assert_eq!(ring.read(7, 100), "789");
    }

    #[test]
    fn memory_follows_the_content_and_stops_at_the_limit() {
        let mut ring = Ring::new(100_000);
        ring.append(b"x");
        assert!(ring.bytes.capacity() < 1000);
        for _ in 0..50 {
            ring.append(&[b'x'; 7777]);
            assert!(ring.bytes.capacity() <= 100_000, "{}", ring.bytes.capacity());
        }
    }

    #[test]
    fn a_late_reader_starts_at_a_line() {
        let mut ring = Ring::new(80);
        ring.append(b"first\n");
        assert_eq!(ring.clean_start(), 0);
        ring.append(&[b'x'; 80]);
        assert_eq!(ring.clean_start(), ring.start());
        let mut ring = Ring::new(80);
        ring.append(b"cut\nwhole line\n");
        ring.append(&[b'y'; 67]);
        assert_eq!(ring.read(ring.clean_start(), 10), "whole line");
    }
}
