//! An upstream as an origin, over Pingora's connection pool.
//!
//! This carries requests that plugins may hold; those that meet no plugin take Pingora's own forwarding. What it does
//! with connections is the same: an address that cannot be reached is left for the next; a request that nothing was
//! heard of on a connection from the pool is sent again where that is safe; a connection goes back to the pool only when
//! both messages on it are whole.

use super::Event;
use crate::request::RequestCtx;
use crate::upstream::Upstream;
use bytes::Bytes;
use coditect_config::UpstreamConfig;
use http::StatusCode;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use std::sync::Arc;

/// An exchange with an upstream.
pub(crate) struct UpstreamExchange {
    http: Http1,
    /// Whom the connection leads to, where it came from the pool's connector.
    peer: Option<Box<HttpPeer>>,
    reading: Reading,
    /// Whether the request was sent whole.
    sent: bool,
    /// Why the request could not be sent whole. The upstream may have answered before that.
    send_error: Option<Box<Error>>,
    /// Whether the request may be sent again when nothing is heard of it.
    repeatable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Head,
    Body,
    Done,
}

impl UpstreamExchange {
    /// Connects, or takes a connection from the pool, and sends the request's head.
    ///
    /// # Errors
    /// No address of the upstream could be reached, or the head could not be sent.
    pub(super) async fn open(
        connector: &Connector,
        upstream: &Arc<Upstream>,
        ctx: &mut RequestCtx,
        request: RequestHeader,
        has_body: bool,
    ) -> pingora::Result<Self> {
        if !ctx.forwarded {
            ctx.forwarded = true;
            ctx.turn = upstream.take_turn();
        }
        let (peer, http, reused) = loop {
            let peer = peer(upstream, ctx).await?;
            match connector.get_http_session(&*peer).await {
                Ok((HttpSession::H1(http), reused)) => break (peer, http, reused),
                Ok(_) => {
                    return Error::e_explain(ErrorType::InternalError, "an upstream that speaks no HTTP/1.1");
                }
                Err(error) => {
                    tracing::debug!(%error, upstream = upstream.config.name, "an address could not be reached");
                    ctx.attempts += 1;
                }
            }
        };
        let mut exchange = Self {
            http,
            peer: Some(peer),
            reading: Reading::Head,
            sent: !has_body,
            send_error: None,
            repeatable: reused && !has_body && request.method.is_idempotent(),
        };
        exchange.limit(&upstream.config);
        match exchange.http.write_request_header(Box::new(request)).await {
            Ok(_) => Ok(exchange),
            Err(mut error) => {
                // A connection from the pool that the upstream has closed.
                error.set_retry(exchange.repeatable && *error.etype() == ErrorType::WriteError);
                Err(error.into_up())
            }
        }
    }

    /// What an upstream has to say on a connection of the edge's own, where a request was sent before. The connection
    /// ends with it.
    pub(super) fn answered(stream: Stream, config: &UpstreamConfig) -> Self {
        let mut exchange = Self {
            http: Http1::new(stream),
            peer: None,
            reading: Reading::Head,
            sent: true,
            send_error: None,
            repeatable: false,
        };
        exchange.limit(config);
        exchange
    }

    fn limit(&mut self, config: &UpstreamConfig) {
        self.http.read_timeout = Some(config.response_timeout);
        self.http.write_timeout = Some(config.response_timeout);
    }

    /// The connection's two ends: ours, then the upstream's.
    pub(crate) fn addresses(&self) -> (Option<std::net::SocketAddr>, Option<std::net::SocketAddr>) {
        let inet = |address: Option<&pingora::protocols::l4::socket::SocketAddr>| {
            address.and_then(|address| address.as_inet().copied())
        };
        (inet(self.http.client_addr()), inet(self.http.server_addr()))
    }

    /// As [`super::Origin::send`]. An upstream that takes no more may have answered before; that is read on.
    pub(super) async fn send(&mut self, bytes: &Bytes, end: bool) {
        if self.sent || self.send_error.is_some() {
            return;
        }
        let sending = async {
            if !bytes.is_empty() {
                self.http.write_body(bytes).await?;
            }
            if end {
                self.http.finish_body().await?;
            }
            Ok(())
        };
        match sending.await {
            Ok(()) => self.sent = end,
            Err(error) => self.send_error = Some(error),
        }
    }

    /// As [`super::Origin::next`].
    pub(super) async fn next(&mut self) -> pingora::Result<Event> {
        match self.reading {
            Reading::Head => self.head().await,
            Reading::Body => match self.http.read_body_bytes().await {
                Ok(piece) => {
                    let end = piece.is_none() || self.http.is_body_done();
                    if end {
                        self.reading = Reading::Done;
                    }
                    Ok(Event::Data { bytes: piece.unwrap_or_default(), end })
                }
                Err(error) => Err(self.failed(error)),
            },
            Reading::Done => Ok(Event::Data { bytes: Bytes::new(), end: true }),
        }
    }

    async fn head(&mut self) -> pingora::Result<Event> {
        if let Err(mut error) = self.http.read_response().await {
            error.retry.decide_reuse(self.repeatable);
            return Err(self.failed(error));
        }
        self.repeatable = false;
        let Some(head) = self.http.resp_header() else {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "an upstream's answer without a head");
        };
        let head = Box::new(head.clone());
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked for it: switches are the tunnels' business.
            let unasked =
                Error::explain(ErrorType::InvalidHTTPHeader, "an upstream switched protocols unasked");
            return Err(unasked.into_up());
        }
        if head.status.is_informational() {
            return Ok(Event::Interim(head));
        }
        let end = self.http.is_body_done();
        self.reading = if end { Reading::Done } else { Reading::Body };
        Ok(Event::Head { head, end })
    }

    /// What went wrong first.
    fn failed(&mut self, error: Box<Error>) -> Box<Error> {
        self.send_error.take().unwrap_or(error).into_up()
    }

    /// Gives the connection back to the pool where request and response are whole and it may go on, and closes it where
    /// not.
    pub(super) async fn release(self, connector: &Connector) {
        let Some(peer) = self.peer.filter(|_| self.sent && self.reading == Reading::Done) else { return };
        let idle = peer.options.idle_timeout;
        connector.release_http_session(HttpSession::H1(self.http), &*peer, idle).await;
    }
}

/// The address to try now, with the upstream's limits.
///
/// # Errors
/// The upstream's name has no address, or each was tried.
pub(crate) async fn peer(upstream: &Arc<Upstream>, ctx: &RequestCtx) -> pingora::Result<Box<HttpPeer>> {
    let unresolved = |message: String| Error::explain(ErrorType::ConnectNoRoute, message).into_up();
    let name = &upstream.config.name;
    let address = match upstream.address(ctx.turn, ctx.attempts).await {
        Ok(Some(address)) => address,
        Ok(None) => return Err(unresolved(format!("upstream {name}: no address left to try"))),
        Err(error) => return Err(unresolved(format!("upstream {name}: {error}"))),
    };
    let mut peer = Box::new(HttpPeer::new(address, false, String::new()));
    peer.options.connection_timeout = Some(upstream.config.connect_timeout);
    peer.options.total_connection_timeout = Some(upstream.config.connect_timeout);
    peer.options.read_timeout = Some(upstream.config.response_timeout);
    peer.options.write_timeout = Some(upstream.config.response_timeout);
    peer.options.idle_timeout = Some(upstream.config.keepalive);
    Ok(peer)
}
