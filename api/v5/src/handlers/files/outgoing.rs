//! Contents on their way out: whole or in part, a few chunks ahead of the client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use coditect_store::blobs::BlobReader;
use coditect_store::records::Content;
use futures::stream::try_unfold;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use uuid::Uuid;

use super::EXECUTABLE;
use super::conditions::{Verdict, judge, range_allowed, tag};
use super::range::{Wanted, wanted};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::transfers::Transfer;

/// The last time that a date of HTTP can say, the end of the year 9999, in Unix milliseconds.
const LAST_DATE: u64 = 253_402_300_799_000;

/// A content to be served, and since when it is what it is (Unix milliseconds).
pub(super) struct Outgoing {
    pub(super) content: Content,
    pub(super) updated_at: i64,
}

impl Outgoing {
    /// Answers a GET, as its preconditions and its range want it.
    pub(super) async fn get(
        self,
        state: &ApiState,
        tenant: Uuid,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        let Content { sha256, size, .. } = self.content;
        if let Some(answer) = self.preconditions(headers)? {
            return Ok(answer);
        }
        let part = match wanted(headers, size) {
            Wanted::Part(part) if range_allowed(headers, sha256) => Some(part),
            Wanted::Beyond if range_allowed(headers, sha256) => {
                return Err(ApiError::RangeNotSatisfiable { size });
            }
            _ => None,
        };
        let length = part.as_ref().map_or(size, |part| part.end - part.start);
        let transfer = state.transfers.download(tenant, Some(length))?;
        let reader = state.repositories.blobs().open(tenant, &sha256).await?;
        let mut reader =
            reader.ok_or_else(|| ApiError::Internal(format!("there is no blob {sha256}").into()))?;
        let mut headers = self.headers()?;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let status = match part {
            Some(part) => {
                let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                headers.insert(CONTENT_RANGE, header(range)?);
                reader = reader.range(part)?;
                StatusCode::PARTIAL_CONTENT
            }
            None => StatusCode::OK,
        };
        Ok((status, headers, stream(reader, transfer, length)).into_response())
    }

    /// Answers a HEAD.
    pub(super) fn head(self, headers: &HeaderMap) -> Result<Response, ApiError> {
        if let Some(answer) = self.preconditions(headers)? {
            return Ok(answer);
        }
        let mut headers = self.headers()?;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.content.size));
        Ok((headers, Body::empty()).into_response())
    }

    /// The answer, if the preconditions have it.
    fn preconditions(&self, headers: &HeaderMap) -> Result<Option<Response>, ApiError> {
        match judge(headers, self.content.sha256, self.modified())? {
            Verdict::Serve => Ok(None),
            Verdict::NotModified => {
                let mut headers = self.headers()?;
                headers.remove(CONTENT_TYPE);
                Ok(Some((StatusCode::NOT_MODIFIED, headers).into_response()))
            }
            Verdict::Failed => Err(ApiError::VersionMismatch),
        }
    }

    fn modified(&self) -> SystemTime {
        let millis = u64::try_from(self.updated_at).unwrap_or(0).min(LAST_DATE);
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn headers(&self) -> Result<HeaderMap, ApiError> {
        let executable = if self.content.executable { "true" } else { "false" };
        Ok(HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
            (CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
            (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (ETAG, header(tag(self.content.sha256))?),
            (LAST_MODIFIED, header(httpdate::fmt_http_date(self.modified()))?),
            (EXECUTABLE, HeaderValue::from_static(executable)),
        ]))
    }
}

/// What is left of a blob, as a body of so many bytes. An error cuts it off, so that nobody takes it for whole.
fn stream(reader: BlobReader, transfer: Transfer, length: u64) -> Body {
    let chunks = try_unfold((reader, transfer), |(mut reader, transfer)| async move {
        match reader.next_chunk().await {
            Ok(chunk) => Ok(chunk.map(|chunk| (chunk, (reader, transfer)))),
            Err(error) => {
                tracing::error!(%error, "a download was cut off");
                Err(error)
            }
        }
    });
    Body::new(Measured { body: Body::from_stream(chunks), left: length })
}

/// A body that says how long it is: whoever frames the message sends that as `Content-Length`.
struct Measured {
    body: Body,
    left: u64,
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = self.left.saturating_sub(bytes);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

pub(super) fn header(value: String) -> Result<HeaderValue, ApiError> {
    HeaderValue::try_from(value).map_err(|error| ApiError::Internal(Box::new(error)))
}
