//! Media types by file name, and which of them are worth compressing.

/// The `Content-Type` of a file called `name`: text types carry `charset=utf-8`, an unknown or missing
/// extension is `application/octet-stream`.
pub(super) fn content_type(name: &str) -> String {
    let essence = essence(name);
    if essence.starts_with("text/") || essence == "application/javascript" {
        format!("{essence}; charset=utf-8")
    } else {
        essence.to_owned()
    }
}

/// Whether a file called `name` holds text or another format without compression of its own.
pub(super) fn is_compressible(name: &str) -> bool {
    let essence = essence(name);
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence,
            "application/javascript"
                | "application/json"
                | "application/xml"
                | "application/wasm"
                | "application/vnd.ms-fontobject"
                | "application/font-sfnt"
                | "font/ttf"
                | "font/otf"
                | "image/bmp"
                | "image/x-icon"
        )
}

fn essence(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    // What the table behind mime_guess has otherwise: source maps are JSON, and modules are scripts (RFC 9239).
    match extension.to_ascii_lowercase().as_str() {
        "map" => "application/json",
        "mjs" | "cjs" => "text/javascript",
        "xml" => "application/xml",
        "otf" => "font/otf",
        _ => mime_guess::from_ext(extension).first_raw().unwrap_or("application/octet-stream"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_extension() {
        for (name, expected, compressible) in [
            ("index.html", "text/html; charset=utf-8", true),
            ("a.css", "text/css; charset=utf-8", true),
            ("a.js", "text/javascript; charset=utf-8", true),
            ("a.mjs", "text/javascript; charset=utf-8", true),
            ("a.JS", "text/javascript; charset=utf-8", true),
            ("a.txt", "text/plain; charset=utf-8", true),
            ("a.js.map", "application/json", true),
            ("a.json", "application/json", true),
            ("a.webmanifest", "application/manifest+json", true),
            ("a.svg", "image/svg+xml", true),
            ("a.wasm", "application/wasm", true),
            ("a.ttf", "font/ttf", true),
            ("favicon.ico", "image/x-icon", true),
            ("a.png", "image/png", false),
            ("a.woff2", "font/woff2", false),
            ("a.unheard-of", "application/octet-stream", false),
            ("LICENSE", "application/octet-stream", false),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
            assert_eq!(is_compressible(name), compressible, "{name}");
        }
    }
}
