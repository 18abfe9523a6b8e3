//! Services in the edge's own process: called with a request, answered with a response, bodies streamed both ways.

use crate::reply::{BoxError, Reply};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A service in the process.
///
/// The gate has let the request pass; where the route asks for it, a [`coditect_auth::Identity`] is in its extensions.
/// A response with status 101 must carry an [`UpgradeHandler`] in its extensions.
pub trait LocalService: Send + Sync {
    /// Answers a request. Dropping the future abandons it: the client has left.
    fn call(&self, request: http::Request<RequestBody>) -> BoxFuture<'static, Reply>;
}

/// A byte stream after a protocol switch.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The boxed byte stream an [`UpgradeHandler`] gets.
pub type BoxDuplex = Box<dyn Duplex>;
type Handler = Box<dyn FnOnce(BoxDuplex) -> BoxFuture<'static, ()> + Send>;

/// What takes the connection over once the 101 is written. It must bound its own life; dropping its future closes
/// the connection.
#[derive(Clone)]
pub struct UpgradeHandler(Arc<Mutex<Option<Handler>>>);

impl UpgradeHandler {
    /// A handler that runs `handler` with the connection.
    pub fn new<F>(handler: impl FnOnce(BoxDuplex) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handler: Handler = Box::new(move |stream| Box::pin(handler(stream)));
        Self(Arc::new(Mutex::new(Some(handler))))
    }

    /// The handler; the first to ask gets it.
    pub(crate) fn take(&self) -> Option<Handler> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request's body on its way from the client. At most [`BODY_QUEUE`] pieces wait in it.
pub struct RequestBody {
    pieces: Option<mpsc::Receiver<Result<Bytes, BoxError>>>,
    length: Option<u64>,
}

/// Pieces of a request's body read ahead of the service.
pub(crate) const BODY_QUEUE: usize = 4;

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self { pieces: None, length: Some(0) }
    }

    /// A body and the end that feeds it. `length` is its `Content-Length`, where the client gave one.
    pub(crate) fn channel(length: Option<u64>) -> (mpsc::Sender<Result<Bytes, BoxError>>, Self) {
        let (sender, pieces) = mpsc::channel(BODY_QUEUE);
        (sender, Self { pieces: Some(pieces), length })
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.pieces {
            Some(pieces) => pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
