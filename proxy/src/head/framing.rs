//! Whether a head can be read in one way only (RFC 9112, sections 2 to 6).

use memchr::{memchr, memmem};
use std::net::Ipv6Addr;

/// The most header lines of one head. Pingora takes no more.
const MAX_HEADER_LINES: usize = 256;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request line is none.
    RequestLine,
    /// CONNECT: the edge is nobody's forward proxy.
    Method,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A line ends in a bare LF, or holds a bare CR or a NUL.
    LineEnding,
    /// A header line is folded, has no name, a name that is no token, or a control character in its value.
    HeaderLine,
    /// No `Host`, several, one that is no host, or not the one of an absolute target.
    Host,
    /// Several `Content-Length`, or one that is no number.
    ContentLength,
    /// `Content-Length` and `Transfer-Encoding` together.
    BothLengths,
    /// A `Transfer-Encoding` other than `chunked`, or any in HTTP/1.0.
    TransferEncoding,
    /// A chunked body that is none.
    Chunks,
    /// Longer, or of more lines, than the limit.
    TooLarge,
    /// Not complete in time.
    Timeout,
}

impl Refusal {
    /// The HTTP status.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::TooLarge => 431,
            Self::Timeout => 408,
            Self::Version => 505,
            Self::Method => 405,
            _ => 400,
        }
    }

    /// The contract's error code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "HEADER_TOO_LARGE",
            Self::Timeout => "REQUEST_TIMEOUT",
            Self::Version => "HTTP_VERSION_NOT_SUPPORTED",
            Self::Method => "METHOD_NOT_ALLOWED",
            _ => "BAD_REQUEST",
        }
    }

    /// What is wrong, for the client and the log.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::RequestLine => "the request line is malformed",
            Self::Method => "CONNECT is not served",
            Self::Version => "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here",
            Self::LineEnding => "a header line ends in a bare LF or holds a bare CR or NUL",
            Self::HeaderLine => "a header line is malformed",
            Self::Host => "exactly one valid Host header is required, the same as in an absolute target",
            Self::ContentLength => "the Content-Length is ambiguous or no number",
            Self::BothLengths => "Content-Length and Transfer-Encoding exclude each other",
            Self::TransferEncoding => "the only Transfer-Encoding taken is chunked, in HTTP/1.1",
            Self::Chunks => "the chunked body is malformed",
            Self::TooLarge => "the request line and headers are larger than 64 KiB or more than 256",
            Self::Timeout => "the request's head did not arrive in time",
        }
    }
}

/// The offset just past the blank line. `searched` bytes were looked at before without finding it.
///
/// A bare LF ends a line here too, for [`check`] to refuse: nobody shall wait for more of it.
pub(super) fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    let tail = &bytes[from..];
    let strict = memmem::find(tail, b"\n\r\n").map(|at| from + at + 3);
    let loose = memmem::find(tail, b"\n\n").map(|at| from + at + 2);
    match (strict, loose) {
        (Some(strict), Some(loose)) => Some(strict.min(loose)),
        (strict, loose) => strict.or(loose),
    }
}

/// Judges what there is of a head as soon as its first line is whole: whoever speaks another protocol is told at once.
pub(super) fn check_beginning(head: &[u8]) -> Result<(), Refusal> {
    match memchr(b'\n', head) {
        Some(end) => {
            let line = head[..end].strip_suffix(b"\r").ok_or(Refusal::LineEnding)?;
            request_line(line).map(drop)
        }
        None => Ok(()),
    }
}

/// What is to be known of a sound head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sound {
    /// Whether its body is chunked.
    pub(super) chunked: bool,
}

/// Judges a head that ends with its blank line.
pub(super) fn check(head: &[u8]) -> Result<Sound, Refusal> {
    if memchr(0, head).is_some() {
        return Err(Refusal::LineEnding);
    }
    let mut lines = Lines(head);
    let RequestLine { version, authority } = request_line(lines.next().ok_or(Refusal::RequestLine)??)?;
    let mut seen = Seen { authority, ..Seen::default() };
    for (count, line) in lines.enumerate() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if count == MAX_HEADER_LINES {
            return Err(Refusal::TooLarge);
        }
        let colon = memchr(b':', line).ok_or(Refusal::HeaderLine)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let sound = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
        if !sound || value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Refusal::HeaderLine);
        }
        seen.header(name, value.trim_ascii())?;
    }
    seen.judge(version)?;
    Ok(Sound { chunked: seen.transfer_encoding })
}

#[derive(PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// What the request line says.
struct RequestLine<'a> {
    version: Version,
    /// The authority of an absolute target.
    authority: Option<&'a [u8]>,
}

fn request_line(line: &[u8]) -> Result<RequestLine<'_>, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    let sound = !method.is_empty()
        && method.iter().all(|byte| is_token(*byte))
        && !target.is_empty()
        && target
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'#' | b'`'));
    if !sound {
        return Err(Refusal::RequestLine);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        other if other.starts_with(b"HTTP/") => return Err(Refusal::Version),
        _ => return Err(Refusal::RequestLine),
    };
    if method == b"CONNECT" {
        return Err(Refusal::Method);
    }
    Ok(RequestLine { version, authority: authority(target)? })
}

/// The authority of a target in absolute form; none in origin form and for `*` (RFC 9112, 3.2).
fn authority(target: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    if target.starts_with(b"/") || target == b"*" {
        return Ok(None);
    }
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"http://"));
    let rest = scheme.and_then(|scheme| target.get(scheme.len()..)).ok_or(Refusal::RequestLine)?;
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    if is_host(&rest[..end]) { Ok(Some(&rest[..end])) } else { Err(Refusal::RequestLine) }
}

/// The headers that say where the message ends and for whom it is.
#[derive(Default)]
struct Seen<'a> {
    authority: Option<&'a [u8]>,
    host: bool,
    content_length: bool,
    transfer_encoding: bool,
}

impl Seen<'_> {
    fn header(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name.eq_ignore_ascii_case(b"host") {
            let another = self.authority.is_some_and(|authority| authority != value);
            if std::mem::replace(&mut self.host, true) || !is_host(value) || another {
                return Err(Refusal::Host);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let number = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
            if std::mem::replace(&mut self.content_length, true) || !number {
                return Err(Refusal::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let chunked = value.eq_ignore_ascii_case(b"chunked");
            if std::mem::replace(&mut self.transfer_encoding, true) || !chunked {
                return Err(Refusal::TransferEncoding);
            }
        }
        Ok(())
    }

    fn judge(&self, version: Version) -> Result<(), Refusal> {
        if self.content_length && self.transfer_encoding {
            Err(Refusal::BothLengths)
        } else if self.transfer_encoding && version == Version::Http10 {
            Err(Refusal::TransferEncoding)
        } else if !self.host && version == Version::Http11 {
            Err(Refusal::Host)
        } else {
            Ok(())
        }
    }
}

/// Lines that end in CRLF and hold no other CR.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Some(match line.strip_suffix(b"\r") {
            Some(line) if memchr(b'\r', line).is_none() => Ok(line),
            _ => Err(Refusal::LineEnding),
        })
    }
}

/// RFC 9110, 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `host [":" port]` (RFC 9110, 7.2), without user information, path or blanks.
fn is_host(value: &[u8]) -> bool {
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    let (host_sound, port) = match value.strip_prefix(b"[") {
        Some(v6) => match memchr(b']', v6) {
            Some(end) => (text(&v6[..end]).parse::<Ipv6Addr>().is_ok(), &v6[end + 1..]),
            None => return false,
        },
        None => {
            let (host, port) = value.split_at(memchr(b':', value).unwrap_or(value.len()));
            let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
            (!host.is_empty() && host.len() <= 255 && host.iter().all(in_name), port)
        }
    };
    let port_sound = match port.strip_prefix(b":") {
        Some(b"") => true,
        Some(digits) => digits.iter().all(u8::is_ascii_digit) && text(digits).parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    host_sound && port_sound
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judge(rest: &str) -> Result<(), Refusal> {
        check(format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n").as_bytes()).map(drop)
    }

    #[test]
    fn an_ordinary_head_passes() {
        judge("Accept: */*\r\nX-Empty:\r\nContent-Length: 0\r\n").unwrap();
        judge("Transfer-Encoding: chunked\r\n").unwrap();
        check(b"OPTIONS * HTTP/1.0\r\n\r\n").unwrap();
        check(b"GET /a?b={c}|d HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").unwrap();
    }

    #[test]
    fn ambiguous_lengths_are_refused() {
        assert_eq!(judge("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), Err(Refusal::BothLengths));
        assert_eq!(judge("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), Err(Refusal::BothLengths));
        assert_eq!(judge("Content-Length: 1\r\nContent-Length: 2\r\n"), Err(Refusal::ContentLength));
        assert_eq!(judge("Content-Length: 1\r\nContent-Length: 1\r\n"), Err(Refusal::ContentLength));
        for value in ["", "+1", "-1", "0x1", "1,1", "1 1", "9999999999999999999"] {
            assert_eq!(
                judge(&format!("Content-Length: {value}\r\n")),
                Err(Refusal::ContentLength),
                "{value}"
            );
        }
        for value in ["gzip", "chunked, chunked", "identity", "gzip, chunked", "chunke\u{64}x", ""] {
            assert_eq!(
                judge(&format!("Transfer-Encoding: {value}\r\n")),
                Err(Refusal::TransferEncoding),
                "{value}"
            );
        }
        let old = check(b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(old, Err(Refusal::TransferEncoding));
    }

    #[test]
    fn malformed_lines_are_refused() {
        assert_eq!(judge("A: b\nC: d\r\n"), Err(Refusal::LineEnding));
        assert_eq!(judge("A: b\rC: d\r\n"), Err(Refusal::LineEnding));
        assert_eq!(judge("A: b\0\r\n"), Err(Refusal::LineEnding));
        for line in [
            " folded: x",
            "\tfolded",
            "Name : x",
            ": x",
            "no colon",
            "b\u{e4}d: x",
            "a b: x",
            "a: b\u{1}",
            "a: b\u{7f}",
        ] {
            assert_eq!(judge(&format!("{line}\r\n")), Err(Refusal::HeaderLine), "{line}");
        }
        for value in ["\u{b}1", "1\u{c}"] {
            assert_eq!(judge(&format!("Content-Length: {value}\r\n")), Err(Refusal::HeaderLine), "{value:?}");
        }
        judge("Content-Length:\t1 \r\nA: b\tc\u{e4}\r\n").unwrap();
    }

    #[test]
    fn more_headers_than_the_limit_are_too_many() {
        assert_eq!(judge(&"A: b\r\n".repeat(MAX_HEADER_LINES - 1)), Ok(()));
        assert_eq!(judge(&"A: b\r\n".repeat(MAX_HEADER_LINES)), Err(Refusal::TooLarge));
    }

    #[test]
    fn a_beginning_that_cannot_become_a_request_is_refused_at_once() {
        assert_eq!(check_beginning(b"GET / HTTP/1.1\r\nHo"), Ok(()));
        assert_eq!(check_beginning(b"GET / HT"), Ok(()));
        assert_eq!(check_beginning(b"SSH-2.0-x\r\n"), Err(Refusal::RequestLine));
        assert_eq!(check_beginning(b"GET /\r\n"), Err(Refusal::RequestLine));
        assert_eq!(check_beginning(b"GET / HTTP/1.1\nHo"), Err(Refusal::LineEnding));
    }

    #[test]
    fn request_lines_are_exact() {
        let line = |line: &str| check(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).map(drop);
        for bad in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET /a b HTTP/1.1",
            "G@T / HTTP/1.1",
            "GET /\u{7f} HTTP/1.1",
            "GET example.com:80 HTTP/1.1",
            "GET https://a/ HTTP/1.1",
            "GET http:///x HTTP/1.1",
            "GET http://u@a/ HTTP/1.1",
            "GET x HTTP/1.1",
            "",
        ] {
            assert_eq!(line(bad), Err(Refusal::RequestLine), "{bad}");
        }
        for good in ["GET http://a/x HTTP/1.1", "GET HTTP://a?x HTTP/1.1", "OPTIONS * HTTP/1.1"] {
            assert_eq!(line(good), Ok(()), "{good}");
        }
        assert_eq!(line("GET http://b/ HTTP/1.1"), Err(Refusal::Host));
        assert_eq!(line("CONNECT a:80 HTTP/1.1"), Err(Refusal::Method));
        for bad in ["GET / HTTP/1.2", "GET / HTTP/2.0", "GET / HTTP/0.9", "GET / HTTP/1.10"] {
            assert_eq!(line(bad), Err(Refusal::Version), "{bad}");
        }
    }

    #[test]
    fn a_host_is_there_once_and_is_one() {
        assert_eq!(check(b"GET / HTTP/1.1\r\n\r\n"), Err(Refusal::Host));
        assert_eq!(judge("Host: b\r\n"), Err(Refusal::Host));
        for bad in
            ["", "a b", "a/b", "u@a", "a:b", "a:123456", "a:65536", "[::1", "[zz]", "[::1]x", "a,b", "a?b"]
        {
            let head = format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n");
            assert_eq!(check(head.as_bytes()), Err(Refusal::Host), "{bad}");
        }
    }

    #[test]
    fn the_end_is_found_however_the_bytes_arrive() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        let end = head.len() - 4;
        for seen in 0..end {
            assert_eq!(end_of_head(head, seen), Some(end), "{seen}");
            assert_eq!(end_of_head(&head[..seen], 0), None, "{seen}");
        }
        assert_eq!(end_of_head(b"GET / HTTP/1.1\n\nrest", 0), Some(16));
        assert_eq!(end_of_head(b"GET / HTTP/1.1\n\r\nrest", 0), Some(17));
    }

    #[test]
    fn no_bytes_can_panic() {
        let mut state = 0x9e37_79b9_u64;
        let alphabet = b"GET / HTTP/1.1\r\n:Hostontent-Length0\0\t\xff[]";
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    alphabet[(state >> 33) as usize % alphabet.len()]
                })
                .collect();
            let _judged = check(&bytes);
            let _end = end_of_head(&bytes, 0);
        }
    }
}
