//! A request's way through its plugins to its origin, and the response's way back.
//!
//! Both directions are driven by one loop ([`Pipeline::step`]): the client is read while the origin answers, one piece
//! is under way in each direction at a time, and nobody is read faster than the other side takes. What the plugins let
//! go is forwarded in order; what they hold, they hold within the host's limits.
//!
//! - The response's head waits for the first thing after it to leave the chain, where a plugin wants response bodies: until
//!   then a plugin can still put another response in its place.
//! - A response put in the place of another one (a plugin's own, a refusal, a failure) passes the response phase
//!   of the plugins that the request has met, once. What replaces it there is written as it is.
//! - Once a byte of the response was written, all that can be said is that it is not whole: the connection, or the
//!   HTTP/2 stream, is broken off.
//!
//! Without plugins the same loop serves what Pingora does not forward: services in the process and WebSockets.

mod confine;
mod request;
mod response;
mod switch;

use crate::failure;
use crate::metrics::Open;
use crate::origin::{Event, Origin};
use crate::plugins::PluginRun;
use crate::reply::Reply;
use crate::request::RequestCtx;
use crate::respond;
use crate::service::EdgeService;
use bytes::Bytes;
use coditect_proxy_wasm::{Direction, Item, Stop};
use http::Method;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use request::Sending;
use response::Receiving;
use std::time::Duration;

/// A client, a service or a body that does nothing for so long is given up. Upstreams have a limit of their own.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(60);
/// How often a request is sent again that nothing was heard of: connections from the pool may all be dead.
const MAX_REPEATS: usize = 8;

/// Serves a request that was let in: through its plugins, if any, to its route's target.
///
/// # Errors
/// The client is to be left without a response, or with a broken one.
pub(crate) async fn run(
    service: &EdgeService,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> pingora::Result<()> {
    let sending = Sending::new(session, ctx);
    let receiving = Receiving::new(session.req_header().method.clone(), session.req_header().version);
    let mut pipeline = Pipeline { service, session, ctx, origin: None, sending, receiving, repeats: 0 };
    match pipeline.exchange().await {
        Ok(()) => Ok(()),
        // Boxed, as all that is rare: a request's state is to be small.
        Err(departure) => Box::pin(pipeline.depart(departure)).await,
    }
}

/// One request under way.
struct Pipeline<'a> {
    service: &'a EdgeService,
    session: &'a mut Session,
    ctx: &'a mut RequestCtx,
    /// Opened when the request's head leaves the chain.
    origin: Option<Origin>,
    sending: Sending,
    receiving: Receiving,
    repeats: usize,
}

/// Why the response is not the origin's.
enum Departure {
    /// A plugin stopped it.
    Stopped(Direction, Stop),
    /// A plugin held it for too long.
    PluginTimeout,
    /// A plugin left nothing to be routed by.
    Unroutable,
    /// The request's body is larger than its route takes.
    TooLarge,
    /// The request's body is malformed, was cut off, or did not come.
    BodyBroken,
    /// Nothing happened for too long.
    Stalled,
    /// The origin failed.
    Origin(Box<Error>),
    /// The client failed, or is gone.
    Client(Box<Error>),
}

/// What the loop woke up for.
enum Woken {
    Event(pingora::Result<Event>),
    Piece(pingora::Result<Option<Bytes>>),
    Stirred(Result<Direction, Stop>),
    /// The client's side ended while it was only listened to.
    Left(Box<Error>),
    Stalled,
}

impl Pipeline<'_> {
    /// The exchange as it should go.
    async fn exchange(&mut self) -> Result<(), Departure> {
        self.request_headers().await?;
        while !self.receiving.done {
            self.step().await?;
        }
        Ok(())
    }

    /// Waits for the next thing to happen, and deals with it.
    async fn step(&mut self) -> Result<(), Departure> {
        match self.wait().await? {
            Woken::Event(Ok(event)) => self.event(event).await,
            Woken::Event(Err(error)) => self.repeat(error).await,
            Woken::Piece(Ok(piece)) => self.piece(piece).await,
            Woken::Piece(Err(error)) => Err(self.body_broken(&error)),
            Woken::Stirred(stirred) => self.stirred(stirred).await,
            Woken::Left(error) => Err(Departure::Client(error.into_down())),
            Woken::Stalled => Err(Departure::Stalled),
        }
    }

    async fn wait(&mut self) -> Result<Woken, Departure> {
        let has_room = self.origin.as_ref().is_none_or(Origin::has_room);
        let reading = !self.sending.received && has_room;
        if reading {
            if let Some(ahead) = self.sending.ahead.take() {
                return Ok(Woken::Piece(Ok(ahead)));
            }
            self.ask_for_body().await?;
        }
        let from_upstream = matches!(self.origin, Some(Origin::Upstream(_)));
        let client = match (reading, self.sending.received && from_upstream) {
            (true, _) => Client::Read,
            // An upstream need not work for a client that is gone.
            (false, true) => Client::Listen,
            (false, false) => Client::LeaveAlone,
        };
        let Self { session, ctx, origin, receiving, .. } = self;
        let woken = async {
            tokio::select! {
                event = next(origin.as_mut().filter(|_| !receiving.origin_ended)) => Woken::Event(event),
                stirred = stirred(ctx.plugins.as_mut().filter(|_| !receiving.direct)) => Woken::Stirred(stirred),
                woken = client.wait(session) => woken,
            }
        };
        if from_upstream {
            return Ok(woken.await);
        }
        Ok(tokio::time::timeout(PROGRESS_DEADLINE, woken).await.unwrap_or(Woken::Stalled))
    }

    /// How long a plugin may hold a message while nothing else is waited for. Without a route there are no plugins.
    fn plugin_timeout(&self) -> Duration {
        self.ctx.route.as_ref().map_or(Duration::ZERO, |route| route.config.plugin_timeout)
    }

    /// Puts something through the chain.
    async fn push(&mut self, direction: Direction, item: Item) -> Result<Vec<Item>, Departure> {
        let limit = self.plugin_timeout();
        let Some(run) = &mut self.ctx.plugins else { return Ok(vec![item]) };
        match tokio::time::timeout(limit, run.chain.push(direction, item)).await {
            Ok(Ok(items)) => Ok(items),
            Ok(Err(stop)) => Err(Departure::Stopped(direction, stop)),
            Err(_) => Err(Departure::PluginTimeout),
        }
    }

    /// A plugin let go of a message, or ended the exchange, outside its callbacks for the message.
    async fn stirred(&mut self, stirred: Result<Direction, Stop>) -> Result<(), Departure> {
        // A plugin that ends it does so for both; what was not sent on decides what it is called.
        let direction = stirred.map_err(|stop| Departure::Stopped(Direction::Request, stop))?;
        let limit = self.plugin_timeout();
        let Some(run) = &mut self.ctx.plugins else { return Ok(()) };
        let released = tokio::time::timeout(limit, run.chain.released(direction)).await;
        let items = released.map_err(|_| Departure::PluginTimeout)?;
        let items = items.map_err(|stop| Departure::Stopped(direction, stop))?;
        match direction {
            Direction::Request if self.sending.abandoned => Ok(()),
            Direction::Request => self.forward(items).await,
            Direction::Response => self.write(items).await,
        }
    }

    /// Whether a plugin may change the body in this direction.
    fn wants_body(&self, direction: Direction) -> bool {
        let filtered = direction == Direction::Request || !self.receiving.direct;
        filtered && self.ctx.plugins.as_ref().is_some_and(|run| run.chain.wants_body(direction))
    }

    /// Whether a plugin that is no shadow looks at the body in this direction, and may change it.
    fn may_change_body(&self, direction: Direction) -> bool {
        let filtered = direction == Direction::Request || !self.receiving.direct;
        filtered && self.ctx.plugins.as_ref().is_some_and(|run| run.chain.may_change_body(direction))
    }

    /// Whether what comes in this direction has to pass the chain. A held head goes before the body, whoever wants that.
    fn passes_chain(&self, direction: Direction) -> bool {
        let holds = |run: &PluginRun| run.chain.holds(direction);
        let filtered = direction == Direction::Request || !self.receiving.direct;
        self.wants_body(direction) || (filtered && self.ctx.plugins.as_ref().is_some_and(holds))
    }

    /// Sends the request again, where nothing was heard of it and nothing can come of that.
    async fn repeat(&mut self, error: Box<Error>) -> Result<(), Departure> {
        if !error.retry() || self.repeats == MAX_REPEATS || self.receiving.begun() {
            return Err(Departure::Origin(error));
        }
        self.repeats += 1;
        self.open(crate::framing::Length::Empty).await
    }

    /// Answers with something else than the origin's response, if that is still possible.
    async fn depart(&mut self, departure: Departure) -> pingora::Result<()> {
        let mut departure = departure;
        // The second time there are no plugins left to depart from.
        for _ in 0..2 {
            let direct = self.receiving.phase_begun || matches!(departure, Departure::PluginTimeout);
            let reply = match self.reply_to(departure) {
                Ok(reply) => reply,
                Err(error) => return Err(error),
            };
            if self.receiving.head_written || self.ctx.socket {
                return self.broken("the response was cut off by the edge");
            }
            self.sending.received = true;
            self.sending.abandoned = true;
            self.receiving.restart(direct);
            // What it was before is dropped, and an upstream's connection closed with it.
            self.origin = Some(Origin::made(reply, self.receiving.method == Method::HEAD)?);
            let responded = async {
                while !self.receiving.done {
                    self.step().await?;
                }
                Ok(())
            };
            match responded.await {
                Ok(()) => return Ok(()),
                Err(next) => departure = next,
            }
        }
        self.broken("a response in the place of another one failed too")
    }

    /// What a client gets for a departure, with what the log calls it.
    fn reply_to(&mut self, departure: Departure) -> pingora::Result<Reply> {
        let ctx = &mut *self.ctx;
        let (code, reply) = match departure {
            Departure::Stopped(_, Stop::Respond(mut local)) => {
                if let Some(run) = &ctx.plugins {
                    let view = run.view();
                    local.headers.retain(|(name, value)| view.may_respond_with(name, value));
                }
                self.receiving.details.clone_from(&local.details);
                let is_grpc = self.sending.is_grpc;
                ("PLUGIN_RESPONSE", respond::from_plugin(local, is_grpc))
            }
            Departure::Stopped(_, Stop::Failed) => ("PLUGIN_FAILED", failure::plugin_failed()),
            Departure::Stopped(_, Stop::Closed) => {
                ctx.code = Some("PLUGIN_CLOSED");
                ctx.unanswered = true;
                self.session.set_keepalive(None);
                return Error::e_explain(ErrorType::InternalError, "a plugin closed the stream");
            }
            Departure::Stopped(Direction::Request, Stop::TooLarge) => {
                ("PAYLOAD_TOO_LARGE", failure::held_too_large())
            }
            Departure::Stopped(Direction::Response, Stop::TooLarge) => {
                ("RESPONSE_TOO_LARGE", failure::response_too_large())
            }
            Departure::PluginTimeout => ("PLUGIN_TIMEOUT", failure::plugin_timeout()),
            Departure::Unroutable => ("NOT_FOUND", failure::unroutable()),
            Departure::BodyBroken => ("BAD_REQUEST", failure::body_broken()),
            Departure::TooLarge => ("PAYLOAD_TOO_LARGE", failure::too_large()),
            Departure::Stalled => {
                self.session.set_keepalive(None);
                ("UNAVAILABLE", failure::stalled())
            }
            // `fail_to_proxy` answers, where there is somebody to answer.
            Departure::Client(error) => return Err(error),
            Departure::Origin(error) => {
                if let Some(upstream) = ctx.upstream() {
                    let upstream = &upstream.config.name;
                    tracing::warn!(upstream, request_id = %ctx.id, error = %error.etype().as_str(), "forwarding failed");
                } else {
                    tracing::warn!(request_id = %ctx.id, %error, "a service's response failed");
                }
                if self.receiving.head_written {
                    return Err(error);
                }
                let reply = failure::reply(&error, ctx).unwrap_or_else(failure::stalled);
                (ctx.code.unwrap_or("INTERNAL"), reply)
            }
        };
        ctx.code = Some(code);
        if self.receiving.details.is_empty() {
            self.receiving.details = code.to_ascii_lowercase().into_bytes();
        }
        Ok(reply)
    }

    /// The head was sent: all that can be said is that the message is not whole.
    fn broken(&mut self, why: &'static str) -> pingora::Result<()> {
        self.session.set_keepalive(None);
        Error::e_explain(ErrorType::InternalError, why)
    }

    /// Counts a socket as open.
    fn open_socket(&self) -> Option<Open> {
        self.ctx.route.as_ref().map(|route| Open::new(route.metrics.sockets.clone()))
    }
}

/// The origin's next event; never, where there is none.
async fn next(origin: Option<&mut Origin>) -> pingora::Result<Event> {
    match origin {
        Some(origin) => origin.next().await,
        None => std::future::pending().await,
    }
}

/// Which message a plugin let go of; never, where there are no plugins. Cancellation safe.
async fn stirred(run: Option<&mut PluginRun>) -> Result<Direction, Stop> {
    match run {
        Some(run) => run.chain.stirred().await,
        None => std::future::pending().await,
    }
}

/// What is done with the client while something else is waited for.
enum Client {
    Read,
    Listen,
    LeaveAlone,
}

impl Client {
    /// Cancellation safe.
    async fn wait(self, session: &mut Session) -> Woken {
        match self {
            Self::Read => Woken::Piece(session.read_request_body().await),
            Self::Listen => match session.read_body_or_idle(true).await {
                Err(error) if *error.etype() != ErrorType::ConnectError => Woken::Left(error),
                // It sent more than its request, of which a byte is lost now: no reason to leave it unanswered.
                _ => {
                    session.set_keepalive(None);
                    std::future::pending().await
                }
            },
            Self::LeaveAlone => std::future::pending().await,
        }
    }
}
