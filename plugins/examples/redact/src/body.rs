//! Which bodies are read, and what is said where one cannot be.

use policy_kit::Refusal;
use proxy_wasm::types::{BufferType, MapType};
use serde::Deserialize;

/// A message's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client.
    Request,
    /// From the upstream.
    Response,
}

impl Direction {
    /// Its headers.
    pub fn headers(self) -> MapType {
        match self {
            Self::Request => MapType::HttpRequestHeaders,
            Self::Response => MapType::HttpResponseHeaders,
        }
    }

    /// Its body.
    pub fn buffer(self) -> BufferType {
        match self {
            Self::Request => BufferType::HttpRequestBody,
            Self::Response => BufferType::HttpResponseBody,
        }
    }

    /// Its body is longer than what is read.
    pub fn too_long(self) -> Refusal {
        match self {
            Self::Request => {
                Refusal::new(413, "BODY_TOO_LARGE", "the request's body is too long to be checked")
            }
            Self::Response => Refusal::new(502, "RESPONSE_TOO_LARGE", "the answer is too long to be checked"),
        }
    }

    /// Its body is compressed.
    pub fn encoded(self) -> Refusal {
        match self {
            Self::Request => Refusal::new(
                415,
                "ENCODING_NOT_SUPPORTED",
                "send the request's body without content-encoding",
            ),
            Self::Response => {
                Refusal::new(502, "RESPONSE_ENCODED", "the answer is encoded and cannot be checked")
            }
        }
    }

    /// Headers of such a refusal: RFC 9110 asks for `accept-encoding` with a 415.
    pub fn refusal_headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Request => &[("accept-encoding", "identity")],
            Self::Response => &[],
        }
    }
}

/// What is done about a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It is of a type that is not read.
    Pass,
    /// It is held and read.
    Read,
    /// It says that it is too long.
    TooLong,
    /// It would have to be read and is compressed.
    Encoded,
}

/// Decides by the headers of a message that has a body.
pub fn plan(kind: Option<&[u8]>, encoding: Option<&[u8]>, length: Option<&[u8]>, most: usize) -> Plan {
    if !is_read(kind) {
        return Plan::Pass;
    }
    let encoding = encoding.map(<[u8]>::trim_ascii).unwrap_or_default();
    if !(encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity")) {
        return Plan::Encoded;
    }
    let length =
        length.and_then(|length| std::str::from_utf8(length).ok()).and_then(|length| length.parse().ok());
    match length {
        Some(length) if most < length => Plan::TooLong,
        _ => Plan::Read,
    }
}

/// Whether bodies of this content type are read. One that says nothing of its type is.
fn is_read(kind: Option<&[u8]>) -> bool {
    let Some(kind) = kind else { return true };
    let kind = String::from_utf8_lossy(kind).to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let text = kind.strip_prefix("text/").is_some_and(|text| text != "event-stream");
    let structured =
        ["json", "xml", "javascript", "x-www-form-urlencoded"].iter().any(|part| kind.contains(part));
    kind.is_empty() || text || structured
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
}

/// Takes `content-length` out, where the host lets a plugin do so. One that does not keeps it right by itself, and says no
/// with a status on which the SDK's own function panics.
pub fn forget_length(map: MapType) {
    let name = "content-length";
    // SAFETY: the host reads `name.len()` bytes from `name` and keeps nothing.
    unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_its_many_types_is_read() {
        for kind in [
            "application/json",
            "Application/Problem+JSON; charset=utf-8",
            "text/html",
            "",
            "application/x-ndjson",
        ] {
            assert_eq!(plan(Some(kind.as_bytes()), None, None, 10), Plan::Read, "{kind}");
        }
        for kind in ["image/png", "application/octet-stream", "text/event-stream", "application/wasm"] {
            assert_eq!(plan(Some(kind.as_bytes()), Some(b"gzip"), Some(b"11"), 10), Plan::Pass, "{kind}");
        }
        assert_eq!(plan(None, None, None, 10), Plan::Read);
    }

    #[test]
    fn what_cannot_be_read_is_said_so() {
        assert_eq!(plan(None, Some(b"gzip"), None, 10), Plan::Encoded);
        assert_eq!(plan(None, Some(b" Identity "), Some(b"10"), 10), Plan::Read);
        assert_eq!(plan(None, None, Some(b"11"), 10), Plan::TooLong);
        assert_eq!(plan(None, None, Some(b"no number"), 10), Plan::Read);
    }
}
