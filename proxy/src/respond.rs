//! Writing a response that was made in the process, past the plugins' response phase.

use crate::forward::REQUEST_ID;
use crate::plugins::{Verdict, View, may_write};
use crate::reply::{Reply, ReplyBody, full, refusal};
use crate::request::RequestCtx;
use coditect_proxy_wasm::{HeaderMap, LocalResponse};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use std::time::Duration;

/// A body that gives nothing for so long is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// A response head ready for the wire, and its body.
struct Prepared {
    head: Box<ResponseHeader>,
    body: ReplyBody,
    /// Whether the message ends with the head.
    bodiless: bool,
}

/// Runs the response phase over `reply` and writes it. The connection goes on only where the whole was written.
pub(crate) async fn write(session: &mut Session, ctx: &mut RequestCtx, reply: Reply) -> pingora::Result<()> {
    let version = session.req_header().version;
    let method = session.req_header().method.clone();
    let mut prepared = prepare(reply, &method, version, ctx)?;
    let bodiless = prepared.bodiless;
    match run_plugins(session, ctx, &mut prepared.head, bodiless) {
        Verdict::Continue => {}
        Verdict::Respond(local) => prepared = prepare(from_plugin(local), &method, version, ctx)?,
        Verdict::Failed => {
            ctx.code = Some("PLUGIN_FAILED");
            prepared = prepare(plugin_failed(), &method, version, ctx)?;
        }
    }
    let Prepared { head, mut body, bodiless } = prepared;
    ctx.status = head.status.as_u16();
    session.write_response_header(head, bodiless).await?;
    if bodiless {
        return Ok(());
    }
    loop {
        let frame = match tokio::time::timeout(BODY_DEADLINE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(error))) => return broken(session, &format!("a response's body failed: {error}")),
            Err(_) => return broken(session, "a response's body stalled"),
        };
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            ctx.bytes_out += data.len() as u64;
            let end = body.is_end_stream();
            session.write_response_body(Some(data), end).await?;
            if end {
                return Ok(());
            }
        }
    }
    session.write_response_body(None, true).await
}

/// The head was sent: all that can be said is that the message is not whole.
fn broken(session: &mut Session, why: &str) -> pingora::Result<()> {
    session.set_keepalive(None);
    pingora::Error::e_explain(pingora::ErrorType::InternalError, why.to_owned())
}

/// Lets the plugins see the head, and change it.
pub(crate) fn run_plugins(
    session: &mut Session,
    ctx: &mut RequestCtx,
    head: &mut ResponseHeader,
    bodiless: bool,
) -> Verdict {
    let Some(run) = &mut ctx.plugins else { return Verdict::Continue };
    let mut view = View {
        facts: &run.facts,
        request: session.req_header_mut(),
        response: Some(head),
        properties: &mut run.properties,
    };
    run.chain.response_headers(&mut view, bodiless)
}

/// A plugin's own response.
pub(crate) fn from_plugin(local: LocalResponse) -> Reply {
    let mut reply = Reply::new(full(local.body));
    *reply.status_mut() = StatusCode::from_u16(local.status).unwrap_or(StatusCode::FORBIDDEN);
    // What a plugin may not write into a response, it may not write into its own either.
    for (name, value) in local.headers.into_iter().filter(|(name, _)| may_write(HeaderMap::Response, name)) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&name), HeaderValue::from_bytes(&value)) {
            reply.headers_mut().append(name, value);
        }
    }
    if !reply.headers().contains_key(CONTENT_TYPE) && !reply.body().is_end_stream() {
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    reply
}

/// What a request gets whose plugin failed closed.
pub(crate) fn plugin_failed() -> Reply {
    let reply = refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "PLUGIN_FAILED",
        "a policy of this route failed, so the request was refused",
    );
    crate::reply::with(reply, http::header::RETRY_AFTER, "1")
}

fn prepare(reply: Reply, method: &Method, version: Version, ctx: &RequestCtx) -> pingora::Result<Prepared> {
    let (parts, body) = reply.into_parts();
    let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 3))?;
    for (name, value) in &parts.headers {
        // Framing is decided here; the connection is not the service's.
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    head.insert_header(REQUEST_ID, ctx.id.to_string())?;

    let no_content = parts.status.is_informational() || matches!(parts.status.as_u16(), 204 | 304);
    let head_only = *method == Method::HEAD;
    let exact = body.size_hint().exact();
    if head_only {
        // What a GET would have sent, where the service says so (RFC 9110, 9.3.2).
        if let Some(length) = parts.headers.get(CONTENT_LENGTH) {
            head.insert_header(CONTENT_LENGTH, length.clone())?;
        }
    } else if !no_content {
        match exact {
            Some(length) => drop(head.insert_header(CONTENT_LENGTH, length.to_string())?),
            None if version == Version::HTTP_11 => drop(head.insert_header(TRANSFER_ENCODING, "chunked")?),
            None => {}
        }
    }
    let bodiless = head_only || no_content || exact == Some(0);
    Ok(Prepared { head: Box::new(head), body, bodiless })
}
