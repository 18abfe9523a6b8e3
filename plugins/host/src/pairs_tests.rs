//! The codec against good, bad and random bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use super::*;

fn encode(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    for (name, value) in pairs {
        encoder.push(name, value);
    }
    let mut bytes = Vec::new();
    encoder.finish(&mut bytes);
    bytes
}

/// xorshift64*: enough for a property test, and the seed is the whole state.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

#[test]
fn the_layout_is_the_specification_s() {
    let bytes = encode(&[(b"a", b"bc"), (b"", b"")]);
    let expected = [2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'a', 0, b'b', b'c', 0, 0, 0];
    assert_eq!(bytes, expected);
    assert_eq!(decode(&bytes), Ok(vec![(20..21, 22..24), (25..25, 26..26)]));
}

#[test]
fn no_pairs_are_no_bytes() {
    assert!(encode(&[]).is_empty());
    assert_eq!(decode(&[]), Ok(Vec::new()));
    assert_eq!(decode(&[0, 0, 0, 0]), Ok(Vec::new()));
}

#[test]
fn each_defect_is_named() {
    let good = encode(&[(b"name", b"value")]);
    assert_eq!(decode(&good[..3]), Err(PairsError::Overrun));
    assert_eq!(decode(&good[..good.len() - 1]), Err(PairsError::Overrun));
    assert_eq!(decode(&[&good[..], &[0]].concat()), Err(PairsError::Trailing));
    let mut wrong = good.clone();
    wrong[16] = b'x';
    assert_eq!(decode(&wrong), Err(PairsError::Unterminated));
    wrong = good.clone();
    wrong[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode(&wrong), Err(PairsError::Overrun));
    assert_eq!(decode(&u32::MAX.to_le_bytes()), Err(PairsError::TooMany));
    assert_eq!(decode(&1024_u32.to_le_bytes()), Err(PairsError::Overrun));
    assert_eq!(decode(&vec![0; MAX_PAIRS_BYTES + 1]), Err(PairsError::TooLong));
}

#[test]
fn any_pairs_come_back_as_they_went() {
    let seed = 0x00C0_D17E_C7ED_6E01;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for _ in 0..2_000 {
        let pairs: Vec<(Vec<u8>, Vec<u8>)> =
            (0..random.below(20)).map(|_| (random.bytes(40), random.bytes(80))).collect();
        let slices: Vec<(&[u8], &[u8])> = pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let bytes = encode(&slices);
        let decoded = decode(&bytes).expect("what was encoded decodes");
        let back: Vec<(&[u8], &[u8])> =
            decoded.into_iter().map(|(name, value)| (&bytes[name], &bytes[value])).collect();
        assert_eq!(back, slices);
    }
}

#[test]
fn no_bytes_can_panic_or_point_outside() {
    let seed = 0x0DD5_EED5_0BAD_F00D;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut accepted = 0;
    for round in 0..20_000 {
        // Half are noise, half are good maps with a few bytes changed: those get far into the decoder.
        let mut bytes =
            if round % 2 == 0 { random.bytes(64) } else { encode(&[(b"host", b"a.example"), (b"x", b"")]) };
        for _ in 0..random.below(3) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len());
                bytes[at] = random.next().to_le_bytes()[0];
            }
        }
        if let Ok(pairs) = decode(&bytes) {
            accepted += 1;
            for (name, value) in pairs {
                assert!(name.start <= name.end && value.start <= value.end && value.end < bytes.len());
            }
        }
    }
    assert!(accepted > 1_000, "the generator no longer reaches the accepting path: {accepted}");
}

#[test]
fn paths_split_at_nul_and_ignore_one_at_the_end() {
    assert_eq!(path_segments(b"a\0b"), Some(vec![&b"a"[..], b"b"]));
    assert_eq!(path_segments(b"a\0b\0"), Some(vec![&b"a"[..], b"b"]));
    assert_eq!(path_segments(b"a\0\0b"), Some(vec![&b"a"[..], b"", b"b"]));
    assert_eq!(path_segments(b"a"), Some(vec![&b"a"[..]]));
    assert_eq!(path_segments(b""), None);
    assert_eq!(path_segments(&[b'a'; MAX_PROPERTY_PATH_BYTES + 1]), None);
    assert_eq!(path_segments(&[0; MAX_PROPERTY_SEGMENTS + 1]), None);
}
