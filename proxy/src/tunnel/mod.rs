//! WebSocket tunnels to upstreams: the edge repeats the handshake and pumps the bytes itself.
//!
//! Auth and plugins have run on the upgrade request, and run on its response. After a 101 was passed on the tunnel lives
//! until one end closes it, its token family ends (close code 4001), its workspace is paused or removed (4002), or the
//! edge drains (1012). An upstream that
//! answers anything else than 101 is read as an ordinary response, and the connection ends with it: what the
//! client sent after its request is never taken for another one.

mod frames;
mod handshake;
mod pump;

use crate::metrics::Open;
use crate::reply::Reply;
use crate::request::RequestCtx;
use crate::sockets::{Attached, SocketObserver};
use crate::takeover::Prefixed;
use crate::upstream::Upstream;
use coditect_auth::{Entropy, FamilyEnd};
use handshake::Answer;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;
use pump::{Counters, Ending, Limits, Outcome, pump};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

pub(crate) use handshake::is_websocket;

/// On drain, sockets are closed spread over so long, so that their clients do not all come back at once.
const DRAIN_SPREAD: Duration = Duration::from_millis(1500);

/// When the edge ends a tunnel, its two ends have so long to answer the Close frame: with the grace before it, the
/// last socket is closed within a second.
const PEER_CLOSE: Duration = Duration::from_millis(500);

/// What tunnels share.
pub(crate) struct Tunnels {
    /// Cancelled when the edge drains.
    pub(crate) drain: CancellationToken,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Who is told of them.
    pub(crate) observer: Arc<dyn SocketObserver>,
}

impl Tunnels {
    /// Pumps bytes between the client and the upstream until the tunnel's end.
    pub(crate) async fn pump(
        &self,
        ctx: &mut RequestCtx,
        client: Prefixed<Stream>,
        upstream: Prefixed<TcpStream>,
    ) {
        let route = ctx.route.clone();
        let _open = route.as_ref().map(|route| Open::new(route.metrics.sockets.clone()));
        let counters = Counters::default();
        let bytes = || {
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            (read(&counters.to_upstream), read(&counters.to_client))
        };
        let mut attached = Attached::new(&self.observer, ctx, bytes);
        let family_end = OnceLock::new();
        let family = ctx.identity.as_ref().map(|identity| Arc::clone(&identity.family));
        let workspace_end = ctx.workspace_end.take();
        let ending = async {
            let ended = async {
                match &family {
                    Some(family) => drop(family_end.set(family.ended().await)),
                    None => std::future::pending().await,
                }
            };
            let workspace_ended = async {
                match &workspace_end {
                    Some(end) => end.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ended => Ending::SignedOut,
                () = workspace_ended => Ending::WorkspaceEnded,
                () = self.drained() => Ending::Drain,
            }
        };
        let mask = || {
            let mut key = [0u8; 4];
            self.entropy.fill(&mut key);
            key
        };
        // Boxed: a socket's state is large, and most requests are none.
        let limits = Limits { peer_close: PEER_CLOSE, ..Limits::default() };
        let outcome = Box::pin(pump(client, upstream, &limits, &counters, ending, mask)).await;
        if let Some(attached) = &mut attached {
            attached.reason = reason(outcome, family_end.get().copied());
        }
        ctx.code = Some(outcome.as_str());
        (ctx.bytes_in, ctx.bytes_out) = bytes();
        if let Some(route) = route {
            route.metrics.to_upstream.inc_by(ctx.bytes_in);
            route.metrics.to_client.inc_by(ctx.bytes_out);
        }
    }

    /// Resolves some random time after the drain began.
    async fn drained(&self) {
        self.drain.cancelled().await;
        let mut random = [0u8; 2];
        self.entropy.fill(&mut random);
        let part = f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX);
        tokio::time::sleep(DRAIN_SPREAD.mul_f64(part)).await;
    }
}

/// Why a socket ended, in the observer's words.
fn reason(outcome: Outcome, family: Option<FamilyEnd>) -> &'static str {
    match outcome {
        Outcome::ClientClosed => "client_closed",
        Outcome::UpstreamClosed => "upstream_closed",
        Outcome::SignedOut if family == Some(FamilyEnd::Expired) => "expired",
        Outcome::SignedOut if family == Some(FamilyEnd::Suspended) => "suspended",
        Outcome::SignedOut => "revoked",
        Outcome::WorkspaceEnded => "workspace_ended",
        Outcome::Drained => "drained",
        Outcome::ClientSilent
        | Outcome::UpstreamSilent
        | Outcome::ClientStalled
        | Outcome::UpstreamStalled => "idle",
        Outcome::ClientError(_) | Outcome::UpstreamError(_) => "error",
    }
}

/// What came of a handshake.
pub(crate) enum Handshake {
    /// The upstream switched protocols; the stream begins with what it sent after its head.
    Switched { head: Box<ResponseHeader>, stream: Prefixed<TcpStream> },
    /// It did not; the stream begins with its whole answer.
    Refused { stream: Prefixed<TcpStream> },
    /// There is no answer; this is what the client gets.
    Failed(Reply),
}

/// Repeats a client's handshake towards the upstream.
///
/// # Errors
/// The request cannot be written.
pub(crate) async fn handshake(
    upstream: &Arc<Upstream>,
    request: &RequestHeader,
    ctx: &mut RequestCtx,
) -> pingora::Result<Handshake> {
    let request = handshake::request(request, ctx)?;
    Ok(match handshake::dial(upstream, &request).await {
        Ok(Answer::Switched { head, stream }) => Handshake::Switched { head, stream },
        Ok(Answer::Refused { stream }) => Handshake::Refused { stream },
        Err(error) => {
            let (reply, code) = error.reply();
            let name = &upstream.config.name;
            tracing::warn!(upstream = name, error = &error as &dyn std::error::Error, "handshake failed");
            ctx.code = Some(code);
            Handshake::Failed(reply)
        }
    })
}
