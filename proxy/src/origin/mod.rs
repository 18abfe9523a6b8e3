//! Where responses come from: one interface over a service in the process, files, an upstream and a WebSocket's
//! handshake.
//!
//! An [`Origin`] is opened with the request's head, takes the request's body piece by piece while it answers, and
//! gives its response as [`Event`]s: interim heads, the head, the body, trailers. The pipeline asks for the next event
//! and reads the client at once, so a response may begin, and end, while the request still comes in.
//!
//! Trailers come from services in the process only: Pingora 0.9 reads none from an upstream or a client.

mod local;
mod made;
pub(crate) mod upstream;

use crate::forward;
use crate::framing::Length;
use crate::local::UpgradeHandler;
use crate::reply::Reply;
use crate::request::RequestCtx;
use crate::service::EdgeService;
use crate::snapshot::TargetEntry;
use crate::takeover::Prefixed;
use crate::tunnel::{self, Handshake};
use crate::{arrival, files_target, framing};
use bytes::Bytes;
use http::HeaderMap;
use local::LocalCall;
use made::Made;
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use std::sync::Arc;
use tokio::net::TcpStream;
use upstream::UpstreamExchange;

/// The next thing an origin has to say.
pub(crate) enum Event {
    /// An interim head (1xx, but not 101).
    Interim(Box<ResponseHeader>),
    /// The head. Its `Content-Length` is the body's, where that is known; `end`: there is no body.
    Head { head: Box<ResponseHeader>, end: bool },
    /// A head with 101, after which the connection is for something else.
    Switch { head: Box<ResponseHeader>, to: Switch },
    /// A piece of the body, which may be empty; `end`: the last.
    Data { bytes: Bytes, end: bool },
    /// The trailers, which end the response.
    Trailers(HeaderMap),
    /// There is room for another piece of the request's body.
    Room,
}

/// Who gets the connection after a switch of protocols.
pub(crate) enum Switch {
    /// A service in the process.
    Local(UpgradeHandler),
    /// An upstream, at the other end of this stream.
    Upstream(Prefixed<TcpStream>),
}

/// One request's origin.
pub(crate) enum Origin {
    /// A response made in the process.
    Made(Made),
    /// A service in the process.
    Local(Box<LocalCall>),
    /// An upstream.
    Upstream(Box<UpstreamExchange>),
    /// An upstream that switched protocols.
    Switched(Option<(Box<ResponseHeader>, Switch)>),
}

impl Origin {
    /// Opens the target of the request's route.
    ///
    /// # Errors
    /// The request could not be sent; from an upstream's side where the error says so.
    pub(crate) async fn open(
        service: &EdgeService,
        ctx: &mut RequestCtx,
        mut request: RequestHeader,
        length: Length,
    ) -> pingora::Result<Self> {
        let Some(route) = ctx.route.clone() else {
            return Error::e_explain(pingora::ErrorType::InternalError, "a request without a route");
        };
        match &route.target {
            TargetEntry::Local(local) => {
                arrival::give_back_cookies(&mut request, ctx)?;
                forward::to_local(&mut request, ctx)?;
                let identity = ctx.identity.clone();
                Ok(Self::Local(Box::new(LocalCall::new(local, request, identity, length)?)))
            }
            TargetEntry::Files { files, console } => {
                let reply = files_target::answer(&request, ctx, files, *console).await;
                Self::made(reply, request.method == http::Method::HEAD)
            }
            TargetEntry::Upstream(upstream) if tunnel::is_websocket(&request) => {
                ctx.forwarded = true;
                match Box::pin(tunnel::handshake(upstream, &request, ctx)).await? {
                    Handshake::Switched { head, stream } => {
                        Ok(Self::Switched(Some((head, Switch::Upstream(stream)))))
                    }
                    Handshake::Refused { stream } => {
                        let exchange = UpstreamExchange::answered(Box::new(stream), &upstream.config);
                        Ok(Self::Upstream(Box::new(exchange)))
                    }
                    Handshake::Failed(reply) => Self::made(reply, false),
                }
            }
            TargetEntry::Upstream(upstream) => {
                forward::to_upstream(&mut request, ctx)?;
                framing::request(&mut request, length)?;
                let has_body = !matches!(length, Length::Empty);
                let upstream = Arc::clone(upstream);
                let exchange =
                    UpstreamExchange::open(&service.connector, &upstream, ctx, request, has_body).await?;
                Ok(Self::Upstream(Box::new(exchange)))
            }
        }
    }

    /// A response made in the process. `head_only`: the request was HEAD.
    ///
    /// # Errors
    /// A header that cannot be written, which one that is there cannot be.
    pub(crate) fn made(reply: Reply, head_only: bool) -> pingora::Result<Self> {
        Ok(Self::Made(Made::new(reply, head_only)?))
    }

    /// Whether it takes another piece of the request's body now.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Local(call) => call.has_room(),
            Self::Upstream(_) => true,
            Self::Made(_) | Self::Switched(_) => false,
        }
    }

    /// Whether its response is an upstream's, whose headers are not all for clients.
    pub(crate) fn is_upstream(&self) -> bool {
        matches!(self, Self::Upstream(_) | Self::Switched(_))
    }

    /// Hands over a piece of the request's body, for which there must be [room](Self::has_room); `end`: the last.
    /// Where the origin wants no more of the body it is thrown away. Not cancellation safe.
    pub(crate) async fn send(&mut self, bytes: Bytes, end: bool) {
        match self {
            Self::Local(call) => call.send(bytes, end),
            Self::Upstream(exchange) => exchange.send(&bytes, end).await,
            Self::Made(_) | Self::Switched(_) => {}
        }
    }

    /// Says that the request's body will not come whole.
    pub(crate) fn body_failed(&mut self) {
        if let Self::Local(call) = self {
            call.body_failed();
        }
    }

    /// The next event. Cancellation safe. Not to be called after the last.
    ///
    /// # Errors
    /// The response will not come, or not whole. Where [`Error::retry`] says so, nothing was heard of it on a connection
    /// that was open before, and the request may be sent again.
    pub(crate) async fn next(&mut self) -> pingora::Result<Event> {
        match self {
            Self::Made(made) => made.next().await,
            Self::Local(call) => call.next().await,
            Self::Upstream(exchange) => exchange.next().await,
            Self::Switched(switched) => match switched.take() {
                Some((head, to)) => Ok(Event::Switch { head, to }),
                None => std::future::pending().await,
            },
        }
    }

    /// Ends it after the last event: an upstream's connection is kept for the next request where that is sound.
    pub(crate) async fn finish(self, service: &EdgeService) {
        if let Self::Upstream(exchange) = self {
            exchange.release(&service.connector).await;
        }
    }
}
