//! From a request's head to the decision who it is and where it goes.

// A refusal is a whole response; it is made once in a request's life and moved, so a box would only cost.
#![allow(clippy::result_large_err)]

use crate::cookies;
use crate::expect;
use crate::forward;
use crate::gate::{self, Decision, MAX_FORM_BYTES, Pass, Query};
use crate::hosts::{self, Misplaced};
use crate::path;
use crate::plugins::{Asked, Chosen, Facts, PluginRun, PluginSet, View};
use crate::reply::{Reply, redirect, refusal, reply, with};
use crate::request::{RequestCtx, Seen};
use crate::route::below;
use crate::service::EdgeService;
use crate::snapshot::{RouteEntry, Snapshot, TargetEntry};
use bytes::BytesMut;
use coditect_config::Auth;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, REFERRER_POLICY, UPGRADE};
use http::{HeaderValue, Method, StatusCode, Uri};
use pingora::http::RequestHeader;
use pingora::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora::proxy::Session;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long the form of a confirmed hand-over may take to arrive.
const FORM_DEADLINE: Duration = Duration::from_secs(10);
/// Where the public keys are.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";
/// Paths of the API that a tenant's own plugins do not see: where plugins are managed, or one that refuses everything could
/// never be taken back; and where passwords and tokens are in the bodies.
const NOT_FOR_OWN_PLUGINS: [&str; 3] = ["/api/v5/plugins", "/api/v5/auth", "/api/v5/users/me/password"];
/// How long they may be kept. A key that is to sign waits longer than this.
const JWKS_CACHING: HeaderValue = HeaderValue::from_static("public, max-age=300");

impl EdgeService {
    /// Lets a request in, or says with what it is refused.
    pub(crate) async fn arrive(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Reply> {
        let snapshot = self.snapshot.load_full();
        let http2 = session.is_http2();
        let peer = session.client_addr().and_then(|address| match address {
            PeerAddr::Inet(address) => Some(*address),
            PeerAddr::Unix(_) => None,
        });
        let request = session.req_header_mut();
        let host = host(request);
        ctx.trace = ctx.trace.joined(request.headers.get("traceparent").map(HeaderValue::as_bytes));
        ctx.peer = peer;
        ctx.seen = Seen::of(request, &host, if http2 { "HTTP/2.0" } else { "HTTP/1.1" });
        origin_of(request, &snapshot, ctx);

        if request.method == Method::TRACE {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let refusal = self.refuse(ctx, status, "METHOD_NOT_ALLOWED", "TRACE is not served");
            // Which of these the path takes is its route's to say; that there is a list, RFC 9110, 15.5.6.
            return Err(with(refusal, ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        if let Err(problem) = path::check(request.uri.path()) {
            return Err(self.refuse(ctx, StatusCode::BAD_REQUEST, "BAD_REQUEST", problem.message()));
        }
        let query = withhold_credentials(request, &host)
            .map_err(|problem| self.refuse(ctx, StatusCode::BAD_REQUEST, "BAD_REQUEST", problem))?;
        forward::remove_identity(request);
        if matches!(request.method, Method::GET | Method::HEAD) {
            match request.uri.path() {
                "/health" => {
                    ctx.code = Some("HEALTH");
                    return Err(reply(StatusCode::OK, "application/json", "{\"status\":\"ok\"}"));
                }
                JWKS_PATH => return Err(self.public_keys(ctx)),
                _ => {}
            }
        }
        let Some(route) = snapshot.routes.find(request.uri.path()).cloned() else {
            return Err(self.refuse(ctx, StatusCode::NOT_FOUND, "NOT_FOUND", "no route leads there"));
        };
        ctx.route = Some(Arc::clone(&route));
        if let Some(workspace_host) = &snapshot.workspace_host {
            let (method, path) = (&request.method, request.uri.path());
            let judged = hosts::judge(workspace_host, &host, ctx.secure, &route, method, path, &query);
            if let Some(misplaced) = judged {
                return Err(self.elsewhere(ctx, &misplaced));
            }
        }

        let pass = self.admit(session, ctx, &snapshot, &route, &query, &host).await?;
        let stripped = stripped(&route, &pass);
        ctx.identity = pass.identity;
        ctx.workspace = pass.workspace;
        ctx.workspace_end = pass.workspace_end;
        self.settle(session, ctx, &route, &snapshot.plugins, stripped)
    }

    /// What others verify our tokens with (RFC 7517, 5). A secret has no public half, so then there is nothing.
    fn public_keys(&self, ctx: &mut RequestCtx) -> Reply {
        let Some(keys) = self.gate.public_keys() else {
            let message = "this edge signs its tokens with a secret and publishes no keys";
            return self.refuse(ctx, StatusCode::NOT_FOUND, "NOT_FOUND", message);
        };
        ctx.code = Some("JWKS");
        let mut reply = reply(StatusCode::OK, "application/jwk-set+json", keys);
        reply.headers_mut().insert(CACHE_CONTROL, JWKS_CACHING);
        reply
    }

    async fn admit(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        snapshot: &Snapshot,
        route: &RouteEntry,
        query: &Query,
        host: &str,
    ) -> Result<Pass, Reply> {
        let request = session.req_header();
        let decision = self
            .gate
            .admit(
                &route.config,
                &gate::Request {
                    method: &request.method,
                    path: request.uri.path(),
                    query,
                    headers: &request.headers,
                    host,
                    upgrade: request.headers.contains_key(UPGRADE),
                    secure: ctx.secure,
                    origins: &snapshot.origins,
                },
            )
            .await;
        let decision = match decision {
            Decision::ReadForm => match form(session).await {
                Ok(form) => self.gate.handover_form(&route.config, ctx.secure, &form).await,
                Err(problem) => {
                    return Err(self.refuse(ctx, StatusCode::BAD_REQUEST, "BAD_REQUEST", problem));
                }
            },
            decided => decided,
        };
        match decision {
            Decision::Pass(pass) => Ok(pass),
            Decision::Answer { reply, code } => {
                ctx.code = Some(code);
                Err(reply)
            }
            Decision::ReadForm => {
                Err(self.refuse(ctx, StatusCode::BAD_REQUEST, "BAD_REQUEST", "one form is enough"))
            }
        }
    }

    /// The request is let in: what was for the edge alone is taken off, and its plugins are chosen.
    fn settle(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        route: &Arc<RouteEntry>,
        plugins: &PluginSet,
        stripped: Option<String>,
    ) -> Result<(), Reply> {
        let too_large =
            session.req_header().headers.get(http::header::CONTENT_LENGTH).is_some_and(|length| {
                let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
                route.config.max_body_bytes.is_some_and(|limit| length.is_none_or(|length| length > limit))
            });
        if too_large {
            ctx.code = Some("PAYLOAD_TOO_LARGE");
            return Err(crate::failure::too_large());
        }
        ctx.stripped = stripped;
        let request = session.req_header_mut();
        let authorization = request.remove_header(&AUTHORIZATION);
        ctx.authorization = authorization.filter(|_| route.config.forward_authorization);
        let (own, others) = cookies::take_own(&request.headers);
        ctx.own_cookies = own;
        request.remove_header(&COOKIE);
        if let Some(others) = others
            && request.insert_header(COOKIE, others).is_err()
        {
            return Err(self.refuse(ctx, StatusCode::BAD_REQUEST, "BAD_REQUEST", "a cookie is malformed"));
        }
        let claims = ctx.identity.as_ref().map(|identity| &*identity.claims);
        let tenant = claims.map(|claims| claims.tenant_id);
        let path = session.req_header().uri.path();
        let chosen = plugins.chain_for(Asked {
            route: &route.config.prefix.text,
            claims,
            client: ctx.client,
            manages_plugins: matches!(route.target, TargetEntry::Local(_)) && manages_plugins(path),
        });
        let Chosen { links, own } = chosen.map_err(|unavailable| {
            let plugin = &*unavailable.plugin;
            tracing::debug!(plugin, request_id = %ctx.id, "refused: a plugin at work is not loaded");
            ctx.code = Some("PLUGIN_FAILED");
            crate::failure::plugin_failed()
        })?;
        if !links.is_empty() {
            ctx.expects = expect::take(session);
            let request = session.req_header_mut();
            ctx.arrived = Some((request.method.clone(), request.uri.path().to_owned()));
            forward::take_named_by_connection(request).map_err(|_| {
                self.refuse(ctx, StatusCode::BAD_REQUEST, "BAD_REQUEST", "Connection is malformed")
            })?;
            let facts = self.facts(session, ctx, route);
            let Ok(request) = View::take_request(session) else {
                return Err(self.refuse(
                    ctx,
                    StatusCode::BAD_REQUEST,
                    "BAD_REQUEST",
                    "the method is malformed",
                ));
            };
            ctx.plugins = Some(PluginRun::new(links, tenant, View::new(facts, request, own)));
        }
        Ok(())
    }

    /// What plugins may know of a request that is let in.
    fn facts(&self, session: &Session, ctx: &RequestCtx, route: &Arc<RouteEntry>) -> Facts {
        let client = |peer: SocketAddr| SocketAddr::new(ctx.client.unwrap_or(peer.ip()), peer.port());
        Facts {
            request_id: ctx.id.to_string(),
            route: Arc::clone(route),
            identity: ctx.identity.clone(),
            workspace: ctx.workspace,
            client: ctx.peer.map(client),
            socket: session.digest().and_then(|digest| digest.socket_digest.clone()),
            secure: ctx.secure,
            arrived: self.clock.now_millis().saturating_mul(1_000_000),
            started: ctx.started,
        }
    }

    fn elsewhere(&self, ctx: &mut RequestCtx, misplaced: &Misplaced) -> Reply {
        match misplaced {
            Misplaced::NotFound => {
                self.refuse(ctx, StatusCode::NOT_FOUND, "NOT_FOUND", "this host does not serve that path")
            }
            Misplaced::HandOver(location) => {
                ctx.code = Some("HANDOVER_MOVED");
                let moved = redirect(StatusCode::SEE_OTHER, location);
                with(moved, REFERRER_POLICY, "no-referrer")
            }
        }
    }

    pub(crate) fn refuse(
        &self,
        ctx: &mut RequestCtx,
        status: StatusCode,
        code: &'static str,
        message: &str,
    ) -> Reply {
        ctx.code = Some(code);
        refusal(status, code, message)
    }
}

/// Whether a path of the API in the process is one of those that manage plugins.
fn manages_plugins(path: &str) -> bool {
    NOT_FOR_OWN_PLUGINS
        .iter()
        .filter_map(|prefix| path.strip_prefix(prefix))
        .any(|below| below.is_empty() || below.starts_with('/'))
}

/// Gives a service in the process the edge's own cookies back, which plugins were not to see.
pub(crate) fn give_back_cookies(request: &mut RequestHeader, ctx: &mut RequestCtx) -> pingora::Result<()> {
    match ctx.own_cookies.take() {
        Some(own) => request.append_header(COOKIE, own).map(drop),
        None => Ok(()),
    }
}

/// The authority the request was sent to; HTTP/2 has it in the target.
fn host(request: &RequestHeader) -> String {
    let header = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    header
        .or_else(|| request.uri.authority().map(|authority| authority.as_str()))
        .unwrap_or_default()
        .to_owned()
}

/// Takes token and ticket out of the query, so that nothing behind the gate, no log and no upstream, ever sees it; leaves an
/// origin-form target and a `Host` header, whatever form the request had.
fn withhold_credentials(request: &mut RequestHeader, host: &str) -> Result<Query, &'static str> {
    let query = gate::split(request.uri.query().unwrap_or_default());
    let absolute = request.uri.authority().is_some() || request.raw_path().first() != Some(&b'/');
    if query.token.is_some() || query.ticket.is_some() || absolute {
        let path = request.uri.path();
        let target = match &query.rest {
            Some(rest) => format!("{path}?{rest}"),
            None => path.to_owned(),
        };
        let uri: Uri = target.parse().map_err(|_| "the request target is malformed")?;
        request.set_uri(uri);
    }
    if !request.headers.contains_key(HOST) && !host.is_empty() {
        request.insert_header(HOST, host).map_err(|_| "the authority is malformed")?;
    }
    Ok(query)
}

/// Whose request it is, and over what: the peer's word for it where the peer is a trusted proxy.
fn origin_of(request: &RequestHeader, snapshot: &Snapshot, ctx: &mut RequestCtx) {
    let Some(peer) = ctx.peer.map(|peer| peer.ip().to_canonical()) else { return };
    ctx.client = Some(peer);
    if !snapshot.trusts(peer) {
        return;
    }
    ctx.secure = request
        .headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    let forwarded: Vec<&str> = request
        .headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    // From the right: each trusted proxy vouches for the one before it, up to the first that is not trusted.
    for address in forwarded.iter().rev() {
        let Ok(address) = address.trim().parse::<IpAddr>() else { break };
        ctx.client = Some(address.to_canonical());
        if !snapshot.trusts(address) {
            break;
        }
    }
}

/// What an upstream does not see of the path: the prefix, and the workspace that was named after it.
fn stripped(route: &RouteEntry, pass: &Pass) -> Option<String> {
    if !route.config.strip_prefix {
        return None;
    }
    let prefix = route.config.prefix.text.trim_end_matches('/');
    Some(match pass.workspace.filter(|_| pass.workspace_in_path) {
        Some(workspace) => format!("{prefix}/{workspace}/"),
        None => format!("{prefix}/"),
    })
}

/// The path an upstream gets: `path` without what is stripped.
pub(crate) fn upstream_path<'a>(ctx: &RequestCtx, path: &'a str) -> &'a str {
    let (Some(stripped), Some(route)) = (&ctx.stripped, &ctx.route) else { return path };
    let bare = stripped.trim_end_matches('/');
    match path.strip_prefix(bare) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        // A plugin rewrote the path, or the prefix has `{…}` segments.
        _ => match below(&route.config.prefix, path) {
            "" => "/",
            rest if route.config.auth != Auth::Workspace => rest,
            _ => path,
        },
    }
}

/// The form of a confirmed hand-over.
async fn form(session: &mut Session) -> Result<BytesMut, &'static str> {
    let read = async {
        let mut form = BytesMut::new();
        while let Some(piece) =
            session.read_request_body().await.map_err(|_| "the form is malformed or was cut off")?
        {
            form.extend_from_slice(&piece);
            if form.len() > MAX_FORM_BYTES {
                return Err("the form is too large");
            }
        }
        Ok(form)
    };
    tokio::time::timeout(FORM_DEADLINE, read).await.map_err(|_| "the form did not arrive in time")?
}
