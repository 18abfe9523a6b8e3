//! `If-Match` and `If-None-Match`: the version of an object that a change is meant for.

use axum::extract::FromRequestParts;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;

use crate::error::ApiError;

/// The version in `If-Match`: none where the header is absent or `*`. It is the `ETag` of an earlier answer, a number
/// in quotes (RFC 9110, 13.1.1); an object whose version is another is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IfMatch(pub(crate) Option<u64>);

/// A version no object has: what a tag says that this API never gave out.
const NO_VERSION: u64 = u64::MAX;

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(IF_MATCH).iter();
        let Some(first) = values.next() else { return Ok(Self(None)) };
        let one = first.to_str().ok().filter(|text| values.next().is_none() && !text.contains(','));
        let tag = one.ok_or_else(|| ApiError::validation("If-Match", "must be one entity tag, or *"))?.trim();
        if tag == "*" {
            return Ok(Self(None));
        }
        // Weak tags never match (RFC 9110, 8.8.3.2).
        let version = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Ok(Self(Some(version.and_then(|text| text.parse().ok()).unwrap_or(NO_VERSION))))
    }
}

/// Whether the request has `If-None-Match: *`: there must be nothing yet (RFC 9110, 13.1.2). Other tags are refused;
/// they make sense for a cache only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IfNoneMatch(pub(crate) bool);

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(IF_NONE_MATCH).iter();
        match (values.next().map(|value| value.as_bytes().trim_ascii()), values.next()) {
            (None, _) => Ok(Self(false)),
            (Some(b"*"), None) => Ok(Self(true)),
            _ => Err(ApiError::validation("If-None-Match", "must be *, or left out")),
        }
    }
}

/// What a PUT may find in the place of what it brings: `If-Match` and `If-None-Match: *`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Whatever there is, or nothing.
    Anything,
    /// Nothing: `If-None-Match: *`.
    Nothing,
    /// An object, whatever its version: `If-Match: *`.
    Something,
    /// An object of this version.
    Version(u64),
}

impl<S: Send + Sync> FromRequestParts<S> for Expected {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let present = parts.headers.contains_key(IF_MATCH);
        let mut values = parts.headers.get_all(IF_NONE_MATCH).iter();
        let Some(none_match) = values.next() else {
            let IfMatch(version) = IfMatch::from_request_parts(parts, state).await?;
            return Ok(match version {
                Some(version) => Self::Version(version),
                None if present => Self::Something,
                None => Self::Anything,
            });
        };
        if none_match != "*" || values.next().is_some() || present {
            return Err(ApiError::validation("If-None-Match", "must be *, without If-Match beside it"));
        }
        Ok(Self::Nothing)
    }
}
