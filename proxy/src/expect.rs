//! `Expect: 100-continue` (RFC 9110, 10.1.1).

use http::Version;
use http::header::EXPECT;
use pingora::proxy::Session;

/// Takes the header off, since it was for this hop, and says whether the client waits to be asked for the body. Nobody
/// waits in HTTP/1.0 or without a body, and other expectations are not known.
pub(crate) fn take(session: &mut Session) -> bool {
    let asked = session.req_header_mut().remove_header(&EXPECT);
    let waits = asked.is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    waits && session.req_header().version != Version::HTTP_10 && !session.is_body_empty()
}
