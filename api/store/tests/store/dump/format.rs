//! The format: what is written comes back, and nothing else passes for it.

use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::Row;
use coditect_store::dump::{Decoder, Encoder, FormatError, Header, MAX_BLOCK_BYTES};
use coditect_store::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use sha2::{Digest, Sha256};

use super::decode;

const HEADER: Header = Header { created_at: -5, one_snapshot: true };
/// Bytes of header and check.
const BEGIN: usize = 40;
/// Bytes of the end.
const END: usize = 48;

fn encode(rows: &[Row]) -> Vec<u8> {
    let (mut encoder, begin) = Encoder::start(HEADER);
    let mut file = begin.to_vec();
    for row in rows {
        file.extend(encoder.push(&row.key, &row.value).unwrap_or_default());
    }
    file.extend(encoder.finish(1).0);
    file
}

fn row(key: impl Into<Vec<u8>>, value: &[u8]) -> Row {
    Row { key: key.into(), value: bytes::Bytes::copy_from_slice(value) }
}

/// A file whose checks are right, whatever its blocks say.
struct Forged {
    file: Vec<u8>,
    rows: u64,
}

impl Forged {
    fn begin() -> Self {
        Self { file: Encoder::start(HEADER).1.to_vec(), rows: 0 }
    }

    fn header(format: u32, flags: u32) -> Self {
        let mut forged = Self { file: b"coditect-export\n".to_vec(), rows: 0 };
        forged.file.extend(format.to_be_bytes());
        forged.file.extend(flags.to_be_bytes());
        forged.file.extend(7_i64.to_be_bytes());
        forged.checked()
    }

    fn checked(mut self) -> Self {
        let digest = Sha256::digest(&self.file);
        self.file.extend_from_slice(&digest[..8]);
        self
    }

    fn block(mut self, content: &[u8], rows: u64) -> Self {
        self.file.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        self.file.extend_from_slice(content);
        self.rows += rows;
        self.checked()
    }

    fn end(mut self) -> Vec<u8> {
        self.file.extend(0_u32.to_be_bytes());
        self.file.extend(self.rows.to_be_bytes());
        self.file.extend(1_u32.to_be_bytes());
        let digest = Sha256::digest(&self.file);
        self.file.extend_from_slice(&digest);
        self.file
    }
}

fn raw_row(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(key.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(key);
    bytes.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

#[test]
fn the_written_form_is_the_documented_one() {
    let file = encode(&[row("a", b""), row("b", b"1")]);
    let forged = Forged { file: Forged::header(1, 1).file, rows: 0 };
    assert_eq!(file[..24], forged.file[..24]);
    assert_eq!(file[24..32], HEADER.created_at.to_be_bytes());
    let block = [raw_row(b"a", b""), raw_row(b"b", b"1")].concat();
    assert_eq!(file, Forged::begin().block(&block, 2).end());
    assert_eq!(Decoder::start(file.as_slice()).unwrap().header(), HEADER);
}

#[test]
fn rows_come_back_also_the_longest_and_none() {
    for count in [0, 1, 15, 40] {
        let rows: Vec<_> = (0..count)
            .map(|n| {
                let mut key = vec![b'k'; MAX_KEY_BYTES];
                key[..2].copy_from_slice(&u16::to_be_bytes(n));
                row(key, &vec![1; MAX_VALUE_BYTES])
            })
            .collect();
        let file = encode(&rows);
        assert_eq!(decode(&file).unwrap(), rows);
        let overhead = file.len() - rows.iter().map(|row| row.key.len() + row.value.len() + 6).sum::<usize>();
        assert!(overhead <= BEGIN + END + 12 * 5, "{count} rows cost {overhead} bytes more");
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_found() {
    let seed = 0xd0_0f;
    println!("seed {seed}");
    let entropy = SeededEntropy::new(seed);
    let rows: Vec<_> = (0..9_u8).map(|n| row([n, 7], &[n; 11])).collect();
    let file = encode(&rows);
    for length in 0..file.len() {
        assert!(decode(&file[..length]).is_err(), "cut to {length} of {}", file.len());
    }
    for at in 0..file.len() {
        let mut die = [0];
        entropy.fill(&mut die);
        let mut damaged = file.clone();
        damaged[at] ^= die[0].max(1);
        assert!(decode(&damaged).is_err(), "byte {at} of {} changed by {}", file.len(), die[0]);
    }
    for extra in [&b"\0"[..], &file] {
        let longer = [&file, extra].concat();
        assert!(matches!(decode(&longer), Err(FormatError::Damaged { .. })), "something follows");
    }
}

#[test]
fn damage_is_located_and_blocks_cannot_be_moved() {
    let rows: Vec<_> = (0..40_u8).map(|n| row([n], &vec![n; 90_000])).collect();
    let file = encode(&rows);
    let mut starts = vec![BEGIN];
    while starts.len() < 4 {
        let at = *starts.last().unwrap();
        let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        starts.push(at + 4 + usize::try_from(length).unwrap() + 8);
    }
    let mut damaged = file.clone();
    damaged[starts[2] + 1000] ^= 1;
    match decode(&damaged) {
        Err(FormatError::Damaged { offset, rows, .. }) => {
            assert_eq!((usize::try_from(offset).unwrap(), rows), (starts[2], 24));
        }
        other => panic!("{other:?}"),
    }
    let block = |n: usize| &file[starts[n]..starts[n + 1]];
    for blocks in [vec![block(0), block(2)], vec![block(1), block(0), block(2)], vec![block(0), block(0)]] {
        let moved = [&file[..BEGIN], &blocks.concat(), &file[starts[3]..]].concat();
        assert!(matches!(decode(&moved), Err(FormatError::Damaged { .. })));
    }
}

#[test]
fn wrong_lengths_and_orders_are_refused_although_the_checks_are_right() {
    let good = raw_row(b"k", b"v");
    for (what, block) in [
        ("a row cut in its key", vec![0, 9, b'k']),
        ("a row cut in a length", vec![0]),
        ("a value longer than the block", [&[0, 1, b'k'][..], &u32::MAX.to_be_bytes(), b"v"].concat()),
        ("a key too long", raw_row(&vec![b'k'; MAX_KEY_BYTES + 1], b"")),
        ("a value too long", raw_row(b"k", &vec![0; MAX_VALUE_BYTES + 1])),
        ("a key twice", [good.clone(), good.clone()].concat()),
        ("keys that descend", [raw_row(b"b", b""), raw_row(b"a", b"")].concat()),
        ("a row and a half", [good.as_slice(), &[0]].concat()),
    ] {
        let file = Forged::begin().block(&block, 1).end();
        assert!(matches!(decode(&file), Err(FormatError::Damaged { .. })), "{what}");
    }
    let twice = Forged::begin().block(&good, 1).block(&good, 1).end();
    assert!(matches!(decode(&twice), Err(FormatError::Damaged { .. })), "a key twice in two blocks");
    let miscounted = Forged::begin().block(&good, 2).end();
    assert!(matches!(decode(&miscounted), Err(FormatError::Damaged { .. })));
    assert_eq!(
        decode(&Forged::begin().block(&good, 1).end()).unwrap(),
        [row("k", b"v")],
        "the forger is able"
    );
}

#[test]
fn a_length_is_believed_only_up_to_the_limit() {
    let mut file = Forged::begin().file;
    file.extend(u32::try_from(MAX_BLOCK_BYTES + 1).unwrap().to_be_bytes());
    // Were it believed, the file would be cut off rather than damaged.
    assert!(matches!(decode(&file), Err(FormatError::Damaged { .. })));
    let mut file = Forged::begin().file;
    file.extend(u32::try_from(MAX_BLOCK_BYTES).unwrap().to_be_bytes());
    assert!(matches!(decode(&file), Err(FormatError::Truncated { .. })));
}

#[test]
fn other_files_and_newer_formats_are_called_what_they_are() {
    assert!(matches!(decode(b""), Err(FormatError::NotAnExport)));
    assert!(matches!(decode(&[0; 500]), Err(FormatError::NotAnExport)));
    let newer = decode(&Forged::header(2, 1).end()).unwrap_err();
    assert!(matches!(newer, FormatError::Newer { what: "format", found: 2 }), "{newer}");
    let flags = decode(&Forged::header(1, 6).end()).unwrap_err();
    assert!(matches!(flags, FormatError::Newer { what: "flags", found: 6 }), "{flags}");
}

#[test]
fn no_bytes_make_the_decoder_stumble() {
    let seed = 0xd0_10;
    println!("seed {seed}");
    let entropy = SeededEntropy::new(seed);
    let header = Forged::begin().file;
    for _ in 0..3_000 {
        let mut noise = [0; 64];
        entropy.fill(&mut noise);
        noise[0] = 0;
        noise[1] &= 1;
        assert!(decode(&[header.as_slice(), &noise].concat()).is_err());
        let content = &noise[2..usize::from(3 + noise[2] % 60)];
        // With right checks whatever is read must be rows.
        if let Ok(rows) = decode(&Forged::begin().block(content, 1).end()) {
            assert_eq!(rows.len(), 1);
        }
    }
}
