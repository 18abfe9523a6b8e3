//! One attached WebSocket: from its 101 to its Close frame.
//!
//! Both directions run side by side within the connection's own task, so a client that takes no output can still
//! type, and whichever reason to end comes first cuts the other short.

mod incoming;
mod outgoing;
mod traffic;
mod window;

use crate::DuplexStream;
use crate::limits::{
    MAX_MESSAGE_BYTES, NOTICE_QUEUE, OUTPUT_MESSAGE_BYTES, READ_BUFFER_BYTES, Timings, WRITE_BUFFER_BYTES,
};
use crate::sockets::{Attached, Socket as Seen, SocketObserver};
use crate::terminal::Terminal;
use coditect_auth::{FamilyEnd, Identity};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use incoming::Incoming;
use outgoing::Outgoing;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use traffic::Counted;
pub(crate) use traffic::Traffic;

type Socket = WebSocketStream<Box<dyn DuplexStream>>;
type Sink = SplitSink<Socket, Message>;
type Source = SplitStream<Socket>;

/// The sign-in behind a socket is over (an application's code, RFC 6455, 7.4.2).
const SIGNED_OUT: u16 = 4001;

/// A viewer that was admitted, waiting for its bytes.
pub(crate) struct Viewer {
    pub(crate) terminal: Arc<Terminal>,
    pub(crate) identity: Identity,
    pub(crate) shutdown: CancellationToken,
    pub(crate) timings: Arc<Timings>,
    /// Its place among the terminal's viewers, held as long as it is there.
    pub(crate) place: OwnedSemaphorePermit,
    /// Who is told of the socket, and what.
    pub(crate) observer: Arc<dyn SocketObserver>,
    pub(crate) socket: Seen,
}

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The shell has ended, and the client knows.
    Exited,
    /// The token family has ended.
    Family(FamilyEnd),
    /// The service stops.
    Stopping,
    /// The client sent a Close frame.
    Left,
    /// The client has not been heard of for too long.
    Silent,
    /// The client took nothing for too long, or the connection broke: nothing can be said.
    Broken,
    /// The client did what it must not.
    Refused(CloseCode, &'static str),
}

impl Viewer {
    /// Serves the socket until one side ends it.
    pub(crate) async fn serve(self, stream: Box<dyn DuplexStream>) {
        let traffic = Arc::<Traffic>::default();
        let mut attached =
            Attached::new(Arc::clone(&self.observer), self.socket.clone(), Arc::clone(&traffic));
        let stream: Box<dyn DuplexStream> = Box::new(Counted { stream, traffic });
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits())).await;
        let (mut sink, mut source) = socket.split();
        let end = self.talk(&mut sink, &mut source).await;
        attached.reason = end.reason();
        tracing::debug!(terminal = %self.terminal.id, ?end, "a viewer ends");
        // A client that takes nothing must not keep us; what it missed is its own loss.
        let closed = timeout(self.timings.viewer_close, close(end, &mut sink, &mut source)).await;
        if closed.is_err() {
            tracing::debug!(terminal = %self.terminal.id, "a viewer did not finish the closing handshake");
        }
        drop(self.place);
    }

    async fn talk(&self, sink: &mut Sink, source: &mut Source) -> End {
        let (acknowledged, acknowledgements) = watch::channel(0);
        let (notify, notices) = mpsc::channel(NOTICE_QUEUE);
        let incoming = Incoming { terminal: &self.terminal, timings: &self.timings, acknowledged, notify };
        let outgoing = Outgoing::new(&self.terminal, &self.timings, acknowledgements, notices);
        tokio::select! {
            biased;
            end = self.identity.family.ended() => End::Family(end),
            () = self.shutdown.cancelled() => End::Stopping,
            end = incoming.run(source) => end,
            end = outgoing.run(sink) => end,
        }
    }
}

impl End {
    /// What the observer is told.
    fn reason(self) -> &'static str {
        match self {
            Self::Exited => "terminal_ended",
            Self::Family(FamilyEnd::Revoked) => "revoked",
            Self::Family(FamilyEnd::Expired) => "expired",
            Self::Family(FamilyEnd::Suspended) => "suspended",
            Self::Stopping => "drained",
            Self::Left => "client_closed",
            Self::Silent => "idle",
            Self::Broken => "error",
            Self::Refused(..) => "refused",
        }
    }

    /// The Close frame to send; none where the client closes, or cannot be reached.
    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Exited => (CloseCode::Normal, "the program ended"),
            Self::Family(FamilyEnd::Revoked) => (CloseCode::from(SIGNED_OUT), "signed out"),
            Self::Family(FamilyEnd::Expired) => (CloseCode::from(SIGNED_OUT), "expired"),
            Self::Family(FamilyEnd::Suspended) => (CloseCode::from(SIGNED_OUT), "suspended"),
            Self::Stopping => (CloseCode::Restart, "the server stops"),
            Self::Silent => (CloseCode::Policy, "nothing was heard of the client"),
            Self::Refused(code, reason) => (code, reason),
            Self::Left | Self::Broken => return None,
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

/// The closing handshake (RFC 6455, 7.1.2), as far as the client takes part in it.
async fn close(end: End, sink: &mut Sink, source: &mut Source) {
    let sent = match end.frame() {
        Some(frame) => sink.send(Message::Close(Some(frame))).await,
        // tungstenite has queued the answer to the client's Close frame.
        None if end == End::Left => sink.close().await,
        None => return,
    };
    if sent.is_ok() {
        while let Some(Ok(_)) = source.next().await {}
    }
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(OUTPUT_MESSAGE_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES)
}
