//! A client's connection: writes are gathered, so that a small response leaves in one packet.

use crate::head::Chunks;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Bytes gathered before they are sent; a flush sends what there is.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// How a client begins that speaks HTTP/2 without TLS (RFC 9113, 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take from the first byte of that preface to its last.
const PREFACE_DEADLINE: Duration = Duration::from_secs(5);
/// How often it is looked at while it comes in pieces.
const PREFACE_POLL: Duration = Duration::from_millis(5);

/// A TCP connection as Pingora's server side wants it.
#[derive(Debug)]
pub(crate) struct ClientStream {
    inner: BufWriter<TcpStream>,
    digest: Arc<SocketDigest>,
    /// How long a fresh connection may stay silent.
    idle: Duration,
    /// Turns true when the edge drains: a connection without a request is then not waited for.
    stopping: watch::Receiver<bool>,
    /// The chunked body that is read just now.
    chunks: Mutex<Option<Chunks>>,
}

impl ClientStream {
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        idle: Duration,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
        // Newly made, so empty.
        drop(digest.peer_addr.set(Some(peer.into())));
        Self {
            inner: BufWriter::with_capacity(WRITE_BUFFER_BYTES, stream),
            digest: Arc::new(digest),
            idle,
            stopping,
            chunks: Mutex::new(None),
        }
    }

    /// From here on, what is read belongs to a request with this chunked body, or with another one. A read that
    /// finds the body malformed fails with [`io::ErrorKind::InvalidData`].
    pub(crate) fn expect(&self, chunks: Option<Chunks>) {
        *self.chunks.lock().unwrap_or_else(PoisonError::into_inner) = chunks;
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(self.inner.get_mut()).poll_read(context, buf);
        let chunks = self.chunks.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Poll::Ready(Ok(())), Some(chunks)) = (&read, chunks) {
            let judged = chunks.advance(&buf.filled()[before..]);
            judged.map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[async_trait::async_trait]
impl Peek for ClientStream {
    /// Looks whether the client speaks HTTP/2. Waits for its first byte; most then prove to speak HTTP/1 at once.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let stream = self.inner.get_ref();
        let seen = tokio::select! {
            biased;
            seen = tokio::time::timeout(self.idle, stream.peek(buf)) => seen??,
            _ = self.stopping.wait_for(|stopping| *stopping) => 0,
        };
        let mut seen = if seen == 0 { return Err(io::ErrorKind::UnexpectedEof.into()) } else { seen };
        let deadline = tokio::time::Instant::now() + PREFACE_DEADLINE;
        while seen < buf.len() && H2_PREFACE.starts_with(&buf[..seen]) {
            if tokio::time::Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // A socket whose bytes were peeked stays readable, so readiness cannot be waited for.
            tokio::time::sleep(PREFACE_POLL).await;
            let before = seen;
            seen = stream.peek(buf).await?;
            if seen < before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        buf[seen..].fill(0);
        Ok(true)
    }
}

#[async_trait::async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        // A client that is gone needs no shutdown.
        drop(self.inner.shutdown().await);
    }
}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.inner.get_ref().as_raw_fd()
    }
}

impl Ssl for ClientStream {}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.digest = Arc::new(digest);
    }
}
