//! Paths as rules compare them.

/// The form of a request's `:path` that rules are applied to: without query and fragment, percent-encoding undone
/// once, empty and `.` segments left out, `..` followed. So `/%61dmin`, `//admin` and `/x/../admin` are all `/admin`,
/// and a rule cannot be walked around by spelling. What is no UTF-8 becomes U+FFFD, which no rule contains.
///
/// The request itself is not changed; its upstream gets the path as the client wrote it.
pub fn normalize(path: &[u8]) -> String {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    let decoded = decode(path.get(..end).unwrap_or_default());
    let decoded = String::from_utf8_lossy(&decoded);
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let directory = decoded.ends_with('/') && !segments.is_empty();
    format!("/{}{}", segments.join("/"), if directory { "/" } else { "" })
}

/// Undoes percent-encoding. A `%` without two hexadecimal digits stays.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%'
            && let [high, low, beyond @ ..] = after
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            decoded.push(high << 4 | low);
            rest = beyond;
        } else {
            decoded.push(byte);
            rest = after;
        }
    }
    decoded
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Whether a normalized path is `prefix` or lies below it, on segment boundaries: `/api` holds `/api` and `/api/x`, not
/// `/apix`.
pub fn is_under(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix.trim_end_matches('/')) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// Whether a path lies under one of these.
pub fn is_under_any(path: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| is_under(path, prefix))
}

/// Checks a prefix of a configuration: it must be written the way paths are compared, or it would never match.
pub fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix == normalize(prefix.as_bytes()) {
        Ok(())
    } else {
        Err(format!(
            "{prefix:?} is no path; it begins with / and has no query, no percent-encoding, no //, . or .."
        ))
    }
}

/// Checks several, see [`check_prefix`].
pub fn check_prefixes(prefixes: &[String]) -> Result<(), String> {
    prefixes.iter().try_for_each(|prefix| check_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_are_one() {
        for spelling in [
            "/admin",
            "/%61dmin",
            "//admin",
            "/./admin",
            "/x/../admin",
            "/%2e%2e/admin",
            "/admin?a=/b",
            "/admin#x",
        ] {
            assert_eq!(normalize(spelling.as_bytes()), "/admin", "{spelling}");
        }
        assert_eq!(normalize(b"/admin/"), "/admin/");
        assert_eq!(normalize(b""), "/");
        assert_eq!(normalize(b"*"), "/*");
        assert_eq!(normalize(b"/%"), "/%");
        assert_eq!(normalize(b"/%4"), "/%4");
        assert_eq!(normalize(b"/%2561"), "/%61", "once");
        assert_eq!(normalize(b"/\xff"), "/\u{fffd}");
    }

    #[test]
    fn prefixes_end_at_segments() {
        for (path, prefix) in
            [("/api", "/api"), ("/api/x", "/api"), ("/api/", "/api/"), ("/api", "/api/"), ("/x", "/")]
        {
            assert!(is_under(path, prefix), "{path} {prefix}");
        }
        for (path, prefix) in [("/apix", "/api"), ("/", "/api"), ("/API", "/api")] {
            assert!(!is_under(path, prefix), "{path} {prefix}");
        }
    }

    #[test]
    fn prefixes_that_could_not_match_are_refused() {
        for good in ["/", "/api", "/api/"] {
            assert_eq!(check_prefix(good), Ok(()), "{good}");
        }
        for bad in ["", "api", "/a//b", "/%61", "/a?b", "/.."] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }
}
