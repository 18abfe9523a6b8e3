//! `Range` (RFC 9110, 14): one range of bytes; everything else is answered whole.

use http::HeaderMap;
use http::header::RANGE;

/// Which part of a file to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// No range, several, another unit, or one that cannot be read: the header is ignored.
    Whole,
    /// From `start` up to, not including, `end`; never empty.
    Part { start: u64, end: u64 },
    /// Nothing of it exists: 416.
    Unsatisfiable,
}

/// What `Range` selects of a file of `length` bytes.
pub(super) fn select(headers: &HeaderMap, length: u64) -> Selection {
    let mut values = headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Selection::Whole };
    value.to_str().ok().and_then(|text| parse(text, length)).unwrap_or(Selection::Whole)
}

fn parse(text: &str, length: u64) -> Option<Selection> {
    let (unit, set) = text.trim().split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let (start, end) = match (first, last) {
        ("", suffix) => (length.saturating_sub(number(suffix)?), length),
        (first, "") => (number(first)?, length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(length))
        }
    };
    Some(if start < end { Selection::Part { start, end } } else { Selection::Unsatisfiable })
}

/// Digits only; a number beyond 64 bits is beyond any file, so it saturates.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::Selection::{Part, Unsatisfiable, Whole};
    use super::*;
    use http::HeaderValue;

    #[test]
    fn one_range_of_bytes() {
        for (value, expected) in [
            ("bytes=0-0", Part { start: 0, end: 1 }),
            ("bytes=2-5", Part { start: 2, end: 6 }),
            ("bytes=2-", Part { start: 2, end: 10 }),
            ("bytes=-3", Part { start: 7, end: 10 }),
            ("bytes=-99", Part { start: 0, end: 10 }),
            ("bytes=9-99999999999999999999999", Part { start: 9, end: 10 }),
            ("Bytes = 1-1", Part { start: 1, end: 2 }),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-12", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 -2", Whole),
            ("bytes", Whole),
            ("lines=0-1", Whole),
            ("bytes=--1", Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(value));
            assert_eq!(select(&headers, 10), expected, "{value}");
        }
    }

    #[test]
    fn an_empty_file_has_no_range_and_two_headers_are_ignored() {
        let mut headers = HeaderMap::new();
        assert_eq!(select(&headers, 10), Whole);
        headers.append(RANGE, HeaderValue::from_static("bytes=0-"));
        assert_eq!(select(&headers, 0), Unsatisfiable);
        headers.append(RANGE, HeaderValue::from_static("bytes=0-"));
        assert_eq!(select(&headers, 10), Whole);
    }
}
