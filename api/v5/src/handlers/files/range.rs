//! `Range` (RFC 9110, 14): one range of bytes. Several at once, and what cannot be read, are answered with the whole.

use std::ops::Range;

use http::HeaderMap;
use http::header::RANGE;

/// Which part of a content is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that it does not have.
    Beyond,
}

/// The part of `size` bytes that a request asks for.
pub(super) fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let mut values = headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Wanted::Whole };
    value.to_str().ok().and_then(|value| parse(value, size)).unwrap_or(Wanted::Whole)
}

/// `None` for what is no single range of bytes.
fn parse(value: &str, size: u64) -> Option<Wanted> {
    let (unit, range) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let part = match (first, last) {
        ("", last) => size.saturating_sub(number(last)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size)
        }
    };
    Some(if part.is_empty() { Wanted::Beyond } else { Wanted::Part(part) })
}

/// Digits alone; a number beyond 64 bits is as good as the greatest.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(value: &'static str, size: u64) -> Wanted {
        wanted(&HeaderMap::from_iter([(RANGE, HeaderValue::from_static(value))]), size)
    }

    #[test]
    fn one_range_is_served() {
        for (value, part) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-", 2..10),
            ("bytes=2-99", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
            ("Bytes=9-99999999999999999999999", 9..10),
        ] {
            assert_eq!(asked(value, 10), Wanted::Part(part), "{value}");
        }
    }

    #[test]
    fn what_is_not_there_is_refused_and_what_cannot_be_read_is_ignored() {
        for value in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(asked(value, 10), Wanted::Beyond, "{value}");
        }
        assert_eq!(asked("bytes=0-", 0), Wanted::Beyond);
        assert_eq!(asked("bytes=-1", 0), Wanted::Beyond);
        for value in [
            "bytes=3-2",
            "bytes=a-b",
            "bytes=-",
            "bytes=1",
            "lines=0-1",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "0-1",
        ] {
            assert_eq!(asked(value, 10), Wanted::Whole, "{value}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 10), Wanted::Whole);
    }
}
