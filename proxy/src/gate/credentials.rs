//! What a request shows to say who it is.

use coditect_auth::AuthError;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The bearer token of the `Authorization` header (RFC 6750, 2.1), if there is such a header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Result<&str, AuthError>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return Some(Err(AuthError::InvalidToken));
    }
    let token = first.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    });
    Some(token.ok_or(AuthError::InvalidToken))
}

/// A query with its credentials taken out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// The parameter `token`, decoded. A secret.
    pub(crate) token: Option<String>,
    /// The parameter `ticket`, decoded. A secret until it is used.
    pub(crate) ticket: Option<String>,
    /// The parameter `sessionId`, decoded.
    pub(crate) session_id: Option<String>,
    /// The query without `token` and `ticket`, as sent; `None` where nothing is left.
    pub(crate) rest: Option<String>,
}

/// Takes `token` and `ticket` out of a query, whatever spelling of the names a decoder would accept.
pub(crate) fn split(query: &str) -> Query {
    let mut split = Query { token: None, ticket: None, session_id: None, rest: None };
    let mut rest = String::with_capacity(query.len());
    for pair in query.split('&') {
        let (name, value) = url::form_urlencoded::parse(pair.as_bytes()).next().unwrap_or_default();
        if name == "token" {
            split.token.get_or_insert_with(|| value.into_owned());
            continue;
        }
        if name == "ticket" {
            split.ticket.get_or_insert_with(|| value.into_owned());
            continue;
        }
        if name == "sessionId" {
            split.session_id.get_or_insert_with(|| value.into_owned());
        }
        if !rest.is_empty() {
            rest.push('&');
        }
        rest.push_str(pair);
    }
    split.rest = (!rest.is_empty()).then_some(rest);
    split
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_bearer_token_is_one_and_only_one() {
        assert_eq!(bearer(&headers(&[])), None);
        assert_eq!(bearer(&headers(&["Bearer abc"])), Some(Ok("abc")));
        assert_eq!(bearer(&headers(&["bearer  abc "])), Some(Ok("abc")));
        for bad in [&["Bearer"][..], &["Bearer "], &["Basic abc"], &["abc"], &["Bearer a", "Bearer b"]] {
            assert_eq!(bearer(&headers(bad)), Some(Err(AuthError::InvalidToken)), "{bad:?}");
        }
    }

    #[test]
    fn a_token_leaves_the_query_however_it_is_written() {
        let query = split("token=a.b&sessionId=7&x=1");
        assert_eq!((query.token.as_deref(), query.session_id.as_deref()), (Some("a.b"), Some("7")));
        assert_eq!(query.rest.as_deref(), Some("sessionId=7&x=1"));
        for spelled in ["%74oken=secret", "x=1&token=secret&y", "token=secret&token=other", "tok%65n=secret"]
        {
            let query = split(spelled);
            assert_eq!(query.token.as_deref(), Some("secret"), "{spelled}");
            assert!(!query.rest.unwrap_or_default().contains("secret"), "{spelled}");
        }
        for spelled in ["ticket=secret", "x&%74icke%74=secret", "ticket=secret&ticket=other&EIO=4"] {
            let query = split(spelled);
            assert_eq!((query.ticket.as_deref(), query.token), (Some("secret"), None), "{spelled}");
            assert!(!query.rest.unwrap_or_default().contains("ecret"), "{spelled}");
        }
        assert_eq!(split("token=x").rest, None);
        assert_eq!(split("tokens=x&EIO=4").rest.as_deref(), Some("tokens=x&EIO=4"));
    }
}
