//! How the owner of a connection hands its bytes to a viewer, once the 101 is written.

use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection's bytes, both ways.
pub trait DuplexStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + ?Sized> DuplexStream for T {}

type Serve = Box<dyn FnOnce(Box<dyn DuplexStream>) -> BoxFuture<'static, ()> + Send>;

/// What continues after a 101, in the response's extensions.
///
/// It holds the viewer's place in its terminal; dropping every clone without taking the handler frees the place.
/// Clones share one handler, since extensions must be `Clone`.
#[derive(Clone)]
pub struct AttachHandler {
    serve: Arc<Mutex<Option<Serve>>>,
}

impl AttachHandler {
    pub(crate) fn new<F, Fut>(serve: F) -> Self
    where
        F: FnOnce(Box<dyn DuplexStream>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self { serve: Arc::new(Mutex::new(Some(Box::new(|stream| Box::pin(serve(stream)))))) }
    }

    /// The handler, once; `None` for whoever asks again.
    ///
    /// Call it with the connection's bytes after the head of the 101 was written, bytes the client sent behind its
    /// request first. The future ends when the socket is finished with, in bounded time after the service's
    /// shutdown; dropping it cuts the connection without a Close frame.
    pub fn take(&self) -> Option<Serve> {
        self.serve.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl std::fmt::Debug for AttachHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachHandler").finish_non_exhaustive()
    }
}
