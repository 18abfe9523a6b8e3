//! What may be a header's name and value (RFC 9110, section 5), checked before a guest's bytes reach a proxy.

use crate::abi::HeaderMap;

/// A field name is a token; the guest's is put into lower case first.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().copied().all(is_token)
}

/// Whether this pseudo-header belongs to that map.
fn is_pseudo(map: HeaderMap, name: &[u8]) -> bool {
    match map {
        HeaderMap::Request => matches!(name, b":authority" | b":path" | b":method" | b":scheme"),
        HeaderMap::Response => name == b":status",
        HeaderMap::RequestTrailers | HeaderMap::ResponseTrailers => false,
    }
}

/// A name the map can have: a token or one of its pseudo-headers.
pub(crate) fn is_map_name(map: HeaderMap, name: &[u8]) -> bool {
    if name.first() == Some(&b':') { is_pseudo(map, name) } else { is_name(name) }
}

/// A value has no control characters but the tab. Bytes past ASCII are allowed (obs-text).
pub(crate) fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// `name` in lower case; copied into `buffer` only where that changes it.
pub(crate) fn lower<'a>(name: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if !name.iter().any(u8::is_ascii_uppercase) {
        return name;
    }
    buffer.clear();
    buffer.extend_from_slice(name);
    buffer.make_ascii_lowercase();
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_or_the_map_s_own_pseudo_headers() {
        for good in [&b"x-a"[..], b"x_1", b":path", b":method", b":authority", b":scheme"] {
            assert!(is_map_name(HeaderMap::Request, good), "{good:?}");
        }
        for bad in [&b""[..], b"a b", b"a:b", b"a\r\n", b"a\0", b":status", b":", b":path ", "ä".as_bytes()]
        {
            assert!(!is_map_name(HeaderMap::Request, bad), "{bad:?}");
        }
        assert!(is_map_name(HeaderMap::Response, b":status"));
        assert!(!is_map_name(HeaderMap::Response, b":path"));
    }

    #[test]
    fn values_hold_no_control_characters() {
        for good in [&b""[..], b"a b\tc", "ä".as_bytes()] {
            assert!(is_value(good), "{good:?}");
        }
        for bad in [&b"a\r\nset-cookie: x"[..], b"\n", b"\0", b"\x7f"] {
            assert!(!is_value(bad), "{bad:?}");
        }
    }

    #[test]
    fn lower_copies_only_what_needs_it() {
        let mut buffer = Vec::new();
        assert_eq!(lower(b"x-a", &mut buffer), b"x-a");
        assert_eq!(lower(b"X-A", &mut buffer), b"x-a");
    }
}
