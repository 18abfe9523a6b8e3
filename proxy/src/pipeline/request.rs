//! The request's half: head and body from the client, through the chain, to the origin.

use super::{Departure, Pipeline, confine};
use crate::cookies;
use crate::expect;
use crate::framing::Length;
use crate::origin::Origin;
use crate::request::RequestCtx;
use crate::snapshot::TargetEntry;
use bytes::Bytes;
use coditect_proxy_wasm::{Direction, Item};
use http::header::{CONTENT_TYPE, COOKIE, TRANSFER_ENCODING};
use pingora::Error;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

/// How far the request has come.
pub(super) struct Sending {
    /// Whether nothing more is read of the body.
    pub(super) received: bool,
    /// Whether nothing more is forwarded, since the response is not the origin's.
    pub(super) abandoned: bool,
    /// A piece that was read before its turn.
    pub(super) ahead: Option<Option<Bytes>>,
    /// Whether the client waits to be asked for the body.
    expects: bool,
    /// Whether a gRPC client asked, which wants its errors in gRPC's form.
    pub(super) is_grpc: bool,
}

impl Sending {
    pub(super) fn new(session: &mut Session, ctx: &RequestCtx) -> Self {
        // Where there are plugins, it was taken before they saw the head.
        let expects = ctx.expects || expect::take(session);
        let received = session.is_body_empty();
        Self { received, abandoned: false, ahead: None, expects, is_grpc: false }
    }
}

impl Pipeline<'_> {
    /// Puts the request's head through the chain.
    pub(super) async fn request_headers(&mut self) -> Result<(), Departure> {
        let head = Item::Headers { end: self.sending.received };
        if let Some(run) = &mut self.ctx.plugins {
            let request = &run.view().request;
            let content_type = request.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
            self.sending.is_grpc = content_type.is_some_and(|value| value.starts_with(b"application/grpc"));
        }
        let items = self.push(Direction::Request, head).await?;
        self.forward(items).await
    }

    /// Tells the client to send the body, if it waits to be told.
    pub(super) async fn ask_for_body(&mut self) -> Result<(), Departure> {
        if std::mem::take(&mut self.sending.expects) {
            let asked = self.session.write_continue_response().await;
            asked.map_err(|error| Departure::Client(error.into_down()))?;
        }
        Ok(())
    }

    /// A piece of the body has come in; `None` is its end.
    pub(super) async fn piece(&mut self, piece: Option<Bytes>) -> Result<(), Departure> {
        let end = piece.is_none() || self.session.is_body_done();
        let bytes = piece.unwrap_or_default();
        self.ctx.bytes_in += bytes.len() as u64;
        let limit = self.ctx.route.as_ref().and_then(|route| route.config.max_body_bytes);
        if limit.is_some_and(|limit| self.ctx.bytes_in > limit) {
            return Err(Departure::TooLarge);
        }
        self.sending.received = end;
        if bytes.is_empty() && !end {
            // Part of a line that says how long the next chunk is.
            return Ok(());
        }
        if !self.passes_chain(Direction::Request) {
            return self.forward(vec![Item::Data { bytes, end }]).await;
        }
        if let Some(run) = &self.ctx.plugins {
            run.view().progress.bytes_in = self.ctx.bytes_in;
        }
        // As Envoy has it, the end of an HTTP/1 body comes by itself.
        let together = !end || bytes.is_empty() || self.session.is_http2();
        let mut items = self.push(Direction::Request, Item::Data { bytes, end: end && together }).await?;
        if !together {
            items.extend(self.push(Direction::Request, Item::Data { bytes: Bytes::new(), end }).await?);
        }
        self.forward(items).await
    }

    /// Sends on what has left the chain.
    pub(super) async fn forward(&mut self, items: Vec<Item>) -> Result<(), Departure> {
        let mut rest = items.as_slice();
        while let Some((item, after)) = rest.split_first() {
            rest = after;
            match item {
                Item::Headers { end } => {
                    let length = match end {
                        true => Length::Empty,
                        false if self.may_change_body(Direction::Request) => whole(rest),
                        false => Length::AsStated,
                    };
                    if length == Length::AsStated || length == Length::Unknown {
                        self.look_ahead().await?;
                    }
                    self.open(length).await?;
                }
                Item::Data { bytes, end } => self.send(bytes.clone(), *end).await,
                // No transport behind the edge takes trailers of a request.
                Item::Trailers => self.send(Bytes::new(), true).await,
            }
        }
        Ok(())
    }

    async fn send(&mut self, bytes: Bytes, end: bool) {
        if let Some(origin) = &mut self.origin {
            origin.send(bytes, end).await;
        }
    }

    /// Sees that the beginning of a chunked body is sound before an upstream hears of the request.
    async fn look_ahead(&mut self) -> Result<(), Departure> {
        let to_upstream = self.ctx.upstream().is_some();
        let chunked = self.session.req_header().headers.contains_key(TRANSFER_ENCODING);
        if !to_upstream || !chunked || self.sending.received || self.ctx.bytes_in > 0 {
            return Ok(());
        }
        self.ask_for_body().await?;
        loop {
            match self.session.read_request_body().await {
                Ok(Some(piece)) if piece.is_empty() => {}
                Ok(piece) => {
                    self.sending.ahead = Some(piece);
                    return Ok(());
                }
                Err(error) => return Err(self.body_broken(&error)),
            }
        }
    }

    /// The body cannot be read to its end.
    pub(super) fn body_broken(&mut self, error: &Error) -> Departure {
        tracing::debug!(%error, "reading a request's body failed");
        if let Some(origin) = &mut self.origin {
            origin.body_failed();
        }
        // What follows on the connection cannot be told apart from the body.
        self.session.set_keepalive(None);
        Departure::BodyBroken
    }

    /// Opens the origin with the request's head as it is now.
    pub(super) async fn open(&mut self, length: Length) -> Result<(), Departure> {
        let request = self.request_head()?;
        self.refuse_keepalive(&request);
        let opened = Origin::open(self.service, self.ctx, request, length).await;
        let origin = match opened {
            Ok(origin) => origin,
            // A connection from the pool that was dead: the next one.
            Err(error) => return Box::pin(self.repeat(error)).await,
        };
        if let (Some(run), Origin::Upstream(exchange)) = (&self.ctx.plugins, &origin) {
            let (ours, theirs) = exchange.addresses();
            let mut view = run.view();
            view.progress.upstream = theirs;
            view.progress.upstream_local = ours;
            view.progress.attempts = (self.ctx.attempts + self.repeats + 1) as u64;
        }
        self.origin = Some(origin);
        Ok(())
    }

    /// The head for the origin: a copy, since plugins see theirs until the request's end.
    fn request_head(&self) -> Result<RequestHeader, Departure> {
        let Some(run) = &self.ctx.plugins else { return Ok(self.session.req_header().clone()) };
        let view = run.view();
        if view.is_unroutable() || !confine::stays(&self.service.snapshot.load(), self.ctx, &view.request) {
            return Err(Departure::Unroutable);
        }
        let mut request = view.request.clone();
        drop(view);
        // A plugin's cookies may not be the edge's own, which say who the caller is.
        let (own, others) = cookies::take_own(&request.headers);
        if own.is_some() {
            request.remove_header(&COOKIE);
            if let Some(others) = others {
                request.insert_header(COOKIE, others).map_err(Departure::Origin)?;
            }
        }
        Ok(request)
    }

    /// What a client sends after asking for a socket is never taken for another request.
    fn refuse_keepalive(&mut self, request: &RequestHeader) {
        let to_upstream =
            matches!(self.ctx.route.as_ref().map(|route| &route.target), Some(TargetEntry::Upstream(_)));
        if to_upstream && crate::tunnel::is_websocket(request) {
            self.session.set_keepalive(None);
        }
    }
}

/// How long a body is of which these are the first things; not known unless they are all there is.
pub(super) fn whole(items: &[Item]) -> Length {
    let mut bytes = 0;
    for item in items {
        match item {
            Item::Data { bytes: piece, end } => {
                bytes += piece.len() as u64;
                if *end {
                    return Length::Exact(bytes);
                }
            }
            Item::Headers { .. } => {}
            // Trailers need a framing that has them.
            Item::Trailers => return Length::Unknown,
        }
    }
    Length::Unknown
}
