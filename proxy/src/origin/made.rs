//! Responses that were made in the process, as origins: files, refusals, plugins' own, and what services answer.

use super::Event;
use crate::reply::{Reply, ReplyBody};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::Body as _;
use http_body_util::BodyExt;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};

/// A response on its way out.
pub(crate) struct Made {
    head: Option<Box<ResponseHeader>>,
    body: ReplyBody,
    /// Whether nothing comes after the head.
    bodiless: bool,
}

impl Made {
    /// `head_only`: the request was HEAD.
    ///
    /// # Errors
    /// A header that cannot be written, which one that is there cannot be.
    pub(super) fn new(reply: Reply, head_only: bool) -> pingora::Result<Self> {
        let (parts, body) = reply.into_parts();
        let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 3))?;
        for (name, value) in &parts.headers {
            // The connection is not the service's, and its framing follows from its body.
            if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
                head.append_header(name.clone(), value.clone())?;
            }
        }
        let exact = body.size_hint().exact();
        if head_only || parts.status == http::StatusCode::NOT_MODIFIED {
            // What a GET would have sent, where the service says so (RFC 9110, 9.3.2).
            if let Some(length) = parts.headers.get(CONTENT_LENGTH).filter(|_| head_only) {
                head.insert_header(CONTENT_LENGTH, length.clone())?;
            }
        } else if let Some(length) = exact {
            head.insert_header(CONTENT_LENGTH, length.to_string())?;
        }
        let bodiless =
            head_only || matches!(parts.status.as_u16(), 100..=199 | 204 | 304) || exact == Some(0);
        Ok(Self { head: Some(Box::new(head)), body, bodiless })
    }

    /// As [`super::Origin::next`].
    pub(super) async fn next(&mut self) -> pingora::Result<Event> {
        if let Some(head) = self.head.take() {
            return Ok(Event::Head { head, end: self.bodiless });
        }
        match self.body.frame().await {
            Some(Ok(frame)) => Ok(match frame.into_data() {
                Ok(bytes) => Event::Data { bytes, end: self.body.is_end_stream() },
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => Event::Trailers(trailers),
                    Err(_) => Event::Data { bytes: Bytes::new(), end: false },
                },
            }),
            Some(Err(error)) => {
                Error::e_explain(ErrorType::InternalError, format!("a response's body failed: {error}"))
            }
            None => Ok(Event::Data { bytes: Bytes::new(), end: true }),
        }
    }
}
