//! What an upstream sees of a request, and what a client sees of its response.
//!
//! Hop-by-hop headers stay on their hop (RFC 9110, 7.6.1). The edge says who the caller is; a client's own copies of
//! those headers are removed from every request, whatever its route.

use crate::arrival::upstream_path;
use crate::cookies;
use crate::request::RequestCtx;
use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{ErrorType, OrErr};

/// Who the edge says the caller is.
const USER: HeaderName = HeaderName::from_static("x-coditect-user");
const TENANT: HeaderName = HeaderName::from_static("x-coditect-tenant");
const SESSION: HeaderName = HeaderName::from_static("x-coditect-session");
const WORKSPACE: HeaderName = HeaderName::from_static("x-coditect-workspace");
const EMAIL: HeaderName = HeaderName::from_static("x-coditect-email");
const IDENTITY: [HeaderName; 5] = [USER, TENANT, SESSION, WORKSPACE, EMAIL];

const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Meant for one hop, in either direction, besides what `Connection` names.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "upgrade",
    "http2-settings",
];

/// With these a response decides about every page of its origin: a service worker over the console, say. Neither a
/// workspace nor a tenant's own plugin sets them.
pub(crate) const ORIGIN_WIDE: [&str; 8] = [
    "service-worker-allowed",
    "clear-site-data",
    "strict-transport-security",
    "alt-svc",
    "nel",
    "report-to",
    "reporting-endpoints",
    "origin-agent-cluster",
];

/// Removes what a client may not say: the identity headers, in any spelling an upstream could take for them.
pub(crate) fn remove_identity(request: &mut RequestHeader) {
    let spelled: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.len() > 10 && {
                let dashed = name.replace('_', "-");
                IDENTITY.iter().any(|identity| identity.as_str() == dashed)
            }
        })
        .cloned()
        .collect();
    for name in spelled {
        request.remove_header(&name);
    }
}

/// Makes the request that goes to an upstream out of the client's, in place.
///
/// # Errors
/// A value that is no header value, which a verified e-mail address could in theory be.
pub(crate) fn to_upstream(request: &mut RequestHeader, ctx: &RequestCtx) -> pingora::Result<()> {
    if let Some(authorization) = &ctx.authorization
        && !request.headers.contains_key(header::AUTHORIZATION)
    {
        // A plugin's own goes first.
        request.insert_header(header::AUTHORIZATION, authorization.clone())?;
    }
    remove_hop_by_hop(request);
    remove_identity(request);
    if let Some(identity) = &ctx.identity {
        let claims = &identity.claims;
        request.insert_header(USER, claims.sub.to_string())?;
        request.insert_header(TENANT, claims.tenant_id.to_string())?;
        request.insert_header(SESSION, claims.session_id.to_string())?;
        request.insert_header(EMAIL, claims.email.as_str())?;
        if let Some(workspace) = ctx.workspace {
            request.insert_header(WORKSPACE, workspace.to_string())?;
        }
    }
    if let Some(peer) = ctx.peer {
        let peer = peer.ip().to_canonical().to_string();
        let appended = match request.headers.get(FORWARDED_FOR).and_then(|before| before.to_str().ok()) {
            Some(before) if !before.trim().is_empty() => format!("{before}, {peer}"),
            _ => peer.clone(),
        };
        request.insert_header(FORWARDED_FOR, appended)?;
        request.insert_header(REAL_IP, ctx.client.map_or(peer, |client| client.to_string()))?;
    }
    if !request.headers.contains_key(header::HOST)
        && let Some(upstream) = ctx.upstream()
    {
        // A client of HTTP/1.0 may name no host; what the upstream gets is HTTP/1.1, where there must be one.
        request.insert_header(header::HOST, upstream.authority())?;
    }
    rebase(request, ctx)?;
    request.insert_header(FORWARDED_PROTO, if ctx.secure { "https" } else { "http" })?;
    request.insert_header(TRACEPARENT, ctx.trace.to_string())?;
    request.insert_header(REQUEST_ID, ctx.id.to_string())?;
    Ok(())
}

/// Takes off the part of the path that the upstream does not see.
fn rebase(request: &mut RequestHeader, ctx: &RequestCtx) -> pingora::Result<()> {
    if ctx.stripped.is_none() {
        return Ok(());
    }
    let path = upstream_path(ctx, request.uri.path());
    let target = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let uri: Uri =
        target.parse().or_err(ErrorType::InvalidHTTPHeader, "the path below the prefix is none")?;
    request.set_uri(uri);
    Ok(())
}

/// Makes the request that a service in the process gets out of the client's, in place: it learns the client's address
/// and scheme from the same headers, and who the caller is from the request's extensions.
///
/// # Errors
/// As [`to_upstream`].
pub(crate) fn to_local(request: &mut RequestHeader, ctx: &RequestCtx) -> pingora::Result<()> {
    remove_identity(request);
    if let Some(client) = ctx.client {
        request.insert_header(REAL_IP, client.to_string())?;
    }
    request.insert_header(FORWARDED_PROTO, if ctx.secure { "https" } else { "http" })?;
    request.insert_header(REQUEST_ID, ctx.id.to_string())?;
    Ok(())
}

/// Takes off what was meant for this hop only.
pub(crate) fn remove_hop_by_hop(request: &mut RequestHeader) {
    for name in named_by_connection(&request.headers) {
        request.remove_header(&name);
    }
    for name in HOP_BY_HOP {
        request.remove_header(name);
    }
}

/// Makes the client's response out of an upstream's, in place.
///
/// # Errors
/// A header that cannot be written, which one that was read cannot be.
pub(crate) fn to_client(response: &mut ResponseHeader, ctx: &RequestCtx) -> pingora::Result<()> {
    for name in named_by_connection(&response.headers) {
        response.remove_header(&name);
    }
    for name in HOP_BY_HOP {
        response.remove_header(name);
    }
    if ctx.workspace.is_some() {
        // These speak for the whole origin, which is the edge's, not a workspace's.
        for name in ORIGIN_WIDE {
            response.remove_header(name);
        }
    }
    if let Some(stripped) = &ctx.stripped {
        confine_cookies(response, ctx.workspace.map(|_| stripped.as_str()))?;
        // An absolute path in a redirect is one below the prefix that was taken off.
        let location = response.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        if let Some(path) = location.filter(|path| path.starts_with('/') && !path.starts_with("//")) {
            let under = format!("{}{path}", stripped.trim_end_matches('/'));
            response.insert_header(header::LOCATION, under)?;
        }
    } else {
        confine_cookies(response, None)?;
    }
    response.insert_header(REQUEST_ID, ctx.id.to_string())?;
    Ok(())
}

/// What is left of an interim response (1xx): hints, which speak of nothing but links.
pub(crate) fn interim(response: &mut ResponseHeader) {
    let names: Vec<HeaderName> =
        response.headers.keys().filter(|name| **name != header::LINK).cloned().collect();
    for name in names {
        response.remove_header(&name);
    }
}

/// No upstream sets a cookie of the edge's; a workspace's cookies stay below its path.
fn confine_cookies(response: &mut ResponseHeader, path: Option<&str>) -> pingora::Result<()> {
    if !response.headers.contains_key(header::SET_COOKIE) {
        return Ok(());
    }
    let kept: Vec<HeaderValue> = response
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter(|cookie| !cookies::is_own(cookie.as_bytes()))
        .filter_map(|cookie| match path {
            Some(path) => cookies::confine(cookie.as_bytes(), path),
            None => Some(cookie.clone()),
        })
        .collect();
    response.remove_header(&header::SET_COOKIE);
    for cookie in kept {
        response.append_header(header::SET_COOKIE, cookie)?;
    }
    Ok(())
}

/// Takes off what a client's `Connection` names, before plugins add headers of their own, and leaves in it only what it
/// says of the connection: a client must not be able to take off what a plugin adds.
///
/// # Errors
/// None that what is left of a header that was read can cause.
pub(crate) fn take_named_by_connection(request: &mut RequestHeader) -> pingora::Result<()> {
    const OPTIONS: [&str; 3] = ["close", "keep-alive", "upgrade"];
    let named = named_by_connection(&request.headers);
    if named.is_empty() {
        return Ok(());
    }
    let (options, named): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|name| OPTIONS.contains(&name.as_str()));
    for name in named {
        request.remove_header(&name);
    }
    request.remove_header(&header::CONNECTION);
    if !options.is_empty() {
        let options: Vec<&str> = options.iter().map(HeaderName::as_str).collect();
        request.insert_header(header::CONNECTION, options.join(", "))?;
    }
    Ok(())
}

/// What `Connection` names. Nothing that the message cannot do without (RFC 9110, 7.6.1), or a client could take off
/// the edge's own headers.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| {
            ![header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::COOKIE].contains(name)
        })
        .collect()
}
