//! Headers of calls: what a guest says becomes a request's head, what an upstream says becomes pairs.
//!
//! A guest does not write what decides about framing, about the connection, or about who calls: those are left out,
//! silently, since filters that were written for other proxies set `host` or `content-length` and mean no harm.

use coditect_proxy_wasm::Pairs;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, StatusCode};

/// Headers, or trailers, of one call's request.
const MAX_FIELDS: usize = 256;
/// Their bytes, with the path and the authority. Some upstreams break the connection off over a head that is too large for
/// them, and with it the calls of others.
const MAX_BYTES: usize = 32 * 1024;
/// Not a guest's to write, besides the edge's identity headers.
const NOT_WRITABLE: [&str; 13] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "http2-settings",
];
/// gRPC's own, which the edge writes or does not offer.
const GRPC: [&str; 7] = [
    "content-type",
    "grpc-timeout",
    "grpc-encoding",
    "grpc-accept-encoding",
    "grpc-message-type",
    "grpc-status",
    "grpc-message",
];
/// The edge says with these who a request's caller is; upstreams believe them.
const IDENTITY: &str = "x-coditect-";

/// A guest's headers cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The head of a request.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    /// The upstream's own where the guest's is empty.
    pub(super) authority: Option<Authority>,
    pub(super) headers: HeaderMap,
}

impl Head {
    /// A request's head out of its pairs.
    ///
    /// # Errors
    /// A pseudo-header is missing or no HTTP, it is a `CONNECT`, or as [`fields`].
    pub(super) fn read(pairs: &Pairs) -> Result<Self, Malformed> {
        let (pseudo, rest): (Vec<_>, Vec<_>) = pairs.iter().partition(|(name, _)| name.starts_with(b":"));
        let find = |name: &[u8]| {
            let found = pseudo.iter().find(|(given, _)| given == name);
            found.map(|(_, value)| value.as_slice()).ok_or(Malformed)
        };
        let method = Method::from_bytes(find(b":method")?).map_err(|_| Malformed)?;
        let path = find(b":path")?;
        let authority = find(b":authority")?;
        if path.len() + authority.len() > MAX_BYTES {
            return Err(Malformed);
        }
        let path = PathAndQuery::try_from(path).ok().filter(|_| path.starts_with(b"/")).ok_or(Malformed)?;
        let authority = match authority {
            b"" => None,
            given => Some(Authority::try_from(given).map_err(|_| Malformed)?),
        };
        if method == Method::CONNECT || authority.as_ref().is_some_and(|a| a.as_str().contains('@')) {
            return Err(Malformed);
        }
        Ok(Self { method, path, authority, headers: fields(rest)? })
    }
}

/// Headers or trailers out of pairs, without those that are not a guest's.
///
/// # Errors
/// A name or a value that HTTP cannot carry, a pseudo-header, or more than [`MAX_FIELDS`] or [`MAX_BYTES`].
pub(super) fn fields<'a>(
    pairs: impl IntoIterator<Item = &'a (Vec<u8>, Vec<u8>)>,
) -> Result<HeaderMap, Malformed> {
    let mut fields = HeaderMap::new();
    let mut bytes = 0;
    for (name, value) in pairs {
        bytes += name.len() + value.len();
        let name = HeaderName::from_bytes(name).map_err(|_| Malformed)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Malformed)?;
        if fields.len() == MAX_FIELDS || bytes > MAX_BYTES {
            return Err(Malformed);
        }
        if is_writable(&name) {
            fields.try_append(name, value).map_err(|_| Malformed)?;
        }
    }
    Ok(fields)
}

/// A gRPC call's metadata out of pairs.
///
/// # Errors
/// As [`fields`].
pub(super) fn metadata(pairs: &Pairs) -> Result<HeaderMap, Malformed> {
    let mut metadata = fields(pairs)?;
    for name in GRPC {
        metadata.remove(name);
    }
    Ok(metadata)
}

fn is_writable(name: &HeaderName) -> bool {
    // Some upstreams read a dash and an underscore alike.
    let name = name.as_str().replace('_', "-");
    !NOT_WRITABLE.contains(&name.as_str()) && !name.starts_with(IDENTITY)
}

/// The pairs of a head or of trailers, `:status` first where there is one.
pub(super) fn to_pairs(status: Option<StatusCode>, fields: &HeaderMap) -> Pairs {
    let status = status.map(|status| (b":status".to_vec(), status.as_str().as_bytes().to_vec()));
    let pairs =
        fields.iter().map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()));
    status.into_iter().chain(pairs).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    fn head(extra: &[(&str, &str)]) -> Result<Head, Malformed> {
        let mut all = pairs(extra);
        for (name, value) in [(":method", "GET"), (":path", "/a?b=c"), (":authority", "keys.example:80")] {
            if !extra.iter().any(|(given, _)| *given == name) {
                all.insert(0, (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            }
        }
        Head::read(&all)
    }

    #[test]
    fn a_head_keeps_what_is_the_guests_and_nothing_else() {
        let given = [
            ("x-a", "1"),
            ("X-A", "2"),
            (":scheme", "https"),
            ("Host", "other"),
            ("content-length", "7"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "x-a"),
            ("te", "trailers"),
            ("Content_Length", "7"),
            ("transfer_encoding", "chunked"),
            ("x-coditect-user", "root"),
            ("X_Coditect_Tenant", "any"),
            ("authorization", "Bearer x"),
        ];
        let head = head(&given).unwrap();
        assert_eq!(head.method, Method::GET);
        assert_eq!(head.path, "/a?b=c");
        assert_eq!(head.authority.unwrap(), "keys.example:80");
        let left = to_pairs(None, &head.headers);
        assert_eq!(left, pairs(&[("x-a", "1"), ("x-a", "2"), ("authorization", "Bearer x")]));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let cases: [&[(&str, &str)]; 12] = [
            &[(":method", "CONNECT")],
            &[(":method", "GET /")],
            &[(":method", "")],
            &[(":path", "a")],
            &[(":path", "*")],
            &[(":path", "http://other/")],
            &[(":path", "/a b")],
            &[(":authority", "user@host")],
            &[(":authority", "a b")],
            &[("x-a", "1\r\nx-b: 2")],
            &[("x a", "1")],
            &[("", "1")],
        ];
        for case in cases {
            assert_eq!(head(case).unwrap_err(), Malformed, "{case:?}");
        }
        assert!(Head::read(&pairs(&[(":method", "GET"), (":path", "/")])).is_err(), "no authority");
        assert_eq!(fields(&pairs(&[(":path", "/")])).unwrap_err(), Malformed, "a pseudo-header in trailers");
        let large = "v".repeat(MAX_BYTES);
        assert_eq!(head(&[("x-a", &large)]).unwrap_err(), Malformed);
        assert_eq!(head(&[(":path", &format!("/{large}"))]).unwrap_err(), Malformed);
        let many: Pairs = (0..=MAX_FIELDS).map(|n| (format!("x-{n}").into(), b"v".to_vec())).collect();
        assert_eq!(fields(&many).unwrap_err(), Malformed);
        assert_eq!(fields(&many[1..]).unwrap().len(), MAX_FIELDS);
    }

    #[test]
    fn metadata_leaves_grpcs_own_out() {
        let given =
            pairs(&[("content-type", "text/html"), ("grpc-timeout", "1H"), ("grpc-trace-bin", "AA==")]);
        assert_eq!(to_pairs(None, &metadata(&given).unwrap()), pairs(&[("grpc-trace-bin", "AA==")]));
    }
}
