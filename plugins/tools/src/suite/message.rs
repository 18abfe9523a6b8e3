//! The messages of a case: what the client sends, what the upstream answers.

use super::headers::Headers;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

/// What the client sends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawRequest")]
pub struct Request {
    /// `:method`; `GET` unless told otherwise.
    pub method: String,
    /// `:path`, with the query; `/` unless told otherwise.
    pub path: String,
    /// `:authority`; `edge.example` unless told otherwise.
    pub authority: String,
    /// `:scheme`; `http` unless told otherwise.
    pub scheme: String,
    /// The other headers.
    pub headers: Headers,
    /// The body as it arrives; empty where there is none.
    pub chunks: Vec<Bytes>,
    /// After the body.
    pub trailers: Headers,
}

/// What the upstream answers, or one of those that a plugin calls.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawResponse")]
pub struct Response {
    /// `:status`; 200 unless told otherwise.
    pub status: u16,
    /// The other headers.
    pub headers: Headers,
    /// The body as it arrives; empty where there is none.
    pub chunks: Vec<Bytes>,
    /// After the body.
    pub trailers: Headers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRequest {
    method: String,
    path: String,
    authority: String,
    scheme: String,
    headers: Headers,
    body: Option<String>,
    body_base64: Option<String>,
    body_chunks: Option<Vec<String>>,
    trailers: Headers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawResponse {
    status: u16,
    headers: Headers,
    body: Option<String>,
    body_base64: Option<String>,
    body_chunks: Option<Vec<String>>,
    trailers: Headers,
}

impl Default for RawRequest {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            authority: "edge.example".to_owned(),
            scheme: "http".to_owned(),
            headers: Headers::default(),
            body: None,
            body_base64: None,
            body_chunks: None,
            trailers: Headers::default(),
        }
    }
}

impl Default for RawResponse {
    fn default() -> Self {
        let headers = Headers::default();
        let trailers = Headers::default();
        Self { status: 200, headers, body: None, body_base64: None, body_chunks: None, trailers }
    }
}

impl Default for Request {
    fn default() -> Self {
        let RawRequest { method, path, authority, scheme, headers, trailers, .. } = RawRequest::default();
        Self { method, path, authority, scheme, headers, chunks: Vec::new(), trailers }
    }
}

impl Default for Response {
    fn default() -> Self {
        let RawResponse { status, headers, trailers, .. } = RawResponse::default();
        Self { status, headers, chunks: Vec::new(), trailers }
    }
}

impl TryFrom<RawRequest> for Request {
    type Error = String;

    fn try_from(raw: RawRequest) -> Result<Self, String> {
        let RawRequest { method, path, authority, scheme, headers, trailers, .. } = raw;
        for (key, value) in
            [("method", &method), ("path", &path), ("authority", &authority), ("scheme", &scheme)]
        {
            super::headers::field_value(value).map_err(|problem| format!("{key}: {problem}"))?;
        }
        if method.is_empty() || path.is_empty() {
            return Err("`method` and `path` must not be empty".to_owned());
        }
        let chunks = chunks(raw.body, raw.body_base64, raw.body_chunks)?;
        Ok(Self { method, path, authority, scheme, headers, chunks, trailers })
    }
}

impl TryFrom<RawResponse> for Response {
    type Error = String;

    fn try_from(raw: RawResponse) -> Result<Self, String> {
        if !(100..=599).contains(&raw.status) {
            return Err(format!("status {} is none of HTTP's, expected 100 to 599", raw.status));
        }
        let chunks = chunks(raw.body, raw.body_base64, raw.body_chunks)?;
        Ok(Self { status: raw.status, headers: raw.headers, chunks, trailers: raw.trailers })
    }
}

/// The body, however it is written.
fn chunks(
    text: Option<String>,
    base64: Option<String>,
    chunks: Option<Vec<String>>,
) -> Result<Vec<Bytes>, String> {
    let given = [text.is_some(), base64.is_some(), chunks.is_some()];
    if given.into_iter().filter(|given| *given).count() > 1 {
        return Err("give one of `body`, `body_base64` and `body_chunks`".to_owned());
    }
    let whole = match (text, base64) {
        (Some(text), _) => Some(Bytes::from(text)),
        (None, Some(base64)) => {
            let decoded = STANDARD.decode(base64.trim());
            Some(Bytes::from(decoded.map_err(|problem| format!("body_base64: {problem}"))?))
        }
        (None, None) => None,
    };
    let chunks: Vec<Bytes> = match whole {
        Some(whole) => vec![whole],
        None => chunks.into_iter().flatten().map(Bytes::from).collect(),
    };
    Ok(chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_body_is_written_in_one_of_three_ways() {
        let body = |text: &str| toml::from_str::<Response>(text).map(|response| response.chunks);
        assert_eq!(body("body = 'ab'").unwrap(), ["ab"]);
        assert_eq!(body("body_base64 = 'AAH/'").unwrap(), [&b"\x00\x01\xff"[..]]);
        assert_eq!(body("body_chunks = ['a', '', 'b']").unwrap(), ["a", "b"]);
        assert!(body("").unwrap().is_empty());
        assert!(body("body = 'a'\nbody_chunks = []").unwrap_err().message().contains("give one of"));
        assert!(body("body_base64 = '?'").unwrap_err().message().contains("body_base64"));
        assert!(body("status = 99").unwrap_err().message().contains("100 to 599"));
    }

    #[test]
    fn a_request_needs_nothing_and_refuses_what_it_does_not_know() {
        assert_eq!(toml::from_str::<Request>("").unwrap(), Request::default());
        let error = toml::from_str::<Request>("methd = 'GET'").unwrap_err();
        assert!(error.message().contains("unknown field `methd`"), "{error}");
    }
}
