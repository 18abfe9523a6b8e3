//! Reading and sorting cookies (RFC 6265).
//!
//! The edge's own cookies all start with [`OWN_PREFIX`]. They never reach an upstream, and no upstream can set one.

use http::header::{COOKIE, HeaderMap, HeaderValue};

/// What the names of the edge's own cookies start with.
pub(crate) const OWN_PREFIX: &str = "coditect-";
/// Opens one workspace; set for that workspace's path.
pub(crate) const WORKSPACE: &str = "coditect-workspace";
/// Points at the workspace opened last; opens nothing.
pub(crate) const LAST_WORKSPACE: &str = "coditect-last-workspace";
/// How many cookies of one name are looked at.
const MAX_SAME_NAME: usize = 16;

/// The values of the cookie `name`, in the order sent.
pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
        .take(MAX_SAME_NAME)
}

/// Joins what HTTP/2 splits (RFC 9113, 8.2.3), takes the edge's own cookies out and returns them.
pub(crate) fn take_own(headers: &HeaderMap) -> (Option<HeaderValue>, Option<HeaderValue>) {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for value in headers.get_all(COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            if pair.is_empty() {
                continue;
            }
            let kept = if is_own(pair) { &mut own } else { &mut others };
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    (header(own), header(others))
}

/// Whether a `name=value` pair (or a whole `Set-Cookie`) is one of the edge's own cookies.
pub(crate) fn is_own(pair: &[u8]) -> bool {
    // `=name=value` is a cookie without a name to one reader and one of that name to another.
    let start =
        pair.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b'=').unwrap_or(pair.len());
    pair[start..]
        .get(..OWN_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(OWN_PREFIX.as_bytes()))
}

fn header(value: Vec<u8>) -> Option<HeaderValue> {
    if value.is_empty() { None } else { HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok() }
}

/// An upstream's `Set-Cookie` confined to `path`, so that two workspaces of one host keep their cookies apart.
pub(crate) fn confine(set_cookie: &[u8], path: &str) -> Option<HeaderValue> {
    let mut out = Vec::with_capacity(set_cookie.len() + path.len() + 8);
    for (index, part) in set_cookie.split(|byte| *byte == b';').enumerate() {
        let name = part.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        // A pod has no say over other hosts either.
        if index > 0 && (name.eq_ignore_ascii_case(b"path") || name.eq_ignore_ascii_case(b"domain")) {
            continue;
        }
        if index > 0 {
            out.push(b';');
        }
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"; Path=");
    out.extend_from_slice(path.as_bytes());
    header(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(cookies: &[&'static str]) -> HeaderMap {
        cookies.iter().map(|value| (COOKIE, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn values_are_found_across_split_headers() {
        let headers = map(&["a=1; coditect-workspace=x", "coditect-workspace=y; b=2"]);
        assert_eq!(values(&headers, WORKSPACE).collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn own_cookies_are_taken_out_and_the_rest_is_joined() {
        let headers = map(&["a=1; coditect-workspace=x", "Coditect-Refresh=z", "b=2;"]);
        let (own, others) = take_own(&headers);
        assert_eq!(own.unwrap(), "coditect-workspace=x; Coditect-Refresh=z");
        assert_eq!(others.unwrap(), "a=1; b=2");
        assert_eq!(take_own(&map(&["coditect-refresh=1"])).1, None);
        assert_eq!(take_own(&map(&["=coditect-refresh=1"])).1, None);
    }

    #[test]
    fn an_upstreams_cookie_is_confined() {
        let confined =
            confine(b"theia-connection-token=u; Path=/; HttpOnly; domain=.x; SameSite=Strict", "/theia/1/");
        assert_eq!(confined.unwrap(), "theia-connection-token=u; HttpOnly; SameSite=Strict; Path=/theia/1/");
        assert_eq!(confine(b"path=/x", "/p/").unwrap(), "path=/x; Path=/p/");
    }
}
