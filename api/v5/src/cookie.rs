//! A browser's refresh token as a cookie, so that no script ever holds it.
//!
//! A client asks for this with the request header `X-Coditect-Refresh: cookie`. The token then goes out as an
//! `HttpOnly`, `SameSite=Strict` cookie for `/api/v5/auth` and is left out of the body. A request that wants the
//! cookie to count must carry the same header, which a form on another site cannot send, and an `Origin` (where
//! there is one) of this very host.

use http::header::{COOKIE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::error::ApiError;

/// The cookie's name.
const NAME: &str = "coditect-refresh";
/// Where it is sent.
const PATH: &str = "/api/v5/auth";
/// The request header that asks for it.
const MODE: HeaderName = HeaderName::from_static("x-coditect-refresh");
/// Set by the edge: the scheme the client used.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request's wish to keep its refresh token in the cookie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CookieMode {
    secure: bool,
}

impl CookieMode {
    /// The wish, if the request has one.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`] if it has and comes from another origin.
    pub(crate) fn of(headers: &HeaderMap, uri: &Uri) -> Result<Option<Self>, ApiError> {
        if headers.get(MODE).is_none_or(|mode| mode != "cookie") {
            return Ok(None);
        }
        if !same_origin(headers, uri) {
            return Err(ApiError::Forbidden("the request comes from another origin"));
        }
        let secure = headers.get(X_FORWARDED_PROTO).is_some_and(|proto| proto == "https");
        Ok(Some(Self { secure }))
    }

    /// `Set-Cookie` that stores a token for `seconds`.
    pub(crate) fn store(self, token: &str, seconds: i64) -> Result<HeaderValue, ApiError> {
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie =
            format!("{NAME}={token}; Path={PATH}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(cookie).map_err(|error| ApiError::Internal(Box::new(error)))
    }

    /// `Set-Cookie` that removes it.
    pub(crate) fn expire() -> HeaderValue {
        HeaderValue::from_static("coditect-refresh=; Path=/api/v5/auth; Max-Age=0; HttpOnly; SameSite=Strict")
    }
}

/// The cookie's token, if the request carries one, and no more than one: a page below this host's name could add its own
/// beside ours, and nobody could tell which is which. HTTP/2 may split cookies over several headers.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    let mut tokens = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, token)| *name == NAME && !token.is_empty())
        .map(|(_, token)| token);
    tokens.next().filter(|_| tokens.next().is_none())
}

/// Whether `Origin`, if there is one, is the host the request was sent to.
fn same_origin(headers: &HeaderMap, uri: &Uri) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        None => uri.authority().cloned(),
    };
    let (Ok(origin), Some(host)) = (origin.to_str(), host) else {
        return false;
    };
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let (Some(from), Some(to)) = (place(&authority, default_port), place(&host, default_port)) else {
        return false;
    };
    from.0.eq_ignore_ascii_case(to.0) && from.1 == to.1
}

/// Host and port; `None` where there is anything else, such as a user name.
fn place(authority: &Authority, default_port: u16) -> Option<(&str, u16)> {
    let host = authority.host();
    match authority.as_str().strip_prefix(host)? {
        "" => Some((host, default_port)),
        rest => Some((host, rest.strip_prefix(':')?.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn the_token_is_found_among_other_cookies_and_headers() {
        let map =
            headers(&[("cookie", "a=b; coditect-refresh-x=1"), ("cookie", "c; coditect-refresh=t.o.k")]);
        assert_eq!(token(&map), Some("t.o.k"));
        assert_eq!(token(&headers(&[("cookie", "coditect-refresh=")])), None);
        assert_eq!(token(&headers(&[("cookie", "coditect-refresh=a; coditect-refresh=b")])), None);
        assert_eq!(token(&headers(&[])), None);
    }

    #[test]
    fn only_an_origin_of_this_host_may_use_the_cookie() {
        let allowed = |origin: &'static str, host: &'static str| {
            let map = headers(&[("x-coditect-refresh", "cookie"), ("origin", origin), ("host", host)]);
            CookieMode::of(&map, &Uri::from_static("/")).is_ok()
        };
        assert!(allowed("https://ide.example", "ide.example"));
        assert!(allowed("https://ide.example", "IDE.example:443"));
        assert!(allowed("http://127.0.0.1:8080", "127.0.0.1:8080"));
        for origin in [
            "https://evil.example",
            "null",
            "https://ide.example.evil.example",
            "https://ide.example:444",
            "file://ide.example",
            "https://",
            "https://ide.example@evil.example",
            "http://ide.example:443x",
        ] {
            assert!(!allowed(origin, "ide.example"), "{origin}");
        }
        let without_origin = headers(&[("x-coditect-refresh", "cookie")]);
        assert!(CookieMode::of(&without_origin, &Uri::from_static("/")).unwrap().is_some());
        let without_mode = headers(&[("origin", "https://evil.example")]);
        assert!(CookieMode::of(&without_mode, &Uri::from_static("/")).unwrap().is_none());
    }
}
