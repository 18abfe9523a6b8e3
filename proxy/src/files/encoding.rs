//! Content codings and their negotiation (RFC 9110, 12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// A content coding this server can apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// Its name in `Content-Encoding`, and in the tags of its variants.
    pub(super) fn token(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }
}

/// Quality values in thousandths, as far as the header names the coding.
#[derive(Default)]
struct Accepted {
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

/// The coding to send, `None` for none: the highest quality value wins, brotli on equal ones; zero forbids;
/// identity wins only where it is named with a higher value. A client that forbids everything gets identity
/// rather than 406, as the RFC allows.
pub(super) fn negotiate(headers: &HeaderMap) -> Option<Coding> {
    let mut accepted = Accepted::default();
    for value in headers.get_all(ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or_default().split(',') {
            accepted.note(item);
        }
    }
    let brotli = accepted.brotli.or(accepted.any).unwrap_or(0);
    let gzip = accepted.gzip.or(accepted.any).unwrap_or(0);
    let (coding, quality) = if gzip > brotli { (Coding::Gzip, gzip) } else { (Coding::Brotli, brotli) };
    (quality > 0 && quality >= accepted.identity.unwrap_or(0)).then_some(coding)
}

impl Accepted {
    fn note(&mut self, item: &str) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let slot = match name.as_str() {
            "br" => &mut self.brotli,
            "gzip" | "x-gzip" => &mut self.gzip,
            "identity" => &mut self.identity,
            "*" => &mut self.any,
            _ => return,
        };
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
        });
        // A weight that cannot be read forbids: sending nothing special is always understood.
        *slot = Some(weight.map_or(1000, |text| quality(text).unwrap_or(0)));
    }
}

/// `0`, `0.5`, `1.000` in thousandths; `None` for anything else.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{whole}{fraction:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn quality_values_decide() {
        use Coding::{Brotli, Gzip};
        for (accept, expected) in [
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("BR;Q=0.3, GZIP;q=0.2", Some(Brotli)),
            ("br;q=0.5, gzip;q=0.5", Some(Brotli)),
            ("br;q=0.5, gzip;q=0.501", Some(Gzip)),
            ("br;q=0, gzip", Some(Gzip)),
            ("br;q=0, gzip;q=0.000", None),
            ("*", Some(Brotli)),
            ("*;q=0.5, br;q=0", Some(Gzip)),
            ("*;q=0, gzip", Some(Gzip)),
            ("gzip;q=0.5, identity;q=0.9", None),
            ("gzip;q=0.5, identity;q=0.5", Some(Gzip)),
            ("identity", None),
            ("deflate, zstd", None),
            ("br;q=2, gzip;q=x", None),
            ("br;q=1.5", None),
            ("br;q=0.0001", None),
            ("", None),
            ("brx, gzipped", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(negotiate(&headers), expected, "{accept}");
        }
        assert_eq!(negotiate(&HeaderMap::new()), None);
    }
}
