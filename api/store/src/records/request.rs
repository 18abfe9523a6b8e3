//! Requests that clients may repeat, by their `Idempotency-Key`, and what was answered.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Record;

/// The largest answer that is kept, in bytes. With the rest of its record it fits into one value of the store.
pub const MAX_ANSWER_BYTES: usize = 96_000;

/// A request that was claimed by its key, and its answer once there is one that will not change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredRequest {
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// Who sent it. Keys of different users have nothing to do with each other.
    pub user_id: Uuid,
    /// The client's key.
    pub key: String,
    /// The SHA-256 of the request, in hex.
    pub fingerprint: String,
    /// The id of the object that it creates.
    pub object: Uuid,
    /// When it was claimed, in Unix milliseconds. The object's creation has this time too.
    pub at: i64,
    /// Absent while it is worked on, and after a failure that a repetition may mend.
    pub answer: Option<StoredAnswer>,
}

/// An answer that a repeated request gets again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Box<RawValue>,
}

impl StoredAnswer {
    /// An answer with the headers worth keeping. `None` if the body is not JSON, or is too large to be kept.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: &[u8]) -> Option<Self> {
        let around: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if body.len().saturating_add(around) > MAX_ANSWER_BYTES {
            return None;
        }
        let body = serde_json::from_slice(body).ok()?;
        Some(Self { status, headers, body })
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Names and values of the headers.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body, to the byte as it was first sent.
    pub fn body(&self) -> &str {
        self.body.get()
    }
}

impl Record for StoredRequest {
    const FAMILY: &'static str = "requests";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_largest_answer_fits_with_the_longest_key_and_comes_back_to_the_byte() {
        let body = format!("{{\"b\" : 1,\"a\":\"{}\"}}", "x".repeat(MAX_ANSWER_BYTES - 16));
        assert_eq!(body.len(), MAX_ANSWER_BYTES);
        let request = StoredRequest {
            tenant_id: Uuid::max(),
            user_id: Uuid::max(),
            key: "\"".repeat(255),
            fingerprint: "f".repeat(64),
            object: Uuid::max(),
            at: i64::MIN,
            answer: StoredAnswer::new(201, Vec::new(), body.as_bytes()),
        };
        let encoded = request.encode().unwrap();
        assert!(encoded.len() < crate::limits::MAX_VALUE_BYTES, "{}", encoded.len());
        assert_eq!(StoredRequest::decode(&encoded).unwrap().answer.unwrap().body(), body);

        let larger = format!("{body} ");
        assert!(StoredAnswer::new(201, Vec::new(), larger.as_bytes()).is_none());
        let tag = vec![("etag".to_owned(), "\"1\"".to_owned())];
        assert!(StoredAnswer::new(201, tag, body.as_bytes()).is_none());
        assert!(StoredAnswer::new(201, Vec::new(), b"<html>").is_none());
    }
}
