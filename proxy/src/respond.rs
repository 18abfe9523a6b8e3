//! Writing a reply that no plugin is to see, and making one of a plugin's own response.

use crate::forward::REQUEST_ID;
use crate::framing::{self, Length};
use crate::origin::{Event, Origin};
use crate::plugins::grpc_status;
use crate::reply::{Reply, full};
use crate::request::RequestCtx;
use coditect_proxy_wasm::LocalResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use std::time::Duration;

/// A body that gives nothing for so long is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// Writes `reply`. The connection goes on only where the whole was written.
pub(crate) async fn write(session: &mut Session, ctx: &mut RequestCtx, reply: Reply) -> pingora::Result<()> {
    let version = session.req_header().version;
    let method = session.req_header().method.clone();
    let mut origin = Origin::made(reply, method == Method::HEAD)?;
    loop {
        let event = match tokio::time::timeout(BODY_DEADLINE, origin.next()).await {
            Ok(Ok(event)) => event,
            Ok(Err(error)) => return broken(session, error),
            Err(_) => {
                return broken(
                    session,
                    Error::explain(ErrorType::InternalError, "a response's body stalled"),
                );
            }
        };
        match event {
            Event::Head { mut head, end } => {
                head.insert_header(REQUEST_ID, ctx.id.to_string())?;
                let length = if end && method != Method::HEAD { Length::Empty } else { Length::AsStated };
                let ends = framing::response(&mut head, &method, version, length)? || end;
                ctx.status = head.status.as_u16();
                session.write_response_header(head, ends).await?;
                if ends {
                    return Ok(());
                }
            }
            Event::Data { bytes, end } => {
                ctx.bytes_out += bytes.len() as u64;
                let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
                if bytes.is_some() || end {
                    session.write_response_body(bytes, end).await?;
                }
                if end {
                    return Ok(());
                }
            }
            Event::Trailers(_) => return session.write_response_body(None, true).await,
            // Not of a reply.
            Event::Interim(_) | Event::Switch { .. } | Event::Room => {}
        }
    }
}

/// The head was sent: all that can be said is that the message is not whole.
fn broken(session: &mut Session, error: Box<Error>) -> pingora::Result<()> {
    session.set_keepalive(None);
    Err(error)
}

/// A plugin's own response, of headers that it may write. `is_grpc`: to a gRPC client, which gets it as trailers without a body, as Envoy does it.
pub(crate) fn from_plugin(local: LocalResponse, is_grpc: bool) -> Reply {
    let body = if is_grpc { Vec::new() } else { local.body.clone() };
    let mut reply = Reply::new(full(body));
    let status = StatusCode::from_u16(local.status).unwrap_or(StatusCode::FORBIDDEN);
    *reply.status_mut() = if is_grpc { StatusCode::OK } else { status };
    for (name, value) in local.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&name), HeaderValue::from_bytes(&value)) {
            reply.headers_mut().append(name, value);
        }
    }
    let headers = reply.headers_mut();
    if is_grpc {
        let told = local.grpc_status.unwrap_or_else(|| grpc_status(status.as_u16()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(told));
        if let Ok(message) = HeaderValue::try_from(percent_encoded(&local.body))
            && !message.is_empty()
        {
            headers.insert("grpc-message", message);
        }
    } else if !headers.contains_key(CONTENT_TYPE) && !reply.body().is_end_stream() {
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    reply
}

/// As gRPC wants its messages (grpc/grpc, `PROTOCOL-HTTP2.md`).
fn percent_encoded(message: &[u8]) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message {
        match byte {
            b' '..=b'~' if *byte != b'%' => encoded.push(char::from(*byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
