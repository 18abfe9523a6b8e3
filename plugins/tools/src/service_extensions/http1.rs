//! Heads of messages that a test gives as HTTP/1.1 text, as the pairs a plugin sees.

use crate::suite::Pairs;
use url::Url;

/// The most header fields a head may have.
const MAX_FIELDS: usize = 256;

/// The pairs of a request's head: the request line as pseudo-headers, `Host` as `:authority`. Lines may end with LF
/// alone, and the empty line at the end may be missing.
pub(super) fn request(head: &[u8]) -> Result<Pairs, String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let text = ended(head);
    parsed.parse(&text).map_err(|error| format!("not the head of an HTTP/1.1 request: {error}"))?;
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let mut pairs = vec![pair(":method", method)];
    let is_host = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("host");
    if target.starts_with('/') {
        pairs.push(pair(":path", target));
        if let Some(host) = parsed.headers.iter().find(is_host) {
            pairs.push((b":authority".to_vec(), host.value.to_vec()));
        }
    } else {
        // Absolute form: it says more than `Host`, which then goes whatever it is.
        let url = Url::parse(target).ok().filter(Url::has_host);
        let url = url.ok_or_else(|| format!("`{target}` is no path and no URL"))?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        pairs.push(pair(":scheme", url.scheme()));
        pairs.push(pair(":path", &format!("{}{query}", url.path())));
        pairs.push(pair(":authority", &format!("{}{port}", url.host_str().unwrap_or_default())));
    }
    push(&mut pairs, parsed.headers.iter().filter(|field| !is_host(field)));
    Ok(pairs)
}

/// The pairs of a response's head.
pub(super) fn response(head: &[u8]) -> Result<Pairs, String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let text = ended(head);
    parsed.parse(&text).map_err(|error| format!("not the head of an HTTP/1.1 response: {error}"))?;
    let mut pairs = vec![pair(":status", &parsed.code.unwrap_or_default().to_string())];
    push(&mut pairs, parsed.headers.iter());
    Ok(pairs)
}

fn ended(head: &[u8]) -> Vec<u8> {
    let mut text = head.trim_ascii_end().to_vec();
    text.extend_from_slice(b"\r\n\r\n");
    text
}

fn pair(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (name.as_bytes().to_vec(), value.as_bytes().to_vec())
}

fn push<'a, 'b: 'a>(pairs: &mut Pairs, fields: impl Iterator<Item = &'a httparse::Header<'b>>) {
    pairs.extend(fields.map(|field| (field.name.to_ascii_lowercase().into_bytes(), field.value.to_vec())));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(pairs: Pairs) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        pairs.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect()
    }

    #[test]
    fn a_request_line_becomes_pseudo_headers() {
        let origin = request(b"GET /my?x=1 HTTP/1.1\nHost: a.example\nMyHeader: 1\nMyHeader: 2\n").unwrap();
        let expected = [":method=GET", ":path=/my?x=1", ":authority=a.example", "myheader=1", "myheader=2"];
        assert_eq!(shown(origin), expected);
        let absolute =
            request(b"POST https://b.example:8443/my HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        let expected = [":method=POST", ":scheme=https", ":path=/my", ":authority=b.example:8443"];
        assert_eq!(shown(absolute), expected);
        for wrong in [&b"GET"[..], b"", b"GET nowhere HTTP/1.1", b"GET / HTTP/1.1\n: x"] {
            assert!(request(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn a_status_line_becomes_the_status() {
        let head = response(b"HTTP/1.1 403 Forbidden\nMyHeader: 1\n").unwrap();
        assert_eq!(shown(head), [":status=403", "myheader=1"]);
        assert!(response(b"HTTP/1.1 x").is_err());
    }
}
