//! Tar as it is read: strictly, because an archive that two programs read differently shows one of them what the other
//! did not check. Whatever is not plainly one thing is refused.

use bytes::{Bytes, BytesMut};
use coditect_store::blobs::MAX_BLOB_BYTES;
use coditect_store::file_path::MAX_PATH_BYTES;

use super::MAX_ARCHIVE_BYTES;
use super::format::{BLOCK_BYTES, Block, GNU, USTAR, checksum, field, padding};
use crate::error::ApiError;
use crate::incoming::Incoming;

/// The most entries of an archive.
const MAX_ENTRIES: u32 = 100_000;
/// The most bytes that the PAX header of an entry may have.
const MAX_EXTENDED_BYTES: u64 = 64 << 10;

/// A file or directory in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name, without `./` at its beginning and without a slash at its end. Nothing else is known of it.
    pub(super) path: String,
    pub(super) is_directory: bool,
    /// The bytes that follow.
    pub(super) size: u64,
    pub(super) executable: bool,
}

/// What a header says.
#[derive(Debug)]
struct Header {
    name: String,
    size: u64,
    mode: u64,
    kind: u8,
}

/// What a PAX header says of the entry after it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extended {
    path: Option<String>,
    size: Option<u64>,
}

/// An archive being read.
pub(super) struct Reader {
    body: Incoming,
    /// What has come and was not read yet.
    held: Bytes,
    /// The bytes that came.
    total: u64,
    entries: u32,
    /// What is left of the entry's bytes, and of the last block's filling.
    left: u64,
    filling: usize,
}

impl Reader {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, held: Bytes::new(), total: 0, entries: 0, left: 0, filling: 0 }
    }

    /// The next entry; `None` after the last, when all of the body has been read.
    pub(super) async fn next(&mut self) -> Result<Option<Entry>, ApiError> {
        while self.content().await?.is_some() {}
        let (mut extended, mut long_name) = (None, None);
        loop {
            let block = self.block().await?;
            if block.iter().all(|byte| *byte == 0) {
                if extended.is_some() || long_name.is_some() {
                    return Err(refused("", "the archive ends with a header that is about nothing"));
                }
                return self.end().await.map(|()| None);
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(ApiError::validation("archive", format!("has more than {MAX_ENTRIES} entries")));
            }
            let header = header(&block).map_err(|reason| refused(&shown(&block[field::NAME]), reason))?;
            let wrong = |reason| refused(&header.name, reason);
            match header.kind {
                b'x' | b'L' if extended.is_some() || long_name.is_some() => {
                    return Err(wrong("more than one header names the entry after it"));
                }
                b'x' => {
                    let data = self.small(header.size, MAX_EXTENDED_BYTES).await?;
                    extended = Some(parse_extended(&data, false).map_err(wrong)?);
                }
                b'g' => {
                    let data = self.small(header.size, MAX_EXTENDED_BYTES).await?;
                    parse_extended(&data, true).map_err(wrong)?;
                }
                b'L' => {
                    let data = self.small(header.size, MAX_PATH_BYTES as u64 + 1).await?;
                    let name = data.strip_suffix(&[0]).unwrap_or(&data);
                    let name = std::str::from_utf8(name).ok().filter(|name| !name.contains('\0'));
                    long_name = Some(name.ok_or_else(|| wrong("its long name is not UTF-8"))?.to_owned());
                }
                _ => return self.entry(header, extended.unwrap_or_default(), long_name).map(Some),
            }
        }
    }

    /// The next bytes of the entry; `None` at its end.
    pub(super) async fn content(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.left > 0 {
            let bytes = self.some(self.left).await?;
            self.left -= bytes.len() as u64;
            return Ok(Some(bytes));
        }
        while self.filling > 0 {
            self.filling -= self.some(self.filling as u64).await?.len();
        }
        Ok(None)
    }

    fn entry(
        &mut self,
        header: Header,
        extended: Extended,
        long_name: Option<String>,
    ) -> Result<Entry, ApiError> {
        let name = extended.path.or(long_name).unwrap_or(header.name);
        let wrong = |reason| Err(refused(&name, reason));
        let is_directory = match header.kind {
            b'0' | 0 => false,
            b'5' => true,
            b'1' | b'2' => return wrong("links are not taken"),
            b'3' | b'4' | b'6' => return wrong("devices and pipes are not taken"),
            b'S' => return wrong("sparse files are not taken"),
            _ => return wrong("entries of this type are not taken"),
        };
        if extended.size.is_some_and(|size| size != header.size) {
            return wrong("its two headers give it different sizes");
        }
        if is_directory && header.size > 0 {
            return wrong("a directory with content");
        }
        if !is_directory && header.size > MAX_BLOB_BYTES {
            return wrong("a file has at most 268435456 bytes");
        }
        let inner = if name == "." { "" } else { name.strip_prefix("./").unwrap_or(&name) };
        let path = match inner.strip_suffix('/') {
            Some(_) if !is_directory => return wrong("a file whose name ends with a slash"),
            Some(path) => path,
            None => inner,
        };
        if path.is_empty() && !is_directory {
            return wrong("a file without a name");
        }
        self.left = header.size;
        self.filling = padding(header.size);
        let executable = header.mode & 0o100 != 0;
        Ok(Entry { path: path.to_owned(), is_directory, size: header.size, executable })
    }

    /// After the first empty block there is another one, and nothing but zero bytes to the body's end.
    async fn end(&mut self) -> Result<(), ApiError> {
        let followed = || refused("", "something follows the end of the archive");
        if self.block().await?.iter().any(|byte| *byte != 0) {
            return Err(followed());
        }
        while self.fill().await? {
            if std::mem::take(&mut self.held).iter().any(|byte| *byte != 0) {
                return Err(followed());
            }
        }
        Ok(())
    }

    async fn block(&mut self) -> Result<Block, ApiError> {
        let bytes = self.exactly(BLOCK_BYTES as u64).await?;
        bytes.as_ref().try_into().map_err(|_| cut_off())
    }

    /// The bytes of a header that is about another entry, and what fills their last block.
    async fn small(&mut self, size: u64, limit: u64) -> Result<Bytes, ApiError> {
        if size > limit {
            return Err(refused("", "a header is too large"));
        }
        let bytes = self.exactly(size).await?;
        self.exactly(padding(size) as u64).await?;
        Ok(bytes)
    }

    async fn exactly(&mut self, size: u64) -> Result<Bytes, ApiError> {
        let mut bytes = BytesMut::new();
        while (bytes.len() as u64) < size {
            bytes.extend_from_slice(&self.some(size - bytes.len() as u64).await?);
        }
        Ok(bytes.freeze())
    }

    /// Some of the next bytes, at least one.
    async fn some(&mut self, most: u64) -> Result<Bytes, ApiError> {
        if !self.fill().await? {
            return Err(cut_off());
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.held.len());
        Ok(self.held.split_to(most))
    }

    /// False at the body's end.
    async fn fill(&mut self) -> Result<bool, ApiError> {
        if self.held.is_empty() {
            let Some(bytes) = self.body.next().await? else { return Ok(false) };
            self.total += bytes.len() as u64;
            if self.total > MAX_ARCHIVE_BYTES {
                return Err(ApiError::PayloadTooLarge { limit: MAX_ARCHIVE_BYTES });
            }
            self.held = bytes;
        }
        Ok(true)
    }
}

fn cut_off() -> ApiError {
    ApiError::validation("archive", "is cut off: it does not end with two empty blocks")
}

fn refused(name: &str, reason: &'static str) -> ApiError {
    let field = if name.is_empty() { "archive".to_owned() } else { format!("entry `{name}`") };
    ApiError::validation(field, reason)
}

/// A name that may be anything, for a message.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(text(name)).into_owned()
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn header(block: &Block) -> Result<Header, &'static str> {
    if number(&block[field::CHECKSUM]) != Some(checksum(block)) {
        return Err("its checksum is wrong");
    }
    let magic = &block[field::MAGIC];
    if magic != USTAR && magic != GNU {
        return Err("it is neither ustar, PAX nor GNU");
    }
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| "its name is not UTF-8");
    let name = utf8(text(&block[field::NAME]))?;
    // GNU has other things where ustar has the prefix.
    let prefix = if magic == USTAR { utf8(text(&block[field::PREFIX]))? } else { "" };
    let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    let size = number(&block[field::SIZE]).ok_or("its size is no octal number")?;
    let mode = number(&block[field::MODE]).ok_or("its mode is no octal number")?;
    Ok(Header { name, size, mode, kind: block[field::KIND] })
}

/// An octal number: spaces, digits, then nothing but NULs and spaces. Not GNU's other encoding.
fn number(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_start_matches(' ').trim_end_matches(['\0', ' ']);
    let octal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    octal.then(|| u64::from_str_radix(text, 8).ok())?
}

/// Reads the records of a PAX header. What says other things than this program would do is refused.
fn parse_extended(mut data: &[u8], global: bool) -> Result<Extended, &'static str> {
    const MALFORMED: &str = "its PAX header is malformed";
    let mut extended = Extended::default();
    while !data.is_empty() {
        let space = data.iter().position(|byte| *byte == b' ').ok_or(MALFORMED)?;
        let length: usize = digits(&data[..space]).and_then(|n| n.try_into().ok()).ok_or(MALFORMED)?;
        let (record, rest) = data.split_at_checked(length).ok_or(MALFORMED)?;
        let record =
            record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or(MALFORMED)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(MALFORMED)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"comment" => {}
            _ if global => return Err("a global PAX header may hold comments only"),
            b"path" => {
                let path = std::str::from_utf8(value).map_err(|_| "its name is not UTF-8")?;
                if path.is_empty() || path.contains('\0') || extended.path.replace(path.to_owned()).is_some()
                {
                    return Err("its PAX header does not give it one name");
                }
            }
            b"size" => {
                let size = digits(value).ok_or(MALFORMED)?;
                if extended.size.replace(size).is_some() {
                    return Err("its PAX header gives it two sizes");
                }
            }
            b"mtime" | b"atime" | b"ctime" | b"uid" | b"gid" | b"uname" | b"gname" => {}
            b"hdrcharset" if value == b"ISO-IR 10646 2000 UTF-8" => {}
            _ if [&b"SCHILY.xattr."[..], b"SCHILY.acl.", b"LIBARCHIVE."]
                .iter()
                .any(|at| key.starts_with(at)) => {}
            b"linkpath" => return Err("links are not taken"),
            _ if key.starts_with(b"GNU.sparse.") => return Err("sparse files are not taken"),
            _ => return Err("its PAX header says what is not known here"),
        }
        data = rest;
    }
    Ok(extended)
}

/// A decimal number, digits alone.
fn digits(text: &[u8]) -> Option<u64> {
    let all_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    all_digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_and_nothing_else() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0 ", Some(0o644)),
            (b"00000000012\0", Some(10)),
            (b"\x80\0\0\0\0\0\0\x01", None),
            (b"0000-1\0\0", None),
            (b"00089\0\0\0", None),
            (b"12\x003\0\0\0", None),
            (b"\0\0\0\0", None),
            (b"7777777777777777777777777", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn pax_records_say_one_thing_each() {
        let read = |data: &[u8]| parse_extended(data, false);
        let named = Extended { path: Some("a=b\nc".into()), size: Some(7) };
        assert_eq!(read(b"14 path=a=b\nc\n9 size=7\n"), Ok(named));
        assert_eq!(read(b"20 mtime=1800000.25\n"), Ok(Extended::default()));
        for data in [
            &b"9 path=a\n9 path=b\n"[..],
            b"9 size=7\n9 size=7\n",
            b"8 path=\n",
            b"11 path=a\0\n",
            b"8 path=a\n",
            b"11 path=a\n",
            b"99 path=a\n",
            b"path=a\n",
            b"+9 path=a\n",
            b"5 abc\n",
            b"22 GNU.sparse.major=1\n",
            b"14 linkpath=a\n",
            b"22 SCHILY.realsize=10\n",
            b"21 hdrcharset=BINARY\n",
            b"9 path=\xff\n",
        ] {
            assert!(read(data).is_err(), "{:?}", String::from_utf8_lossy(data));
        }
        assert!(parse_extended(b"13 comment=a\n", true).is_ok());
        assert!(parse_extended(b"9 path=a\n", true).is_err());
    }
}
