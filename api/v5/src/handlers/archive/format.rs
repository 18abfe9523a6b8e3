//! Tar as it is written, and what reading it has in common; source: POSIX.1-2017, `pax`, "ustar Interchange Format".

/// Everything in an archive comes in blocks of so many bytes.
pub(super) const BLOCK_BYTES: usize = 512;
/// A block.
pub(super) type Block = [u8; BLOCK_BYTES];
/// What an archive ends with.
pub(super) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// The fields of a header, as places in its block.
pub(super) mod field {
    use std::ops::Range;

    pub(in super::super) const NAME: Range<usize> = 0..100;
    pub(in super::super) const MODE: Range<usize> = 100..108;
    pub(in super::super) const UID: Range<usize> = 108..116;
    pub(in super::super) const GID: Range<usize> = 116..124;
    pub(in super::super) const SIZE: Range<usize> = 124..136;
    pub(in super::super) const TIME: Range<usize> = 136..148;
    pub(in super::super) const CHECKSUM: Range<usize> = 148..156;
    pub(in super::super) const KIND: usize = 156;
    pub(in super::super) const MAGIC: Range<usize> = 257..265;
    pub(in super::super) const PREFIX: Range<usize> = 345..500;
}

/// Magic and version of ustar and PAX.
pub(super) const USTAR: &[u8; 8] = b"ustar\x0000";
/// The same of GNU.
pub(super) const GNU: &[u8; 8] = b"ustar  \0";

/// What stands before a file's bytes; `time` in Unix seconds. Names that ustar cannot hold get a PAX header.
pub(super) fn head(path: &str, size: u64, time: u64, executable: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let name: String =
        path.chars().map(|c| if c.is_ascii() { c } else { '_' }).take(field::NAME.len()).collect();
    if name != path {
        let record = record("path", path);
        bytes.extend(header("PaxHeaders/path", record.len() as u64, time, 0o644, b'x'));
        bytes.extend(&record);
        bytes.extend(std::iter::repeat_n(0, padding(record.len() as u64)));
    }
    let mode = if executable { 0o755 } else { 0o644 };
    bytes.extend(header(&name, size, time, mode, b'0'));
    bytes
}

/// How many bytes fill the last block of `size` bytes.
pub(super) fn padding(size: u64) -> usize {
    // Less than a block.
    (size.next_multiple_of(BLOCK_BYTES as u64) - size) as usize
}

/// The sum that a header's block carries: its bytes, those of the sum taken for spaces.
pub(super) fn checksum(block: &Block) -> u64 {
    let counted =
        |(at, byte): (usize, &u8)| u64::from(if field::CHECKSUM.contains(&at) { b' ' } else { *byte });
    block.iter().enumerate().map(counted).sum()
}

fn header(name: &str, size: u64, time: u64, mode: u64, kind: u8) -> Block {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |place: std::ops::Range<usize>, bytes: &[u8]| {
        for (to, from) in block[place].iter_mut().zip(bytes) {
            *to = *from;
        }
    };
    put(field::NAME, name.as_bytes());
    put(field::MODE, format!("{mode:07o}\0").as_bytes());
    put(field::UID, b"0000000\0");
    put(field::GID, b"0000000\0");
    put(field::SIZE, format!("{size:011o}\0").as_bytes());
    put(field::TIME, format!("{time:011o}\0").as_bytes());
    put(field::KIND..field::KIND + 1, &[kind]);
    put(field::MAGIC, USTAR);
    let sum = checksum(&block);
    for (to, from) in block[field::CHECKSUM].iter_mut().zip(format!("{sum:06o}\0 ").as_bytes()) {
        *to = *from;
    }
    block
}

/// A record of a PAX header: its length, which counts itself, a key and a value.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_itself() {
        assert_eq!(record("path", "a"), b"9 path=a\n");
        for length in 1..1200 {
            let record = record("path", &"x".repeat(length));
            let told: Option<usize> =
                std::str::from_utf8(&record).ok().and_then(|text| text.split(' ').next()?.parse().ok());
            assert_eq!(told, Some(record.len()));
        }
    }

    #[test]
    fn heads_are_whole_blocks() {
        for path in ["a", "ä", &"long/".repeat(40)] {
            assert_eq!(head(path, 5, 1, true).len() % BLOCK_BYTES, 0);
        }
        assert_eq!((padding(0), padding(1), padding(512), padding(513)), (0, 511, 0, 511));
    }
}
