//! Calling a service in the process: the request's body is fed to it while it works, the answer streamed back.

use crate::forward;
use crate::local::{LocalService, RequestBody, UpgradeHandler};
use crate::metrics::Open;
use crate::reply::{BoxError, Reply, refusal};
use crate::request::RequestCtx;
use crate::{respond, takeover};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora::proxy::Session;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// A service that neither takes a piece of the body nor answers for so long is given up.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(60);

/// Calls `service` with the session's request and writes its answer, or hands it the connection.
pub(crate) async fn local(
    session: &mut Session,
    ctx: &mut RequestCtx,
    service: &Arc<dyn LocalService>,
) -> pingora::Result<()> {
    let (body, feeder) = body(session);
    let request = request(session, ctx, body)?;
    expected(session).await?;
    let reply = answer(session, ctx, service, request, feeder).await;
    let upgrade = reply.extensions().get::<UpgradeHandler>().and_then(UpgradeHandler::take);
    match upgrade.filter(|_| reply.status() == StatusCode::SWITCHING_PROTOCOLS) {
        Some(handler) => {
            let (parts, _) = reply.into_parts();
            let stream = takeover::switch(session, ctx, parts.headers).await?;
            let route = ctx.route.clone();
            let open = route.as_ref().map(|route| Open::new(route.metrics.sockets.clone()));
            handler(Box::new(stream)).await;
            drop(open);
            Ok(())
        }
        None => respond::write(session, ctx, reply).await,
    }
}

/// Asks for the body where the client waits to be asked (RFC 9110, 10.1.1), and takes the header off: it was for
/// this hop. Nobody waits in HTTP/1.0 or without a body, and other expectations are not known.
pub(crate) async fn expected(session: &mut Session) -> pingora::Result<()> {
    let asked = session.req_header_mut().remove_header(&EXPECT);
    let waits = asked.is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if waits && session.req_header().version != Version::HTTP_10 && !session.is_body_empty() {
        session.write_continue_response().await?;
    }
    Ok(())
}

/// The body's two ends; no feeder where there is no body.
fn body(session: &mut Session) -> (RequestBody, Option<Sender<Result<Bytes, BoxError>>>) {
    if session.is_body_empty() {
        return (RequestBody::empty(), None);
    }
    let length = session.req_header().headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    let (feeder, body) = RequestBody::channel(length);
    (body, Some(feeder))
}

fn request(
    session: &mut Session,
    ctx: &RequestCtx,
    body: RequestBody,
) -> pingora::Result<http::Request<RequestBody>> {
    let mut head = session.req_header().clone();
    forward::to_local(&mut head, ctx)?;
    let mut request = http::Request::from_parts(head.as_owned_parts(), body);
    request.headers_mut().remove(TRANSFER_ENCODING);
    if let Some(identity) = &ctx.identity {
        request.extensions_mut().insert(identity.clone());
    }
    Ok(request)
}

/// Runs the service and feeds it until it answers.
async fn answer(
    session: &mut Session,
    ctx: &mut RequestCtx,
    service: &Arc<dyn LocalService>,
    request: http::Request<RequestBody>,
    feeder: Option<Sender<Result<Bytes, BoxError>>>,
) -> Reply {
    let limit = ctx.route.as_ref().and_then(|route| route.config.max_body_bytes);
    let mut call = service.call(request);
    let Some(feeder) = feeder else {
        return match tokio::time::timeout(PROGRESS_DEADLINE, call).await {
            Ok(reply) => reply,
            Err(_) => late(),
        };
    };
    let mut feeder = Some(feeder);
    loop {
        let step = async {
            tokio::select! {
                biased;
                reply = &mut call => Step::Answered(Box::new(reply)),
                fed = feed(session, feeder.as_ref()), if feeder.is_some() => fed,
            }
        };
        match tokio::time::timeout(PROGRESS_DEADLINE, step).await {
            Ok(Step::Answered(reply)) => return *reply,
            Ok(Step::Fed(bytes)) => {
                ctx.bytes_in += bytes as u64;
                if limit.is_some_and(|limit| ctx.bytes_in > limit) {
                    return too_large();
                }
            }
            Ok(Step::Complete) => feeder = None,
            // What follows on the connection cannot be told apart from the body.
            Ok(Step::Broken) => {
                session.set_keepalive(None);
                return refusal(
                    StatusCode::BAD_REQUEST,
                    "BAD_REQUEST",
                    "the request's body is malformed or was cut off",
                );
            }
            Err(_) => {
                session.set_keepalive(None);
                return late();
            }
        }
    }
}

enum Step {
    Answered(Box<Reply>),
    Fed(usize),
    Complete,
    Broken,
}

/// Moves one piece of the body. Cancellation safe: a piece is read only once there is room for it.
async fn feed(session: &mut Session, feeder: Option<&Sender<Result<Bytes, BoxError>>>) -> Step {
    let Some(feeder) = feeder else { return Step::Complete };
    // A service that dropped its end wants no more of the body.
    let Ok(room) = feeder.reserve().await else { return Step::Complete };
    match session.read_request_body().await {
        Ok(Some(piece)) => {
            let bytes = piece.len();
            room.send(Ok(piece));
            Step::Fed(bytes)
        }
        Ok(None) => Step::Complete,
        Err(error) => {
            tracing::debug!(%error, "reading a request's body failed");
            room.send(Err("the request's body is malformed or was cut off".into()));
            Step::Broken
        }
    }
}

fn late() -> Reply {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the request made no progress and was given up")
}

pub(crate) fn too_large() -> Reply {
    refusal(
        StatusCode::PAYLOAD_TOO_LARGE,
        "PAYLOAD_TOO_LARGE",
        "the request's body is larger than this route takes",
    )
}
