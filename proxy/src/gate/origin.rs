//! From which pages a browser may open sockets and send unsafe requests (RFC 6455, 10.2; RFC 6454).

use http::HeaderMap;
use http::header::ORIGIN;

/// The origins that are allowed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    /// `scheme://host[:port]` in lower case.
    pub(crate) listed: Vec<String>,
    /// Whether an origin is allowed whose host and port are those the request was sent to.
    pub(crate) own: bool,
}

/// What a request says of the page it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromPage {
    /// From an allowed origin.
    Allowed,
    /// From another one, or from one that hides itself (`null`).
    Refused,
    /// It does not say: not a browser, or a navigation.
    Silent,
}

impl Origins {
    /// Judges the `Origin` (and `Sec-Fetch-Site`) of a request sent to `host`.
    pub(crate) fn judge(&self, headers: &HeaderMap, host: &str) -> FromPage {
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        let mut origins = headers.get_all(ORIGIN).iter();
        let said = match (origins.next(), origins.next()) {
            (None, _) => FromPage::Silent,
            (Some(origin), None) if origin.to_str().is_ok_and(|origin| self.allows(origin, host)) => {
                FromPage::Allowed
            }
            _ => FromPage::Refused,
        };
        match (said, site) {
            // A listed origin may be of another site; without an Origin the browser's own word decides.
            (FromPage::Silent, Some(b"cross-site" | b"same-site")) => FromPage::Refused,
            (FromPage::Silent, Some(b"same-origin")) if self.own => FromPage::Allowed,
            _ => said,
        }
    }

    /// Whether `origin` is one of those allowed to a request sent to `host`.
    pub(crate) fn allows(&self, origin: &str, host: &str) -> bool {
        if self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return false,
        };
        let bare =
            |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
        self.own && !host.is_empty() && bare(authority) == bare(host)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    fn judge(origins: &Origins, pairs: &[(&'static str, &'static str)]) -> FromPage {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        origins.judge(&headers, "edge.example:8080")
    }

    fn own() -> Origins {
        Origins { listed: vec!["https://coditect.ai".into()], own: true }
    }

    #[test]
    fn its_own_and_listed_origins_are_allowed() {
        for origin in ["http://edge.example:8080", "https://edge.example:8080", "https://coditect.ai"] {
            assert_eq!(judge(&own(), &[("origin", origin)]), FromPage::Allowed, "{origin}");
        }
        let default_port = Origins { own: true, ..Origins::default() };
        let headers = [(ORIGIN, HeaderValue::from_static("https://a.example"))].into_iter().collect();
        assert_eq!(default_port.judge(&headers, "a.example:443"), FromPage::Allowed);
    }

    #[test]
    fn others_are_refused() {
        for origin in [
            "http://edge.example",
            "http://evil.example",
            "http://edge.example:8080.evil.example",
            "http://coditect.ai",
            "https://coditect.ai.evil.example",
            "null",
            "",
            "file://edge.example:8080",
        ] {
            assert_eq!(judge(&own(), &[("origin", origin)]), FromPage::Refused, "{origin}");
        }
        let twice = [("origin", "https://coditect.ai"), ("origin", "http://evil.example")];
        assert_eq!(judge(&own(), &twice), FromPage::Refused);
        let listed_only = Origins { own: false, ..own() };
        assert_eq!(judge(&listed_only, &[("origin", "http://edge.example:8080")]), FromPage::Refused);
    }

    #[test]
    fn without_an_origin_the_browsers_word_decides() {
        assert_eq!(judge(&own(), &[]), FromPage::Silent);
        assert_eq!(judge(&own(), &[("sec-fetch-site", "cross-site")]), FromPage::Refused);
        assert_eq!(judge(&own(), &[("sec-fetch-site", "same-origin")]), FromPage::Allowed);
        assert_eq!(judge(&own(), &[("sec-fetch-site", "none")]), FromPage::Silent);
    }
}
