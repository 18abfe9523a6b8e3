//! From a found file and the request's headers to a response; and the responses for everything else.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderName, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::FileBody;
use super::compress::{LARGEST_BYTES, SMALLEST_BYTES, Variants};
use super::content::{Content, Found};
use super::encoding::{self, Coding};
use super::error::FileError;
use super::range::{self, Selection};
use super::{caching, conditions, media, navigation};

/// Seconds until a client may try again after a temporary failure.
const RETRY_AFTER_SECONDS: u64 = 1;

/// A found file about to be answered.
pub(super) struct Reply<'a> {
    pub(super) file: Found,
    /// The file stands in for a page of a single-page application.
    pub(super) fallback: bool,
    /// The request is HEAD: headers as for GET, no body.
    pub(super) head: bool,
    pub(super) headers: &'a HeaderMap,
}

impl Reply<'_> {
    /// Selects the representation, then applies preconditions, then the range (RFC 9110, 13.2.2).
    pub(super) async fn into_response(self, variants: &Variants) -> Result<Response<FileBody>, FileError> {
        if let Some(coding) = self.coding() {
            let tag = self.file.tag.header(Some(coding));
            // A client that names the variant got it from us: no need to make it again.
            if conditions::names_tag(self.headers, &tag) {
                return Ok(self.not_modified(&tag));
            }
            if let Some(bytes) = variants.get(&self.file, coding).await? {
                return Ok(self.compressed(coding, &tag, bytes));
            }
        }
        Ok(self.identity())
    }

    /// The coding to try. A request with a `Range` means bytes of the file itself, so it gets no coding.
    fn coding(&self) -> Option<Coding> {
        let worth = (SMALLEST_BYTES + 1..=LARGEST_BYTES).contains(&self.file.length);
        let ranged = !self.head && self.headers.contains_key(RANGE);
        if !worth || ranged || !media::is_compressible(&self.file.name) {
            return None;
        }
        encoding::negotiate(self.headers)
    }

    fn compressed(self, coding: Coding, tag: &str, bytes: Bytes) -> Response<FileBody> {
        if conditions::is_not_modified(self.headers, tag, self.file.modified) {
            return self.not_modified(tag);
        }
        let mut response = self.described(StatusCode::OK, tag, bytes.len() as u64);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
        if !self.head {
            *response.body_mut() = FileBody::memory(bytes);
        }
        response
    }

    fn identity(self) -> Response<FileBody> {
        let (tag, length) = (self.file.tag.header(None), self.file.length);
        if conditions::is_not_modified(self.headers, &tag, self.file.modified) {
            return self.not_modified(&tag);
        }
        // HEAD has no ranges (RFC 9110, 14.2).
        let ranged = !self.head && conditions::range_applies(self.headers, &tag, self.file.modified);
        let selection = if ranged { range::select(self.headers, length) } else { Selection::Whole };
        let (start, end) = match selection {
            Selection::Whole => (0, length),
            Selection::Part { start, end } => (start, end),
            Selection::Unsatisfiable => return unsatisfiable(length),
        };
        let partial = selection != Selection::Whole;
        let status = if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let mut response = self.described(status, &tag, end - start);
        if partial {
            set(&mut response, CONTENT_RANGE, &format!("bytes {start}-{}/{length}", end - 1));
        }
        if !self.head {
            *response.body_mut() = body(self.file.content, start, end);
        }
        response
    }

    /// A response with all that is said about the file but its bytes.
    fn described(&self, status: StatusCode, tag: &str, length: u64) -> Response<FileBody> {
        let mut response = self.validated(status, tag);
        set(&mut response, CONTENT_TYPE, &media::content_type(&self.file.name));
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(seconds) = self.file.modified {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            set(&mut response, LAST_MODIFIED, &date);
        }
        response
    }

    fn not_modified(&self, tag: &str) -> Response<FileBody> {
        self.validated(StatusCode::NOT_MODIFIED, tag)
    }

    /// What a 200, a 206 and a 304 have in common.
    fn validated(&self, status: StatusCode, tag: &str) -> Response<FileBody> {
        let mut response = bare(status);
        set(&mut response, ETAG, tag);
        let cache_control = HeaderValue::from_static(caching::cache_control(&self.file.name));
        response.headers_mut().insert(CACHE_CONTROL, cache_control);
        let mut vary = Vec::new();
        if media::is_compressible(&self.file.name) {
            vary.push("Accept-Encoding");
        }
        if self.fallback {
            vary.push(navigation::VARY);
        }
        if !vary.is_empty() {
            set(&mut response, VARY, &vary.join(", "));
        }
        response
    }
}

fn body(content: Content, start: u64, end: u64) -> FileBody {
    match content {
        Content::File(file) => FileBody::stream(file, start, end),
        Content::Memory(bytes) => {
            // What is in memory is addressable, so neither conversion can fail.
            let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
            let end = usize::try_from(end).unwrap_or(usize::MAX).clamp(start, bytes.len());
            FileBody::memory(bytes.slice(start..end))
        }
    }
}

/// 404, the same for what is not there and what may not be had.
pub(super) fn not_found(head: bool) -> Response<FileBody> {
    text(StatusCode::NOT_FOUND, "not found\n", head)
}

/// 405 for every method but GET and HEAD.
pub(super) fn method_not_allowed() -> Response<FileBody> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed here\n", false);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// 308 to `location`.
pub(super) fn redirect(location: &str, head: bool) -> Response<FileBody> {
    let mut response = text(StatusCode::PERMANENT_REDIRECT, "see Location\n", head);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    set(&mut response, LOCATION, location);
    response
}

/// 500 or 503; the details go to the log, not to the client.
pub(super) fn failure(error: &FileError, head: bool) -> Response<FileBody> {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    if error.is_temporary() {
        tracing::warn!(%error, cause, "static file: answered 503");
        let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "temporarily unavailable\n", head);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        return response;
    }
    tracing::error!(%error, cause, "static file: answered 500");
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n", head)
}

fn unsatisfiable(length: u64) -> Response<FileBody> {
    let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "no such range\n", false);
    set(&mut response, CONTENT_RANGE, &format!("bytes */{length}"));
    response
}

fn text(status: StatusCode, message: &'static str, head: bool) -> Response<FileBody> {
    let mut response = bare(status);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(message.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !head {
        *response.body_mut() = FileBody::memory(Bytes::from_static(message.as_bytes()));
    }
    response
}

fn bare(status: StatusCode) -> Response<FileBody> {
    let mut response = Response::new(FileBody::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Sets a header to a value made here, always of visible ASCII; one that is not would be left out.
fn set(response: &mut Response<FileBody>, name: HeaderName, value: &str) {
    match HeaderValue::try_from(value) {
        Ok(value) => drop(response.headers_mut().insert(name, value)),
        Err(error) => tracing::error!(%error, %name, "a header value that cannot be sent"),
    }
}
