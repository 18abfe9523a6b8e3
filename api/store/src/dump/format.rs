//! The export format, version 1. All numbers are big-endian and unsigned unless said otherwise.
//!
//! ```text
//! export := header block* end
//! header := "coditect-export\n" | format: u32 = 1 | flags: u32 | created_at: i64, Unix ms | check
//! block  := length: u32, 1 to MAX_BLOCK_BYTES | rows of that length | check
//! row    := key length: u16 | key | value length: u32 | value
//! end    := 0: u32 | rows: u64 | snapshots: u32 | digest: 32 bytes
//! check  := the first 8 bytes of the SHA-256 of everything before them in the file
//! digest := the SHA-256 of everything before it in the file
//! ```
//!
//! Keys are relative to the root prefix they were read under, and ascend strictly through the whole file, so
//! that no key can come twice. A row does not cross blocks. Bit 0 of `flags` says that all rows are of one
//! moment; other bits are reserved and zero. `snapshots` counts the moments the rows are of. Nothing follows
//! the end.
//!
//! Since every check covers all that precedes it, a block that was changed, dropped, doubled or moved is
//! found where it happened. Checks find damage; they do not prove who wrote a file.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::contract::Row;
use crate::limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// What an export begins with.
const MAGIC: [u8; 16] = *b"coditect-export\n";
/// The format written and read here.
const FORMAT: u32 = 1;
/// The flag that says that all rows are of one moment.
const ONE_SNAPSHOT: u32 = 1;
/// Bytes of a check.
const CHECK_BYTES: usize = 8;
/// Bytes of the header before its check.
const HEADER_BYTES: usize = 32;
/// Bytes of a row beside its key and value.
const ROW_OVERHEAD: usize = 6;
/// A block ends with the row that makes it at least this long, in bytes. Importing, it is one transaction.
const BLOCK_BYTES: usize = 1 << 20;
/// The longest block, in bytes: also what a reader must be ready to hold.
pub const MAX_BLOCK_BYTES: usize = BLOCK_BYTES + ROW_OVERHEAD + MAX_KEY_BYTES + MAX_VALUE_BYTES;

/// Why a file cannot be read as an export.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It begins with something else.
    #[error("this is no export: it does not begin with `coditect-export`")]
    NotAnExport,
    /// It was written in a format, or with features, that this program does not know.
    #[error(
        "this export has {what} {found}, which this program does not know: use the newer one that wrote it"
    )]
    Newer {
        /// What is not known.
        what: &'static str,
        /// Its number.
        found: u32,
    },
    /// It ends too early.
    #[error("the export is cut off after {offset} bytes and {rows} rows")]
    Truncated {
        /// Whole bytes read.
        offset: u64,
        /// Whole rows before that.
        rows: u64,
    },
    /// Bytes in it are not what was written.
    #[error("the export is damaged between byte {offset} and its next check, after {rows} rows: {what}")]
    Damaged {
        /// Where the damaged part begins, in bytes from the file's begin.
        offset: u64,
        /// Rows before that.
        rows: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("the export cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What an export says about itself at its begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// When it was made, in Unix milliseconds.
    pub created_at: i64,
    /// Whether all rows are certainly of one moment.
    pub one_snapshot: bool,
}

/// What an export says about itself at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Its rows.
    pub rows: u64,
    /// How many moments the rows are of.
    pub snapshots: u32,
    /// SHA-256 of all of it up to here.
    pub digest: [u8; 32],
}

/// Turns rows into an export, piece by piece. It holds one block.
pub struct Encoder {
    hash: Sha256,
    block: BytesMut,
    rows: u64,
}

impl Encoder {
    /// Starts an export; the bytes are its begin.
    pub fn start(header: Header) -> (Self, Bytes) {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + CHECK_BYTES);
        out.put_slice(&MAGIC);
        out.put_u32(FORMAT);
        out.put_u32(if header.one_snapshot { ONE_SNAPSHOT } else { 0 });
        out.put_i64(header.created_at);
        let mut encoder = Self { hash: Sha256::new(), block: BytesMut::new(), rows: 0 };
        let out = encoder.checked(out);
        (encoder, out)
    }

    /// Adds a row, whose key is relative and greater than the one before; returns a block if one is full.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Option<Bytes> {
        if self.block.is_empty() {
            // Its length, once known.
            self.block.put_u32(0);
        }
        put_row(&mut self.block, key, value);
        self.rows += 1;
        if self.block.len() - size_of::<u32>() >= BLOCK_BYTES { self.end_block() } else { None }
    }

    /// The rest of the export.
    pub fn finish(mut self, snapshots: u32) -> (Bytes, Summary) {
        let mut out = BytesMut::from(self.end_block().unwrap_or_default());
        let mut end = BytesMut::new();
        end.put_u32(0);
        end.put_u64(self.rows);
        end.put_u32(snapshots);
        self.hash.update(&end);
        let digest: [u8; 32] = self.hash.finalize().into();
        end.put_slice(&digest);
        out.put_slice(&end);
        (out.freeze(), Summary { rows: self.rows, snapshots, digest })
    }

    fn end_block(&mut self) -> Option<Bytes> {
        let mut block = std::mem::take(&mut self.block);
        let rows = block.len().checked_sub(size_of::<u32>())?;
        let length = u32::try_from(rows).unwrap_or(u32::MAX).to_be_bytes();
        block.iter_mut().zip(length).for_each(|(place, byte)| *place = byte);
        Some(self.checked(block))
    }

    /// The bytes with a check after them.
    fn checked(&mut self, mut bytes: BytesMut) -> Bytes {
        self.hash.update(&bytes);
        let check = check(&self.hash);
        self.hash.update(check);
        bytes.put_slice(&check);
        bytes.freeze()
    }
}

/// Reads an export, block by block, and trusts none of it. It holds one block.
pub struct Decoder<R> {
    input: R,
    hash: Sha256,
    header: Header,
    offset: u64,
    rows: u64,
    last_key: Option<Vec<u8>>,
    summary: Option<Summary>,
}

impl<R: Read> Decoder<R> {
    /// Reads the header. Blocks on `input`, as [`Decoder::next_block`] does.
    pub fn start(input: R) -> Result<Self, FormatError> {
        let header = Header { created_at: 0, one_snapshot: false };
        let mut decoder =
            Self { input, hash: Sha256::new(), header, offset: 0, rows: 0, last_key: None, summary: None };
        decoder.header = decoder.read_header()?;
        Ok(decoder)
    }

    /// What the export says about itself.
    pub fn header(&self) -> Header {
        self.header
    }

    /// What the end says, once [`Decoder::next_block`] has returned `None`.
    pub fn summary(&self) -> Option<Summary> {
        self.summary
    }

    /// The next rows, with relative keys; `None` once the end was reached and everything was sound.
    pub fn next_block(&mut self) -> Result<Option<Vec<Row>>, FormatError> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let begin = self.offset;
        let length = u32::from_be_bytes(self.read_array()?);
        if length == 0 {
            self.summary = Some(self.read_end(begin)?);
            return Ok(None);
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_BLOCK_BYTES {
            return Err(self.damaged(begin, "a block is longer than any may be"));
        }
        let mut block = vec![0; length];
        self.read(&mut block)?;
        self.hash.update(&block);
        self.check(begin)?;
        self.parse(Bytes::from(block), begin).map(Some)
    }

    fn read_header(&mut self) -> Result<Header, FormatError> {
        let magic: [u8; MAGIC.len()] = match self.read_array() {
            Err(FormatError::Truncated { .. }) => return Err(FormatError::NotAnExport),
            read => read?,
        };
        if magic != MAGIC {
            return Err(FormatError::NotAnExport);
        }
        let format = u32::from_be_bytes(self.read_array()?);
        let flags = u32::from_be_bytes(self.read_array()?);
        let created_at = i64::from_be_bytes(self.read_array()?);
        if format != FORMAT {
            return Err(FormatError::Newer { what: "format", found: format });
        }
        self.check(0)?;
        if flags & !ONE_SNAPSHOT != 0 {
            return Err(FormatError::Newer { what: "flags", found: flags });
        }
        Ok(Header { created_at, one_snapshot: flags & ONE_SNAPSHOT != 0 })
    }

    fn read_end(&mut self, begin: u64) -> Result<Summary, FormatError> {
        let rows = u64::from_be_bytes(self.read_array()?);
        let snapshots = u32::from_be_bytes(self.read_array()?);
        let expected: [u8; 32] = self.hash.clone().finalize().into();
        let digest: [u8; 32] = self.read_array()?;
        if digest != expected {
            return Err(self.damaged(begin, "the digest at its end does not match"));
        }
        if rows != self.rows {
            return Err(self.damaged(begin, "it has more or fewer rows than its end says"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(self.damaged(self.offset, "something follows its end"));
        }
        Ok(Summary { rows, snapshots, digest })
    }

    /// Compares the next bytes with the check of all that was read.
    fn check(&mut self, begin: u64) -> Result<(), FormatError> {
        let expected = check(&self.hash);
        let found: [u8; CHECK_BYTES] = self.read_array()?;
        if found == expected { Ok(()) } else { Err(self.damaged(begin, "a check does not match")) }
    }

    fn parse(&mut self, mut block: Bytes, begin: u64) -> Result<Vec<Row>, FormatError> {
        let mut rows = Vec::new();
        while !block.is_empty() {
            let row = take_row(&mut block).ok_or_else(|| self.damaged(begin, "a row's lengths are wrong"))?;
            if self.last_key.as_ref().is_some_and(|last| *last >= row.key) {
                return Err(self.damaged(begin, "its keys do not ascend"));
            }
            self.last_key = Some(row.key.clone());
            rows.push(row);
        }
        self.rows += rows.len() as u64;
        Ok(rows)
    }

    /// Reads and hashes.
    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        self.hash.update(bytes);
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), FormatError> {
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(FormatError::Truncated { offset: self.offset, rows: self.rows })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn damaged(&self, offset: u64, what: &'static str) -> FormatError {
        FormatError::Damaged { offset, rows: self.rows, what }
    }
}

/// The check of everything hashed so far.
fn check(hash: &Sha256) -> [u8; CHECK_BYTES] {
    let digest: [u8; 32] = hash.clone().finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

/// Appends a row. The limits of the contract keep both lengths within their fields.
pub(super) fn put_row(out: &mut BytesMut, key: &[u8], value: &[u8]) {
    out.put_u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
    out.put_slice(key);
    out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
    out.put_slice(value);
}

/// Takes a row from the front; `None` if the bytes are not one.
fn take_row(block: &mut Bytes) -> Option<Row> {
    let key = take(block, 2)?;
    let key = take(block, key.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))?;
    let value = take(block, 4)?;
    let value = take(block, value.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))?;
    (key.len() <= MAX_KEY_BYTES && value.len() <= MAX_VALUE_BYTES).then(|| Row { key: key.to_vec(), value })
}

fn take(block: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= block.len()).then(|| block.split_to(length))
}
