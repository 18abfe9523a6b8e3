//! The end of a request: plugins' log phase, metrics, the access log.

use crate::access_log::Line;
use crate::plugins::Properties;
use crate::request::RequestCtx;
use crate::service::EdgeService;
use pingora::proxy::Session;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Ends what belongs to the request. After a takeover the session is empty and is not asked.
pub(crate) fn request(service: &EdgeService, session: &mut Session, ctx: &mut RequestCtx) {
    if !ctx.socket {
        let written = session.response_written().map(|head| head.status.as_u16());
        ctx.status = written.unwrap_or(0);
        ctx.bytes_out = session.body_bytes_sent() as u64;
    }
    let properties = close_plugins(ctx);
    let duration = ctx.started.elapsed();
    let timed = (!ctx.socket).then_some(duration);
    if let Some(route) = &ctx.route {
        route.metrics.finished(ctx.status, timed);
        if ctx.socket {
            service.metrics.socket_ended(&route.config.prefix.text, ctx.code.unwrap_or("ended"));
        }
    }
    let upstream = ctx.upstream().filter(|_| ctx.forwarded);
    if let Some(upstream) = &upstream {
        upstream.metrics.finished(ctx.status, timed);
    }
    if !service.access_log.is_on() {
        return;
    }
    let claims = ctx.identity.as_ref().map(|identity| &identity.claims);
    service.access_log.line(&Line {
        time: timestamp(service.clock.now_millis()),
        request_id: ctx.id,
        trace_id: ctx.trace.trace_id(),
        client: ctx.client,
        protocol: ctx.seen.protocol,
        method: &ctx.seen.method,
        host: &ctx.seen.host,
        path: &ctx.seen.path,
        query: &ctx.seen.query,
        status: ctx.status,
        code: ctx.code,
        duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        bytes_in: ctx.bytes_in,
        bytes_out: ctx.bytes_out,
        route: ctx.route.as_ref().map(|route| route.config.prefix.text.as_str()),
        upstream: upstream.as_ref().map(|upstream| upstream.config.name.as_str()),
        tenant: claims.map(|claims| claims.tenant_id),
        user: claims.map(|claims| claims.sub),
        workspace: ctx.workspace,
        properties: properties.as_ref().filter(|properties| !properties.is_empty()),
    });
}

/// Runs the plugins' log phase, and gives the properties they have set by then.
fn close_plugins(ctx: &mut RequestCtx) -> Option<Properties> {
    let run = ctx.plugins.take()?;
    let mut view = run.view();
    view.progress.bytes_in = ctx.bytes_in;
    view.progress.bytes_out = ctx.bytes_out;
    view.progress.code = ctx.code;
    drop(view);
    Some(run.finish())
}

/// RFC 3339, in UTC, with milliseconds.
pub(crate) fn timestamp(millis: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
