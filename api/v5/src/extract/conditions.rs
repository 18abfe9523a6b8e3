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
        let wrong = || ApiError::validation("If-Match", "must be one entity tag, or *");
        let text = first.to_str().ok().filter(|_| values.next().is_none()).ok_or_else(wrong)?;
        if text.trim() == "*" {
            return Ok(Self(None));
        }
        let tags = entity_tags(text).ok_or_else(wrong)?;
        let [tag] = tags.as_slice() else { return Err(wrong()) };
        // Weak tags never match (RFC 9110, 8.8.3.2).
        let version = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Ok(Self(Some(version.and_then(|text| text.parse().ok()).unwrap_or(NO_VERSION))))
    }
}

/// The entity tags of a list (RFC 9110, 8.8.3), each with its quotes and, if it is weak, `W/`; `None` for anything else,
/// also where there is none. A comma inside a tag is a part of it.
pub(crate) fn entity_tags(text: &str) -> Option<Vec<&str>> {
    let mut tags = Vec::new();
    let mut rest = text.trim();
    loop {
        let opaque = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let length = opaque.find('"')?;
        if !opaque.bytes().take(length).all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (tag, behind) = rest.split_at_checked(rest.len() - opaque.len() + length + 1)?;
        tags.push(tag);
        let behind = behind.trim_start();
        if behind.is_empty() {
            return Some(tags);
        }
        rest = behind.strip_prefix(',')?.trim_start();
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

#[cfg(test)]
mod tests {
    use super::entity_tags;

    #[test]
    fn entity_tags_are_told_apart_at_their_quotes() {
        for (text, tags) in [
            (r#""1""#, vec![r#""1""#]),
            (r#" "" "#, vec![r#""""#]),
            (r#""a,b" , W/"c""#, vec![r#""a,b""#, r#"W/"c""#]),
            (r#"W/"1","2""#, vec![r#"W/"1""#, r#""2""#]),
        ] {
            assert_eq!(entity_tags(text), Some(tags), "{text}");
        }
        for bad in
            ["", " ", "*", "1", "{}", r#""1"#, r#"1""#, r#""a b""#, r#""1" "2""#, r#""1","#, r#"w/"1""#, ","]
        {
            assert_eq!(entity_tags(bad), None, "{bad}");
        }
    }
}
