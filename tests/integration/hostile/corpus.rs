//! Raw requests: their bytes, and what becomes of them.

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered with this status and code, the connection ends, and no upstream hears of it.
    Refused(u16, &'static str),
    /// The same, but what is wrong arrives so late that a route's gate may have answered before.
    RefusedLate(u16, &'static str),
    /// As refused, but the connection goes on: nobody can be wrong about where the request ends.
    Denied(u16, &'static str),
    /// So many requests reach the upstream, on a connection that goes on.
    Forwarded(usize),
    /// So many requests reach the upstream, then the connection ends.
    ForwardedLast(usize),
}

/// One request, or what is to be taken for one.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) fate: Fate,
}

use Fate::{Denied, Forwarded, ForwardedLast, Refused, RefusedLate};

const BAD: Fate = Refused(400, "BAD_REQUEST");
const LARGE: Fate = Refused(431, "HEADER_TOO_LARGE");
const VERSION: Fate = Refused(505, "HTTP_VERSION_NOT_SUPPORTED");
const METHOD: Fate = Refused(405, "METHOD_NOT_ALLOWED");

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, fate: Fate) -> Case {
    Case { name, bytes: bytes.into(), fate }
}

/// Everything, for a public route that begins with `prefix`.
pub(super) fn all(prefix: &str) -> Vec<Case> {
    let mut cases = lengths(prefix);
    cases.extend(chunks(prefix));
    cases.extend(lines(prefix));
    cases.extend(hosts(prefix));
    cases.extend(targets(prefix));
    cases.extend(sizes(prefix));
    cases.extend(sequences(prefix));
    cases
}

/// Where a message ends (RFC 9112, 6).
fn lengths(prefix: &str) -> Vec<Case> {
    let with = |name, headers: &str, body: &str, fate| {
        let bytes = format!("POST {prefix}/x HTTP/1.1\r\nHost: edge.test\r\n{headers}\r\n{body}");
        case(name, bytes, fate)
    };
    let empty = "0\r\n\r\n";
    vec![
        with("CL then TE", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", empty, BAD),
        with("TE then CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", empty, BAD),
        with(
            "CL and TE of a smuggler",
            "Content-Length: 46\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: edge.test\r\n\r\n",
            BAD,
        ),
        with("TE after a tab", "Transfer-Encoding:\tchunked\r\n", empty, Forwarded(1)),
        with("TE before a tab", "Transfer-Encoding: chunked\t\r\n", empty, Forwarded(1)),
        with("TE in capitals", "TRANSFER-ENCODING: CHUNKED\r\n", empty, Forwarded(1)),
        with("TE after a tab, and CL", "Content-Length: 5\r\nTransfer-Encoding:\tchunked\r\n", empty, BAD),
        with("TE after a vertical tab", "Transfer-Encoding: \u{b}chunked\r\n", empty, BAD),
        with("TE after a form feed", "Transfer-Encoding: \u{c}chunked\r\n", empty, BAD),
        with("TE folded", "Transfer-Encoding:\r\n chunked\r\n", empty, BAD),
        with("TE with a blank before its colon", "Transfer-Encoding : chunked\r\n", empty, BAD),
        with("TE with a blank before its name", " Transfer-Encoding: chunked\r\n", empty, BAD),
        with("xchunked", "Transfer-Encoding: xchunked\r\n", empty, BAD),
        with("chunked, identity", "Transfer-Encoding: chunked, identity\r\n", empty, BAD),
        with("identity, chunked", "Transfer-Encoding: identity, chunked\r\n", empty, BAD),
        with("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", empty, BAD),
        with("chunked quoted", "Transfer-Encoding: \"chunked\"\r\n", empty, BAD),
        with("chunked;q=1", "Transfer-Encoding: chunked;q=1\r\n", empty, BAD),
        with("identity", "Transfer-Encoding: identity\r\n", "", BAD),
        with("empty TE", "Transfer-Encoding:\r\n", empty, BAD),
        with("two TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", empty, BAD),
        with(
            "two TE that differ",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            empty,
            BAD,
        ),
        with(
            "transfer_encoding and CL",
            "Transfer_Encoding: chunked\r\nContent-Length: 3\r\n",
            "abc",
            Forwarded(1),
        ),
        with("two CL, the same", "Content-Length: 3\r\nContent-Length: 3\r\n", "abc", BAD),
        with("two CL that differ", "Content-Length: 3\r\nContent-Length: 4\r\n", "abc", BAD),
        with("CL 1,1", "Content-Length: 1,1\r\n", "a", BAD),
        with("CL +1", "Content-Length: +1\r\n", "a", BAD),
        with("CL -1", "Content-Length: -1\r\n", "a", BAD),
        with("CL 0x1", "Content-Length: 0x1\r\n", "a", BAD),
        with("CL 1 1", "Content-Length: 1 1\r\n", "a", BAD),
        with("CL empty", "Content-Length:\r\n", "", BAD),
        with("CL in a form feed", "Content-Length: \u{c}3\r\n", "abc", BAD),
        with("CL beyond 64 bits", "Content-Length: 18446744073709551617\r\n", "a", BAD),
        with("CL of nineteen digits", "Content-Length: 9999999999999999999\r\n", "a", BAD),
        with("CL with zeros before", "Content-Length: 003\r\n", "abc", Forwarded(1)),
        case(
            "TE in HTTP/1.0",
            format!(
                "POST {prefix}/x HTTP/1.0\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n{empty}"
            ),
            BAD,
        ),
        case("neither length", format!("POST {prefix}/x HTTP/1.1\r\nHost: edge.test\r\n\r\n"), Forwarded(1)),
    ]
}

/// Chunked bodies (RFC 9112, 7.1).
fn chunks(prefix: &str) -> Vec<Case> {
    let with = |name, body: Vec<u8>, fate| {
        let head =
            format!("POST {prefix}/x HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        case(name, [head.as_bytes(), &body].concat(), fate)
    };
    let flood = |start: &str, byte: &str, count, end: &str| {
        format!("{start}{}{end}", byte.repeat(count)).into_bytes()
    };
    let end = "\r\nabc\r\n0\r\n\r\n";
    vec![
        with("chunks", b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n".to_vec(), Forwarded(1)),
        with("an extension and a trailer", b"3;a=\"b\"\r\nabc\r\n0\r\nX-T: 1\r\n\r\n".to_vec(), Forwarded(1)),
        with("size zz", b"zz\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("size -3", b"-3\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("size +3", b"+3\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("size 0x3", b"0x3\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("size after a blank", b" 3\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("no size", b"\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("bare LFs", b"3\nabc\n0\n\n".to_vec(), BAD),
        with("a bare LF in an extension", b"3;a\nb\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("a bare CR in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("a NUL in an extension", b"3;\0\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("no CRLF after the data", b"3\r\nabcXX0\r\n\r\n".to_vec(), BAD),
        with("data longer than its size", b"3\r\nabcdef\r\n0\r\n\r\n".to_vec(), BAD),
        with("size of 18 digits", b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("size beyond memory", b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("zeros before a size", b"00000000000000000000003\r\nabc\r\n0\r\n\r\n".to_vec(), BAD),
        with("size line over 64 KiB", flood("", "0", 70_000, &format!("3{end}")), BAD),
        with("an extension of 200 kB", flood("3;", "a", 200_000, end), RefusedLate(400, "BAD_REQUEST")),
        with(
            "a request for a trailer",
            b"0\r\nGET /smuggled HTTP/1.1\r\nHost: edge.test\r\n\r\n".to_vec(),
            BAD,
        ),
        with("a folded trailer", b"0\r\nA: b\r\n c\r\n\r\n".to_vec(), BAD),
        with("a bare LF among trailers", b"0\r\nA: b\n\r\n".to_vec(), BAD),
    ]
}

/// Lines, their ends and what may stand in them (RFC 9112, 2.2, 3 and 5).
fn lines(prefix: &str) -> Vec<Case> {
    let line = |name, line: &str, fate| case(name, format!("{line}\r\nHost: edge.test\r\n\r\n"), fate);
    let header = |name, header: &[u8], fate| {
        let head = format!("GET {prefix}/x HTTP/1.1\r\nHost: edge.test\r\n").into_bytes();
        case(name, [&head, header, b"\r\n\r\n"].concat(), fate)
    };
    vec![
        case("LF after the request line", format!("GET {prefix}/x HTTP/1.1\nHost: a\r\n\r\n"), BAD),
        case("LF after a header", format!("GET {prefix}/x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"), BAD),
        case("LF after the last header", format!("GET {prefix}/x HTTP/1.1\r\nHost: a\n\r\n"), BAD),
        case("LF for the blank line", format!("GET {prefix}/x HTTP/1.1\r\nHost: a\r\n\n"), BAD),
        case("LFs only", format!("GET {prefix}/x HTTP/1.1\nHost: a\n\n"), BAD),
        case("CR for a line's end", format!("GET {prefix}/x HTTP/1.1\rHost: a\r\n\r\n"), BAD),
        case("CR CR LF", format!("GET {prefix}/x HTTP/1.1\r\nHost: a\r\r\n\r\n"), BAD),
        case("a blank line first", format!("\r\nGET {prefix}/x HTTP/1.1\r\nHost: a\r\n\r\n"), Forwarded(1)),
        case("two blank lines first", format!("\r\n\r\nGET {prefix}/x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD),
        case("LF first", format!("\nGET {prefix}/x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD),
        case("a blank first", format!(" GET {prefix}/x HTTP/1.1\r\nHost: a\r\n\r\n"), BAD),
        header("bytes beyond ASCII in a value", b"X: \xe4\xff", Forwarded(1)),
        header("a tab in a value", b"X: a\tb", Forwarded(1)),
        header("NUL in a value", b"X: a\0b", BAD),
        header("NUL in a name", b"X\0: ab", BAD),
        header("CR in a value", b"X: a\rb", BAD),
        header("a control character in a value", b"X: a\x01b", BAD),
        header("DEL in a value", b"X: a\x7fb", BAD),
        header("a folded header", b"X: a\r\n b", BAD),
        header("a header folded with a tab", b"X: a\r\n\tb", BAD),
        header("a blank before the colon", b"X : a", BAD),
        header("no name", b": a", BAD),
        header("no colon", b"X", BAD),
        header("a blank in a name", b"X Y: a", BAD),
        header("bytes beyond ASCII in a name", b"X\xe4: a", BAD),
        header("a bracket in a name", b"X[]: a", BAD),
        line("HTTP/1.2", &format!("GET {prefix}/x HTTP/1.2"), VERSION),
        line("HTTP/0.9", &format!("GET {prefix}/x HTTP/0.9"), VERSION),
        line("HTTP/2.0 in text", &format!("GET {prefix}/x HTTP/2.0"), VERSION),
        line("HTTP/1.10", &format!("GET {prefix}/x HTTP/1.10"), VERSION),
        line("http/1.1", &format!("GET {prefix}/x http/1.1"), BAD),
        line("no version", &format!("GET {prefix}/x"), BAD),
        line("two blanks", &format!("GET  {prefix}/x HTTP/1.1"), BAD),
        line("a tab", &format!("GET\t{prefix}/x HTTP/1.1"), BAD),
        line("a blank after the version", &format!("GET {prefix}/x HTTP/1.1 "), BAD),
        line("no method", &format!(" {prefix}/x HTTP/1.1"), BAD),
        line("a method that is no token", &format!("G@T {prefix}/x HTTP/1.1"), BAD),
        case("one line of HTTP/0.9", format!("GET {prefix}/x\r\n"), BAD),
        case("SSH", "SSH-2.0-OpenSSH_9.9\r\n", BAD),
        case(
            "TLS",
            [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[b'a'; 200], b"\n"].concat(),
            BAD,
        ),
        line("CONNECT to a host", "CONNECT edge.test:80 HTTP/1.1", METHOD),
        line("CONNECT to a path", &format!("CONNECT {prefix}/x HTTP/1.1"), METHOD),
        line("TRACE", &format!("TRACE {prefix}/x HTTP/1.1"), Denied(405, "METHOD_NOT_ALLOWED")),
        line("OPTIONS *", "OPTIONS * HTTP/1.1", Denied(400, "BAD_REQUEST")),
        line("GET *", "GET * HTTP/1.1", Denied(400, "BAD_REQUEST")),
        line("an unknown method", &format!("BREW {prefix}/x HTTP/1.1"), Forwarded(1)),
        line("a method in small letters", &format!("get {prefix}/x HTTP/1.1"), Forwarded(1)),
    ]
}

/// `Host` (RFC 9112, 3.2).
fn hosts(prefix: &str) -> Vec<Case> {
    let mut cases = vec![
        case("no Host", format!("GET {prefix}/x HTTP/1.1\r\n\r\n"), BAD),
        case("two Hosts", format!("GET {prefix}/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), BAD),
        case("the same Host twice", format!("GET {prefix}/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), BAD),
        case("no Host in HTTP/1.0", format!("GET {prefix}/x HTTP/1.0\r\n\r\n"), ForwardedLast(1)),
        case("two Hosts in HTTP/1.0", format!("GET {prefix}/x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), BAD),
        case("an IPv6 Host", format!("GET {prefix}/x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), Forwarded(1)),
    ];
    let bad = [
        "", "a b", "a/b", "a/../b", "u@a", "u:p@a", "a:b", "a:65536", "a:123456", "a:-1", "[::1", "[zz]",
        "[::1]x", "a,b", "a?b", "a#b", "a\\b", "a%41", "http://a", "a\u{e4}", "*",
    ];
    cases.extend(
        bad.map(|host| case("a bad Host", format!("GET {prefix}/x HTTP/1.1\r\nHost: {host}\r\n\r\n"), BAD)),
    );
    let long = "a".repeat(256);
    cases.push(case("a long Host", format!("GET {prefix}/x HTTP/1.1\r\nHost: {long}\r\n\r\n"), BAD));
    cases
}

/// Request targets (RFC 9112, 3.2.1 to 3.2.4).
fn targets(prefix: &str) -> Vec<Case> {
    let target = |name, target: &str, fate| {
        case(name, format!("GET {target} HTTP/1.1\r\nHost: edge.test\r\n\r\n"), fate)
    };
    vec![
        target("absolute form", &format!("http://edge.test{prefix}/x"), Forwarded(1)),
        target("absolute form with a query", &format!("http://edge.test{prefix}/x?a=b"), Forwarded(1)),
        target("absolute form of another host", &format!("http://other.test{prefix}/x"), BAD),
        target("absolute form of another port", &format!("http://edge.test:81{prefix}/x"), BAD),
        target("user information", "http://x@y/", BAD),
        target("user information for the host", &format!("http://x@edge.test{prefix}/x"), BAD),
        target("https", &format!("https://edge.test{prefix}/x"), BAD),
        target("no authority", &format!("http://{prefix}/x"), BAD),
        target("file", "file:///etc/passwd", BAD),
        target("authority form", "edge.test:80", BAD),
        target("no slash", "x", BAD),
        target("a fragment", &format!("{prefix}/x#y"), BAD),
        target("a quote", &format!("{prefix}/\"x"), BAD),
        target("a grave accent", &format!("{prefix}/`x"), BAD),
        target("bytes beyond ASCII", &format!("{prefix}/\u{e4}"), BAD),
        target("DEL", &format!("{prefix}/\u{7f}"), BAD),
    ]
}

/// Too much of something.
fn sizes(prefix: &str) -> Vec<Case> {
    let headers = |name, headers: String, fate| {
        case(name, format!("GET {prefix}/x HTTP/1.1\r\nHost: edge.test\r\n{headers}\r\n"), fate)
    };
    vec![
        headers("a header of 1 MB", format!("X: {}\r\n", "y".repeat(1_000_000)), LARGE),
        headers("a header of 3 MB", format!("X: {}\r\n", "y".repeat(3_000_000)), LARGE),
        headers("10 000 headers", "X: y\r\n".repeat(10_000), LARGE),
        headers("10 000 headers within 64 KiB", "X:\r\n".repeat(10_000), LARGE),
        headers("256 headers", "X: y\r\n".repeat(255), Forwarded(1)),
        headers("257 headers", "X: y\r\n".repeat(256), LARGE),
        case(
            "a URL of 100 kB",
            format!("GET {prefix}/{} HTTP/1.1\r\nHost: edge.test\r\n\r\n", "y".repeat(100_000)),
            LARGE,
        ),
        case(
            "a URL of 60 kB",
            format!("GET {prefix}/{} HTTP/1.1\r\nHost: edge.test\r\n\r\n", "y".repeat(60_000)),
            Forwarded(1),
        ),
        case(
            "a method of 100 kB",
            format!("{} {prefix}/x HTTP/1.1\r\nHost: edge.test\r\n\r\n", "A".repeat(100_000)),
            LARGE,
        ),
    ]
}

/// Several messages, or one that could be several. The edge does not pipeline: it answers the first and closes.
fn sequences(prefix: &str) -> Vec<Case> {
    let get = format!("GET {prefix}/x HTTP/1.1\r\nHost: edge.test\r\n\r\n");
    let smuggled = "GET /pub/smuggled HTTP/1.1\r\nHost: edge.test\r\n\r\n";
    let with = |headers: &str, body: &str| {
        format!("GET {prefix}/x HTTP/1.1\r\nHost: edge.test\r\n{headers}\r\n{body}")
    };
    vec![
        case("two requests at once", get.repeat(2), ForwardedLast(1)),
        case("a request and garbage", format!("{get}GARBAGE\r\n"), ForwardedLast(1)),
        case(
            "a request after a body",
            format!("{}{smuggled}", with("Content-Length: 3\r\n", "abc")),
            ForwardedLast(1),
        ),
        case(
            "a request after chunks",
            format!("{}{smuggled}", with("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")),
            ForwardedLast(1),
        ),
        case(
            "a request for a body",
            with(&format!("Content-Length: {}\r\n", smuggled.len()), smuggled),
            Forwarded(1),
        ),
        case(
            "a request for a chunk",
            with(
                "Transfer-Encoding: chunked\r\n",
                &format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
            ),
            Forwarded(1),
        ),
        case(
            "a body of HTTP/1.0 without a length",
            format!("POST {prefix}/x HTTP/1.0\r\nHost: edge.test\r\n\r\n{smuggled}"),
            ForwardedLast(1),
        ),
        case(
            "close and keep-alive",
            with("Connection: close\r\nConnection: keep-alive\r\n", ""),
            ForwardedLast(1),
        ),
    ]
}
