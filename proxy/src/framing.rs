//! Where a message ends is the edge's to say: `Content-Length` and `Transfer-Encoding` of what it sends.

use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Version};
use pingora::http::{RequestHeader, ResponseHeader};

/// How much of a body comes after a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// None, and the message has none by its nature.
    Empty,
    /// This many bytes.
    Exact(u64),
    /// As many as the head says, which nobody changed; unknown where it does not say.
    AsStated,
    /// Nobody knows yet.
    Unknown,
}

/// The number in `Content-Length`.
pub(crate) fn stated(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Frames a request that goes to an HTTP/1.1 upstream.
///
/// # Errors
/// None that a number can cause.
pub(crate) fn request(request: &mut RequestHeader, length: Length) -> pingora::Result<()> {
    request.remove_header(&TRAILER);
    let chunked = match length {
        // A client that said 0 said so because its method could have a body.
        Length::Empty => {
            if stated(&request.headers) != Some(0) {
                request.remove_header(&CONTENT_LENGTH);
            }
            false
        }
        Length::Exact(bytes) => {
            request.insert_header(CONTENT_LENGTH, bytes.to_string())?;
            false
        }
        Length::AsStated => stated(&request.headers).is_none(),
        Length::Unknown => true,
    };
    request.remove_header(&TRANSFER_ENCODING);
    if chunked {
        request.remove_header(&CONTENT_LENGTH);
        request.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    }
    Ok(())
}

/// Frames a response to a client that asked with this method and version; says whether the message ends with its head,
/// whatever body there would be (RFC 9110, 6.4.1).
///
/// # Errors
/// None that a number can cause.
pub(crate) fn response(
    head: &mut ResponseHeader,
    method: &Method,
    version: Version,
    length: Length,
) -> pingora::Result<bool> {
    head.set_version(Version::HTTP_11);
    head.remove_header(&TRANSFER_ENCODING);
    let bodiless = *method == Method::HEAD
        || head.status.is_informational()
        || matches!(head.status.as_u16(), 204 | 304);
    if bodiless {
        // HEAD and 304 may say what a GET would have brought (RFC 9110, 8.6), if that is still true.
        let may_state = length != Length::Unknown && !matches!(head.status.as_u16(), 100..=199 | 204);
        if !may_state {
            head.remove_header(&CONTENT_LENGTH);
        }
        return Ok(true);
    }
    match length {
        Length::Empty => drop(head.insert_header(CONTENT_LENGTH, HeaderValue::from_static("0"))?),
        Length::Exact(bytes) => drop(head.insert_header(CONTENT_LENGTH, bytes.to_string())?),
        Length::AsStated if stated(&head.headers).is_some() => {}
        Length::AsStated | Length::Unknown => {
            head.remove_header(&CONTENT_LENGTH);
            // To HTTP/1.0 the connection's end is the body's; HTTP/2 has frames.
            if version == Version::HTTP_11 {
                head.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
            }
        }
    }
    Ok(matches!(length, Length::Empty | Length::Exact(0)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn framed(status: u16, method: &Method, version: Version, length: Length) -> (bool, Option<u64>, bool) {
        let mut head = ResponseHeader::build(status, None).unwrap();
        head.insert_header(CONTENT_LENGTH, "7").unwrap();
        head.insert_header(TRANSFER_ENCODING, "chunked").unwrap();
        let ends = response(&mut head, method, version, length).unwrap();
        (ends, stated(&head.headers), head.headers.contains_key(TRANSFER_ENCODING))
    }

    #[test]
    fn a_response_has_one_framing() {
        let (get, h11, h10, h2) = (&Method::GET, Version::HTTP_11, Version::HTTP_10, Version::HTTP_2);
        for (status, method, version, length, expected) in [
            (200, get, h11, Length::AsStated, (false, Some(7), false)),
            (200, get, h11, Length::Exact(3), (false, Some(3), false)),
            (200, get, h11, Length::Unknown, (false, None, true)),
            (200, get, h10, Length::Unknown, (false, None, false)),
            (200, get, h2, Length::Unknown, (false, None, false)),
            (200, get, h11, Length::Empty, (true, Some(0), false)),
            (200, get, h11, Length::Exact(0), (true, Some(0), false)),
            (204, get, h11, Length::Unknown, (true, None, false)),
            (204, get, h11, Length::Exact(9), (true, None, false)),
            (304, get, h11, Length::AsStated, (true, Some(7), false)),
            (304, get, h11, Length::Unknown, (true, None, false)),
            (200, &Method::HEAD, h11, Length::Empty, (true, Some(7), false)),
            (200, &Method::HEAD, h11, Length::Unknown, (true, None, false)),
        ] {
            assert_eq!(
                framed(status, method, version, length),
                expected,
                "{status} {method} {version:?} {length:?}"
            );
        }
    }

    #[test]
    fn a_request_has_one_framing() {
        for (stated_length, length, expected) in [
            (Some("7"), Length::AsStated, (Some(7), false)),
            (None, Length::AsStated, (None, true)),
            (Some("7"), Length::Unknown, (None, true)),
            (Some("7"), Length::Exact(0), (Some(0), false)),
            (None, Length::Exact(4), (Some(4), false)),
            (Some("0"), Length::Empty, (Some(0), false)),
            (Some("7"), Length::Empty, (None, false)),
            (None, Length::Empty, (None, false)),
        ] {
            let mut head = RequestHeader::build("POST", b"/", None).unwrap();
            head.insert_header(TRANSFER_ENCODING, "chunked").unwrap();
            if let Some(stated_length) = stated_length {
                head.insert_header(CONTENT_LENGTH, stated_length).unwrap();
            }
            request(&mut head, length).unwrap();
            let chunked = head.headers.contains_key(TRANSFER_ENCODING);
            assert_eq!((stated(&head.headers), chunked), expected, "{stated_length:?} {length:?}");
        }
    }
}
