//! Static files as a route's target.

use crate::files::Files;
use crate::reply::{BoxError, Reply};
use crate::request::RequestCtx;
use crate::route::below;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use http_body_util::BodyExt;
use pingora::http::RequestHeader;

/// What the built-in console may load and talk to: itself. Its terminal styles elements from script.
const CONSOLE_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; \
object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Answers from `files`.
pub(crate) async fn answer(request: &RequestHeader, ctx: &RequestCtx, files: &Files, console: bool) -> Reply {
    let path = match &ctx.route {
        Some(route) => below(&route.config.prefix, request.uri.path()),
        None => request.uri.path(),
    };
    let path = if path.is_empty() { "/" } else { path };
    let reply = files.respond(&request.method, path, &request.headers).await;
    let mut reply = reply.map(|body| body.map_err(BoxError::from).boxed_unsync());
    if console {
        let headers = reply.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONSOLE_POLICY));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
    reply
}
