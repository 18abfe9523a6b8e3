//! Tells a person opening a page from a script or a tag fetching a resource: only the former may get the
//! single-page fallback, so that a missing script is a 404 and not a page of HTML.

use http::HeaderMap;
use http::header::ACCEPT;

/// The request headers the fallback depends on, for `Vary`.
pub(super) const VARY: &str = "Accept, Sec-Fetch-Mode";

/// Whether `headers` are those of a navigation: `Sec-Fetch-Mode: navigate` (Fetch Metadata), or, from a client
/// that does not send that header, an `Accept` that names `text/html`.
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-mode") {
        Some(mode) => mode.as_bytes().eq_ignore_ascii_case(b"navigate"),
        None => headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(names_html),
    }
}

fn names_html(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let media_type = range.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("text/html")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        is_navigation(&headers)
    }

    #[test]
    fn fetch_metadata_decides_where_it_is_sent() {
        assert!(check(&[("sec-fetch-mode", "navigate"), ("accept", "*/*")]));
        assert!(!check(&[("sec-fetch-mode", "cors"), ("accept", "text/html")]));
        assert!(check(&[("accept", "text/html,application/xhtml+xml;q=0.9")]));
        assert!(check(&[("accept", "application/json, Text/HTML;q=0.5")]));
        assert!(!check(&[("accept", "*/*")]));
        assert!(!check(&[("accept", "text/htmlx")]));
        assert!(!check(&[]));
    }
}
