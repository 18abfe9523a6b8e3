//! Preconditions on files (RFC 9110, 13): their entity tags are the hashes of what they hold.

use std::time::{Duration, SystemTime};

use coditect_store::Condition;
use coditect_store::blobs::BlobHash;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName};

use crate::error::ApiError;
use crate::extract::entity_tags;

/// The most entity tags in one header.
const MAX_TAGS: usize = 64;

/// What `If-Match` or `If-None-Match` asks for.
enum Tags {
    Any,
    /// Those that could be a file's: tags that this API never gave out match nothing.
    Of(Vec<BlobHash>),
}

/// What a change of a file is to be held against.
///
/// # Errors
/// [`ApiError::Validation`] for headers that cannot be read, and for both of them at once.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, ApiError> {
    if headers.contains_key(IF_UNMODIFIED_SINCE) && !headers.contains_key(IF_MATCH) {
        let instead = "is not precise enough for a change; send If-Match";
        return Err(ApiError::validation("If-Unmodified-Since", instead));
    }
    match (tags(headers, &IF_MATCH, false)?, tags(headers, &IF_NONE_MATCH, true)?) {
        (None, None) => Ok(Condition::Any),
        (Some(Tags::Any), None) => Ok(Condition::Present),
        (Some(Tags::Of(hashes)), None) => Ok(Condition::OneOf(hashes)),
        (None, Some(Tags::Any)) => Ok(Condition::Absent),
        (None, Some(Tags::Of(hashes))) => Ok(Condition::NoneOf(hashes)),
        (Some(_), Some(_)) => Err(ApiError::validation("If-Match", "cannot go with If-None-Match")),
    }
}

/// How a read is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// With what there is.
    Serve,
    /// With 304.
    NotModified,
    /// With 412.
    Failed,
}

/// Holds a read's preconditions against what there is, in the order of RFC 9110, 13.2.2.
pub(super) fn judge(headers: &HeaderMap, hash: BlobHash, modified: SystemTime) -> Result<Verdict, ApiError> {
    let matches = |tags: &Tags| match tags {
        Tags::Any => true,
        Tags::Of(hashes) => hashes.contains(&hash),
    };
    let (if_match, if_none_match) = (tags(headers, &IF_MATCH, false)?, tags(headers, &IF_NONE_MATCH, true)?);
    let modified_after =
        |name: &HeaderName| date(headers, name).map(|date| seconds(modified) > seconds(date));
    let fails = match &if_match {
        Some(tags) => !matches(tags),
        None => modified_after(&IF_UNMODIFIED_SINCE) == Some(true),
    };
    if fails {
        return Ok(Verdict::Failed);
    }
    let unchanged = match &if_none_match {
        Some(tags) => matches(tags),
        None => modified_after(&IF_MODIFIED_SINCE) == Some(false),
    };
    Ok(if unchanged { Verdict::NotModified } else { Verdict::Serve })
}

/// Whether a range may be served: `If-Range`, if there is one, is the file's tag. A date is never taken for it: a file
/// can change twice in a second.
pub(super) fn range_allowed(headers: &HeaderMap, hash: BlobHash) -> bool {
    headers
        .get(IF_RANGE)
        .is_none_or(|tag| tag.to_str().ok().and_then(|tag| parse(tag.trim(), false)) == Some(hash))
}

/// A file's entity tag.
pub(super) fn tag(hash: BlobHash) -> String {
    format!("\"{hash}\"")
}

/// The tags of a header; `weak` ones are those they would be if they were strong, where the comparison is weak.
fn tags(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Result<Option<Tags>, ApiError> {
    let mut hashes = Vec::new();
    let mut seen = 0;
    for value in headers.get_all(name) {
        let spelt = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
        let refused = |reason| ApiError::validation(spelt, reason);
        // What cannot be read is no precondition that holds: a change must not be made as if there were none.
        let wrong = || refused("must be entity tags, or *");
        let value = value.to_str().map_err(|_| wrong())?;
        if value.trim() == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in entity_tags(value).ok_or_else(wrong)? {
            seen += 1;
            if seen > MAX_TAGS {
                return Err(refused("has too many entity tags: at most 64 are allowed"));
            }
            hashes.extend(parse(tag, weak));
        }
    }
    Ok((seen > 0).then_some(Tags::Of(hashes)))
}

fn parse(tag: &str, weak: bool) -> Option<BlobHash> {
    let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// Whole seconds, as dates of HTTP have them.
fn seconds(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn conditions_are_read_as_the_standard_says() {
        let (one, two) = (BlobHash::of(b"1"), BlobHash::of(b"2"));
        let of = |name: &HeaderName, value: &str| condition(&headers(&[(name.clone(), value)])).unwrap();
        assert_eq!(condition(&HeaderMap::new()).unwrap(), Condition::Any);
        assert_eq!(of(&IF_MATCH, "*"), Condition::Present);
        assert_eq!(of(&IF_NONE_MATCH, "*"), Condition::Absent);
        let both = format!("{} , W/{}", tag(one), tag(two));
        assert_eq!(of(&IF_MATCH, &both), Condition::OneOf(vec![one]), "a weak tag never matches strongly");
        assert_eq!(of(&IF_NONE_MATCH, &both), Condition::NoneOf(vec![one, two]));
        assert_eq!(of(&IF_MATCH, "\"7\""), Condition::OneOf(vec![]), "none of ours matches nothing");
        for unreadable in ["", "7", "{}", "\"7", ", \"7\""] {
            for name in [IF_MATCH, IF_NONE_MATCH] {
                let refused = condition(&headers(&[(name, unreadable)]));
                assert!(matches!(refused, Err(ApiError::Validation { .. })), "{unreadable}");
            }
        }
        let both = headers(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")]);
        assert!(matches!(condition(&both), Err(ApiError::Validation { .. })));
    }

    #[test]
    fn a_read_is_judged_in_the_order_of_the_standard() {
        let hash = BlobHash::of(b"1");
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_900);
        let at = |seconds| httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let (same, before) = (at(1_800_000_000), at(1_799_999_999));
        let own = tag(hash);
        let other = tag(BlobHash::of(b"2"));
        for (pairs, verdict) in [
            (vec![], Verdict::Serve),
            (vec![(IF_NONE_MATCH, own.as_str())], Verdict::NotModified),
            (vec![(IF_NONE_MATCH, other.as_str())], Verdict::Serve),
            (vec![(IF_MATCH, other.as_str()), (IF_NONE_MATCH, own.as_str())], Verdict::Failed),
            (vec![(IF_MATCH, own.as_str()), (IF_NONE_MATCH, own.as_str())], Verdict::NotModified),
            (vec![(IF_MODIFIED_SINCE, same.as_str())], Verdict::NotModified),
            (vec![(IF_MODIFIED_SINCE, before.as_str())], Verdict::Serve),
            (vec![(IF_MODIFIED_SINCE, same.as_str()), (IF_NONE_MATCH, other.as_str())], Verdict::Serve),
            (vec![(IF_UNMODIFIED_SINCE, before.as_str())], Verdict::Failed),
            (vec![(IF_UNMODIFIED_SINCE, same.as_str())], Verdict::Serve),
            (vec![(IF_UNMODIFIED_SINCE, before.as_str()), (IF_MATCH, own.as_str())], Verdict::Serve),
            (vec![(IF_MODIFIED_SINCE, "yesterday")], Verdict::Serve),
        ] {
            assert_eq!(judge(&headers(&pairs), hash, modified).unwrap(), verdict, "{pairs:?}");
        }
        assert!(range_allowed(&headers(&[(IF_RANGE, &own)]), hash));
        for refused in [other.as_str(), same.as_str(), &format!("W/{own}")] {
            assert!(!range_allowed(&headers(&[(IF_RANGE, refused)]), hash), "{refused}");
        }
    }
}
