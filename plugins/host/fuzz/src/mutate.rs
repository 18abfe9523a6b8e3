//! Changing inputs at random, from a seed.

/// xorshift64: small, fast, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // No state may be zero, and seeds that are near each other shall not give streams that are.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `limit`; 0 where that is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [u32; 16] =
    [0, 1, 2, 3, 4, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0x400, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_ffff];

/// Longest input.
pub(crate) const MAX_INPUT_BYTES: usize = 16 * 1024;

/// Changes `input` in one to eight places; `other` is another of the corpus, `words` are what such inputs are made of.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    for _ in 0..=random.below(8) {
        let at = random.below(input.len());
        match random.below(10) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 if !input.is_empty() => input[at] = random.byte(),
            2 => input.insert(at.min(input.len()), random.byte()),
            3 => {
                let end = (at + 1 + random.below(16)).min(input.len());
                input.drain(at.min(end)..end);
            }
            4 => put(input, at, &NUMBERS[random.below(NUMBERS.len())].to_le_bytes()),
            5 if !words.is_empty() => {
                let word = words[random.below(words.len())];
                input.splice(at..at, word.iter().copied());
            }
            6 => {
                let from = random.below(other.len());
                let length = random.below(other.len() - from.min(other.len())).min(256);
                input.splice(at..at, other.iter().copied().skip(from).take(length));
            }
            7 => {
                let end = (at + random.below(64)).min(input.len());
                let piece = input[at.min(end)..end].to_vec();
                input.splice(at..at, piece);
            }
            8 if !input.is_empty() => input[at] = input[at].wrapping_add([1, 255][random.below(2)]),
            _ => input.truncate(input.len() - random.below(input.len().min(32) + 1)),
        }
    }
    input.truncate(MAX_INPUT_BYTES);
}

fn put(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}
