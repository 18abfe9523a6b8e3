//! Preconditions (RFC 9110, 13): `If-None-Match`, `If-Modified-Since`, `If-Range`.

use std::time::UNIX_EPOCH;

use http::header::{HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, HeaderValue};

/// Whether the answer is 304. `tag` is the selected representation's `ETag`, `modified` its `Last-Modified` in
/// unix seconds. `If-Modified-Since` counts only where there is no `If-None-Match`.
pub(super) fn is_not_modified(headers: &HeaderMap, tag: &str, modified: Option<u64>) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        return names_any(headers) || names_tag(headers, tag);
    }
    match (date(headers, &IF_MODIFIED_SINCE), modified) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// Whether `If-None-Match` names `tag` itself; weak comparison (`W/` is ignored).
pub(super) fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        let mut rest = value.to_str().unwrap_or_default();
        while let Some((found, after)) = next_tag(rest) {
            if found == tag {
                return true;
            }
            rest = after;
        }
        false
    })
}

/// Whether a `Range` may be answered: there is no `If-Range`, or it holds the current tag (strong comparison)
/// or exactly the current date.
pub(super) fn range_applies(headers: &HeaderMap, tag: &str, modified: Option<u64>) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    if value.as_bytes() == tag.as_bytes() {
        return true;
    }
    modified.is_some() && date(headers, &IF_RANGE) == modified
}

fn names_any(headers: &HeaderMap) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| value.as_bytes().trim_ascii() == b"*")
}

/// The first entity tag of a list, with its quotes and without `W/`, and what follows it. A tag may hold
/// commas, so the list cannot be split at them. `None` at the end and at the first thing that is no tag.
fn next_tag(list: &str) -> Option<(&str, &str)> {
    let list = list.trim_start_matches([' ', '\t', ',']);
    let list = list.strip_prefix("W/").unwrap_or(list);
    let end = list.strip_prefix('"')?.find('"')? + 2;
    Some((list.get(..end)?, list.get(end..)?))
}

/// Unix seconds of an HTTP date, in any of the three formats of RFC 9110, 5.6.7.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let text = headers.get(name).map(HeaderValue::to_str)?.ok()?;
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SECONDS: u64 = 784_111_777;

    #[test]
    fn if_none_match_lists_any_and_weak_tags() {
        for (value, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("\"x,\", W/\"a\"", true),
            (" , \"b\",,\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("\"b,\"a\"", false),
            ("a", false),
            ("\"a", false),
            ("", false),
        ] {
            let headers = headers(&[(IF_NONE_MATCH, value)]);
            assert_eq!(is_not_modified(&headers, "\"a\"", None), expected, "{value}");
        }
        let two = headers(&[(IF_NONE_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a\"")]);
        assert!(is_not_modified(&two, "\"a\"", None));
    }

    #[test]
    fn if_modified_since_counts_only_alone() {
        let since = headers(&[(IF_MODIFIED_SINCE, DATE)]);
        assert!(is_not_modified(&since, "\"a\"", Some(SECONDS)));
        assert!(is_not_modified(&since, "\"a\"", Some(SECONDS - 1)));
        assert!(!is_not_modified(&since, "\"a\"", Some(SECONDS + 1)));
        assert!(!is_not_modified(&since, "\"a\"", None));
        let both = headers(&[(IF_MODIFIED_SINCE, DATE), (IF_NONE_MATCH, "\"b\"")]);
        assert!(!is_not_modified(&both, "\"a\"", Some(SECONDS)));
        assert!(!is_not_modified(&headers(&[(IF_MODIFIED_SINCE, "yesterday")]), "\"a\"", Some(SECONDS)));
    }

    #[test]
    fn if_range_takes_the_strong_tag_or_the_exact_date() {
        let check = |value| range_applies(&headers(&[(IF_RANGE, value)]), "\"a\"", Some(SECONDS));
        assert!(check("\"a\""));
        assert!(check(DATE));
        assert!(!check("W/\"a\""));
        assert!(!check("\"b\""));
        assert!(!check("Sun, 06 Nov 1994 08:49:38 GMT"));
        assert!(!check("nonsense"));
        assert!(range_applies(&HeaderMap::new(), "\"a\"", None));
        assert!(!range_applies(&headers(&[(IF_RANGE, DATE)]), "\"a\"", None));
        assert!(!range_applies(&headers(&[(IF_RANGE, "nonsense")]), "\"a\"", None));
    }
}
