//! Bodies of calls: how a request's is sent, on either protocol, and how a response's is gathered within bounds.

use super::budget::Held;
use bytes::{Bytes, BytesMut};
use coditect_proxy_wasm::CallFailure;
use h2::SendStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body at hand, with trailers.
#[derive(Debug, Clone, Default)]
pub(super) struct CallBody {
    pub(super) data: Option<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
}

impl CallBody {
    /// Empty parts are none.
    pub(super) fn new(data: Vec<u8>, trailers: HeaderMap) -> Self {
        Self {
            data: (!data.is_empty()).then(|| data.into()),
            trailers: (!trailers.is_empty()).then_some(trailers),
        }
    }

    /// Bytes of data.
    pub(super) fn len(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len)
    }

    /// Sends it on an HTTP/2 stream, as fast as the upstream takes it.
    ///
    /// # Errors
    /// The stream is over. Why is told to who reads the response.
    pub(super) async fn send(self, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
        match (self.data, self.trailers) {
            (None, None) => Ok(()),
            (Some(data), None) => send(stream, data, true).await,
            (data, Some(trailers)) => {
                if let Some(data) = data {
                    send(stream, data, false).await?;
                }
                stream.send_trailers(trailers)
            }
        }
    }
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.data.take() {
            Some(data) => Some(Frame::data(data)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // With trailers there must be no Content-Length.
        if self.trailers.is_some() {
            SizeHint::new()
        } else {
            SizeHint::with_exact(u64::try_from(self.len()).unwrap_or(u64::MAX))
        }
    }
}

/// Sends `data` on an HTTP/2 stream, as fast as the upstream takes it; `end` where nothing follows.
///
/// # Errors
/// The stream is over.
pub(super) async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    if data.is_empty() {
        return stream.send_data(data, end);
    }
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 {
            match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(grown) => drop(grown?),
                None => return Err(h2::Reason::STREAM_CLOSED.into()),
            }
        }
        let piece = data.split_to(stream.capacity().min(data.len()));
        stream.send_data(piece, end && data.is_empty())?;
    }
    Ok(())
}

/// A response's body as it comes in.
#[derive(Debug)]
pub(super) struct Gathered {
    bytes: BytesMut,
    most: usize,
    held: Held,
}

impl Gathered {
    /// For at most `most` bytes, for which `held` makes room.
    pub(super) fn new(most: usize, held: Held) -> Self {
        Self { bytes: BytesMut::new(), most, held }
    }

    /// The response says that this many bytes follow at least.
    ///
    /// # Errors
    /// They are too many: none of them need be read.
    pub(super) fn expect(&self, bytes: u64) -> Result<(), CallFailure> {
        let fits = usize::try_from(bytes).is_ok_and(|bytes| bytes <= self.most);
        if fits { Ok(()) } else { Err(CallFailure::TooLarge) }
    }

    /// The next piece.
    ///
    /// # Errors
    /// The body is too large, or there is no room for it in the process.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), CallFailure> {
        let length = self.bytes.len() + piece.len();
        if length > self.most {
            return Err(CallFailure::TooLarge);
        }
        self.held.set(length).map_err(|_| CallFailure::TooLarge)?;
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The whole body, and what holds its room.
    pub(super) fn finish(self) -> (Bytes, Held) {
        (self.bytes.freeze(), self.held)
    }
}
