//! What the edge lets a plugin write, so that a plugin does not learn of it after its tests.

use crate::suite::Pairs;
use coditect_proxy_wasm::HeaderMap;

/// The most properties one exchange has.
pub(crate) const MAX_PROPERTIES: usize = 256;

/// Which writes an exchange takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Those that the edge takes.
    AsEdge,
    /// All, for cases that were written for another harness; values that are added to one name become one value.
    AnyJoined,
}

/// Headers that say who the caller is and whom the request is for. What the edge sees to itself, framing above all, may be
/// written: it has no effect there.
const IDENTITY: [&str; 6] = [
    "host",
    "x-coditect-user",
    "x-coditect-tenant",
    "x-coditect-session",
    "x-coditect-workspace",
    "x-coditect-email",
];

/// Whether a plugin may write a header, one that is no pseudo-header.
pub(crate) fn may_write(writes: Writes, name: &[u8]) -> bool {
    if writes == Writes::AnyJoined {
        return true;
    }
    // Upstreams may take `_` for `-`.
    let spelled = String::from_utf8_lossy(name).replace('_', "-");
    !IDENTITY.contains(&spelled.as_str())
}

/// Whether a plugin may give a pseudo-header this new value. The authority and the scheme are the client's word.
pub(crate) fn may_set_pseudo(writes: Writes, map: HeaderMap, name: &[u8], value: &[u8]) -> bool {
    if writes == Writes::AnyJoined {
        return true;
    }
    match (map, name) {
        (HeaderMap::Request, b":path") => value.first() == Some(&b'/'),
        (HeaderMap::Request, b":method") => !value.is_empty() && value != b"CONNECT",
        (HeaderMap::Response, b":status") => {
            let status = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u16>().ok());
            status.is_some_and(|status| (200..=599).contains(&status))
        }
        _ => false,
    }
}

/// The headers of a plugin's own response: without those it may not write, and with a type where it has a body.
pub(crate) fn own_response(writes: Writes, headers: Pairs, body: &[u8]) -> Pairs {
    let mut headers = headers;
    if writes == Writes::AsEdge {
        headers.retain(|(name, _)| may_write(writes, name));
        if !body.is_empty() && !headers.iter().any(|(name, _)| name == b"content-type") {
            headers.push((b"content-type".to_vec(), b"text/plain".to_vec()));
        }
    }
    headers
}

/// Whether a request says where it goes; the edge answers 404 to one that does not.
pub(crate) fn is_routable(request: &Pairs) -> bool {
    let has = |pseudo: &[u8]| request.iter().any(|(name, _)| name == pseudo);
    has(b":method") && has(b":path") && has(b":authority")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_own_response_is_the_edges_too() {
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let headers = vec![pair("x-coditect-user", "a"), pair("x", "1")];
        let shown = own_response(Writes::AsEdge, headers.clone(), b"no");
        assert_eq!(shown, [pair("x", "1"), pair("content-type", "text/plain")]);
        assert_eq!(own_response(Writes::AsEdge, headers.clone(), b""), [pair("x", "1")]);
        assert_eq!(own_response(Writes::AnyJoined, headers.clone(), b"no"), headers);
        let mut request = vec![pair(":method", "GET"), pair(":path", "/"), pair(":authority", "a")];
        assert!(is_routable(&request));
        request.pop();
        assert!(!is_routable(&request));
    }

    #[test]
    fn identity_and_the_authority_are_not_a_plugins() {
        let edge = |name: &[u8]| may_write(Writes::AsEdge, name);
        assert!(edge(b"x-policy") && edge(b"set-cookie") && edge(b"content-length"));
        for name in ["x-coditect-tenant", "x_coditect_tenant", "host"] {
            assert!(!edge(name.as_bytes()), "{name}");
            assert!(may_write(Writes::AnyJoined, name.as_bytes()), "{name}");
        }
        let pseudo = |map, name: &[u8], value: &[u8]| may_set_pseudo(Writes::AsEdge, map, name, value);
        assert!(pseudo(HeaderMap::Request, b":path", b"/x") && !pseudo(HeaderMap::Request, b":path", b"x"));
        assert!(!pseudo(HeaderMap::Request, b":authority", b"x"));
        assert!(!pseudo(HeaderMap::Request, b":method", b"CONNECT"));
        assert!(
            pseudo(HeaderMap::Response, b":status", b"599")
                && !pseudo(HeaderMap::Response, b":status", b"101")
        );
    }
}
