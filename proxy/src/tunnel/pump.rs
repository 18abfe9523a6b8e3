//! The byte pump of a tunnel: moves the bytes of an upgraded connection between the client's leg and the upstream's
//! leg, and ends it when either leg or the edge is done.
//!
//! One task runs both directions. Each has one bounded buffer and is blocked by nothing but its own sink; while that
//! does not take bytes, its source is not read (back-pressure). WebSocket frames are followed by their headers
//! ([`FrameTracker`](super::frames::FrameTracker)), so that the edge can put frames of its own between them:
//!
//! - a Ping to a leg that has been quiet for [`Limits::idle_ping`]. The Pong that answers it is forwarded to the
//!   other end like any other frame: RFC 6455 5.5.3 allows unsolicited Pongs, and an end ignores them. The Ping has
//!   no payload;
//! - a Close frame when the edge ends the tunnel, unless one has passed in that direction before.
//!
//! A direction in which a protocol violation was seen is pumped on unchanged, but nothing is put into it any more;
//! what is wrong is for the two ends to decide. Silence ends such a tunnel only when a leg neither sends nor takes
//! bytes, for it cannot be asked.
//!
//! How a tunnel ends:
//!
//! - One leg closes (end of file): what it sent is flushed to the other leg (for at most [`Limits::write_stall`]),
//!   whose write half is then shut down; the other direction goes on for [`Limits::half_close`].
//! - A Close frame has passed in both directions: the legs get [`Limits::half_close`] to close their sockets.
//! - The edge ends it (its [`Ending`], a silent leg, a stalled leg): each direction gets [`Limits::close_grace`] to
//!   bring the frame under way to its end, and is cut if that fails. After the Close frame, what still comes in is
//!   read and dropped until both ends have closed, for at most [`Limits::peer_close`].

use std::{
    future::{Future, poll_fn},
    io::ErrorKind,
    pin::pin,
    sync::atomic::AtomicU64,
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};

mod direction;
mod state;
#[cfg(test)]
mod tests;
mod watch;

/// Limits of one tunnel. The times are applied on a tick of an eighth of the shortest of the first three (5 s at
/// most), so those three may take two ticks longer.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// A leg that has sent nothing for this long gets a Ping.
    pub(crate) idle_ping: Duration,
    /// A leg that has sent nothing for this long although pinged is cut. Greater than `idle_ping`; the difference is
    /// the time it has for its Pong.
    pub(crate) silence: Duration,
    /// A leg that takes no byte for this long is cut.
    pub(crate) write_stall: Duration,
    /// When the edge ends a tunnel: the time to reach a frame boundary and to write the Close frame there.
    pub(crate) close_grace: Duration,
    /// When the edge has ended a tunnel: the time the two ends then have to close.
    pub(crate) peer_close: Duration,
    /// The time one direction may go on after the other has ended.
    pub(crate) half_close: Duration,
    /// Largest number of bytes held per direction; at least 2 KiB are. An idle tunnel holds less.
    pub(crate) buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle_ping: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            write_stall: Duration::from_secs(60),
            close_grace: Duration::from_millis(500),
            peer_close: Duration::from_secs(1),
            half_close: Duration::from_secs(2),
            buffer_bytes: 16 * 1024,
        }
    }
}

/// Why the edge ends a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The token family was revoked or has ended: Close 4001 to the client.
    SignedOut,
    /// The workspace was paused or removed: Close 4002 to the client.
    WorkspaceEnded,
    /// The edge drains: Close 1012 to the client, which may connect again.
    Drain,
}

/// Bytes forwarded, counted as they are written, so that they can be read while the tunnel lives. The edge's own
/// control frames are not counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// From the client to the upstream.
    pub(crate) to_upstream: AtomicU64,
    /// From the upstream to the client.
    pub(crate) to_client: AtomicU64,
}

/// How a tunnel ended, or, where both ends did something, who began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client sent a Close frame or closed its socket.
    ClientClosed,
    /// The upstream sent a Close frame or closed its socket.
    UpstreamClosed,
    /// [`Ending::SignedOut`].
    SignedOut,
    /// [`Ending::WorkspaceEnded`].
    WorkspaceEnded,
    /// [`Ending::Drain`].
    Drained,
    /// The client sent nothing for [`Limits::silence`]; the upstream got Close 1001.
    ClientSilent,
    /// The upstream sent nothing for [`Limits::silence`]; the client got Close 1011.
    UpstreamSilent,
    /// The client took nothing for [`Limits::write_stall`]; the upstream got Close 1001.
    ClientStalled,
    /// The upstream took nothing for [`Limits::write_stall`]; the client got Close 1011.
    UpstreamStalled,
    /// The client's socket failed.
    ClientError(ErrorKind),
    /// The upstream's socket failed.
    UpstreamError(ErrorKind),
}

impl Outcome {
    /// A stable name for logs and metric labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::UpstreamClosed => "upstream_closed",
            Self::SignedOut => "signed_out",
            Self::WorkspaceEnded => "workspace_ended",
            Self::Drained => "drained",
            Self::ClientSilent => "client_silent",
            Self::UpstreamSilent => "upstream_silent",
            Self::ClientStalled => "client_stalled",
            Self::UpstreamStalled => "upstream_stalled",
            Self::ClientError(_) => "client_error",
            Self::UpstreamError(_) => "upstream_error",
        }
    }
}

/// Pumps until the tunnel has ended; both legs are closed when the future is done.
///
/// `client` and `upstream` stand right after the handshake: bytes that were read with a head come first out of them.
/// `ending` resolves when the edge wants the tunnel to end; a future that never does is fine. It is polled at every
/// wake of the tunnel, so it should be cheap. `mask` yields masking keys for the frames sent to the upstream and must
/// be unpredictable (RFC 6455 5.3).
///
/// From `ending` to the end: no more than [`Limits::close_grace`] plus [`Limits::peer_close`], whatever the legs do.
///
/// Dropping the future closes both legs at once, without Close frames.
pub(crate) async fn pump<C, U>(
    client: C,
    upstream: U,
    limits: &Limits,
    counters: &Counters,
    ending: impl Future<Output = Ending>,
    mask: impl FnMut() -> [u8; 4],
) -> Outcome
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    U: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut ending = pin!(ending);
    let mut ended = false;
    let mut tunnel = state::Tunnel::new(client, upstream, limits, counters, mask, Instant::now());
    let mut wake_at = tunnel.wake_at();
    let mut timer = pin!(sleep_until(wake_at));
    poll_fn(|cx| {
        // Ending and time come first: moving bytes may use up the task's cooperative budget.
        if !ended && let Poll::Ready(why) = ending.as_mut().poll(cx) {
            ended = true;
            tunnel.end(why);
        }
        while timer.as_mut().poll(cx).is_ready() {
            tunnel.on_time(Instant::now());
            wake_at = tunnel.wake_at();
            timer.as_mut().reset(wake_at);
        }
        let mut again = tunnel.poll_legs(cx);
        again |= tunnel.advance();
        if let Some(outcome) = tunnel.outcome() {
            return Poll::Ready(outcome);
        }
        if tunnel.wake_at() != wake_at {
            wake_at = tunnel.wake_at();
            timer.as_mut().reset(wake_at);
            again = true;
        }
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await
}
