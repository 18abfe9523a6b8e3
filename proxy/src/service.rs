//! A request's way through the edge, phase by phase (Pingora's `ProxyHttp`).
//!
//! [`arrive`](EdgeService::arrive): route → gate, then the target. A request that meets plugins goes through the
//! [`pipeline`], whatever its target, as do those for a service in the process or a WebSocket. What else is for an
//! upstream is left to Pingora's own forwarding, whose hooks are at the end.

use crate::access_log::AccessLog;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::request::RequestCtx;
use crate::snapshot::{Snapshot, TargetEntry};
use crate::tunnel::{self, Tunnels};
use crate::{expect, failure, files_target, finish, forward, origin, pipeline, respond};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::{Clock, Entropy};
use http::StatusCode;
use http::header::TRANSFER_ENCODING;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use std::sync::Arc;
use std::time::Duration;

/// How long the rest of a request's body is read after its answer, so that the connection can go on.
const DRAIN_BODY: Duration = Duration::from_secs(5);

/// What all requests share.
pub struct EdgeService {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) gate: Gate,
    pub(crate) metrics: Metrics,
    pub(crate) access_log: AccessLog,
    pub(crate) tunnels: Tunnels,
    /// Connections to upstreams for requests that meet plugins; Pingora's own forwarding has its own.
    pub(crate) connector: Connector,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// Where a request that was let in goes.
enum Next {
    /// The response was written, or the connection taken over.
    Done,
    /// To its upstream, by Pingora.
    Forward,
}

impl EdgeService {
    async fn serve(&self, session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<Next> {
        if let Err(refused) = self.arrive(session, ctx).await {
            respond::write(session, ctx, refused).await?;
            return Ok(Next::Done);
        }
        self.target(session, ctx).await
    }

    async fn target(&self, session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<Next> {
        let Some(route) = ctx.route.clone() else { return Ok(Next::Done) };
        match &route.target {
            _ if ctx.plugins.is_some() => {}
            TargetEntry::Files { files, console } => {
                let reply = files_target::answer(session.req_header(), ctx, files, *console).await;
                respond::write(session, ctx, reply).await?;
                return Ok(Next::Done);
            }
            TargetEntry::Upstream(_) if !tunnel::is_websocket(session.req_header()) => {
                return self.before_forwarding(session, ctx).await;
            }
            TargetEntry::Local(_) | TargetEntry::Upstream(_) => {}
        }
        pipeline::run(self, session, ctx).await?;
        Ok(Next::Done)
    }

    /// Sees that the body's beginning is sound before an upstream hears of the request.
    async fn before_forwarding(&self, session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<Next> {
        if expect::take(session) {
            session.write_continue_response().await?;
        }
        if session.is_body_empty() || !session.req_header().headers.contains_key(TRANSFER_ENCODING) {
            return Ok(Next::Forward);
        }
        // What is read here stays in the retry buffer, from which it is forwarded.
        session.enable_retry_buffering();
        loop {
            match session.read_request_body().await {
                // Part of a line that says how long the next chunk is.
                Ok(Some(piece)) if piece.is_empty() => {}
                Ok(_) => return Ok(Next::Forward),
                Err(error) => {
                    tracing::debug!(%error, "a request's body is malformed");
                    session.set_keepalive(None);
                    ctx.code = Some("BAD_REQUEST");
                    respond::write(session, ctx, failure::body_broken()).await?;
                    return Ok(Next::Done);
                }
            }
        }
    }
}

/// The service as Pingora's phases; the listeners' side holds it too.
pub(crate) struct Edge(pub(crate) Arc<EdgeService>);

impl std::ops::Deref for Edge {
    type Target = EdgeService;

    fn deref(&self) -> &EdgeService {
        &self.0
    }
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(&*self.entropy)
    }

    /// No modules: compression and the like are done where the edge answers itself.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<bool> {
        session.set_total_drain_timeout(Some(DRAIN_BODY));
        // Boxed: a socket's life is spent in here.
        let next = Box::pin(self.serve(session, ctx)).await?;
        Ok(matches!(next, Next::Done))
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<Box<HttpPeer>> {
        let upstream =
            ctx.upstream().cloned().ok_or_else(|| Error::explain(ErrorType::InternalError, "no upstream"))?;
        if !ctx.forwarded {
            ctx.forwarded = true;
            ctx.turn = upstream.take_turn();
        }
        origin::upstream::peer(&upstream, ctx).await
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut RequestCtx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent, so the next address may be tried; `upstream_peer` says when there is none left.
        ctx.attempts += 1;
        error.set_retry(true);
        error
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        forward::to_upstream(request, ctx)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        ctx.bytes_in += body.as_ref().map_or(0, |body| body.len() as u64);
        let limit = ctx.route.as_ref().and_then(|route| route.config.max_body_bytes);
        if limit.is_some_and(|limit| ctx.bytes_in > limit) {
            return Error::e_explain(
                ErrorType::HTTPStatus(413),
                "the request's body is larger than its route takes",
            );
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked for it: switches are the tunnels' business.
            let unasked =
                Error::explain(ErrorType::InvalidHTTPHeader, "an upstream switched protocols unasked");
            return Err(unasked.into_up());
        }
        if response.status.is_informational() {
            forward::interim(response);
            return Ok(());
        }
        forward::to_client(response, ctx)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestCtx) -> FailToProxy {
        let reply = if ctx.unanswered { None } else { failure::reply(error, ctx) };
        let unanswered = !ctx.socket && session.response_written().is_none();
        let mut error_code = 0;
        if let Some(reply) = reply.filter(|_| unanswered) {
            error_code = reply.status().as_u16();
            session.set_keepalive(None);
            if let Err(error) = respond::write(session, ctx, reply).await {
                tracing::debug!(%error, "an error could not be told to the client");
            }
            if let (Some(run), Some(written)) = (&ctx.plugins, session.response_written()) {
                // Past the plugins, but for their log phase.
                run.view().response = Some(Box::new(written.clone()));
            }
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// Failures are told by the access log and by metrics; Pingora's own line would repeat the request's target.
    fn suppress_error_log(&self, _: &Session, ctx: &RequestCtx, error: &Error) -> bool {
        if *error.esource() == ErrorSource::Upstream {
            let upstream = ctx.upstream().map(|upstream| upstream.config.name.clone()).unwrap_or_default();
            tracing::warn!(upstream, request_id = %ctx.id, error = %error.etype().as_str(), "forwarding failed");
        }
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &RequestCtx,
        _: &Error,
        _: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, ctx: &RequestCtx) -> String {
        format!("{} {}", ctx.seen.method, ctx.seen.path)
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut RequestCtx) {
        finish::request(&self.0, session, ctx);
    }
}
