//! Taking a client's connection over after a protocol switch.

use crate::forward::REQUEST_ID;
use crate::request::RequestCtx;
use bytes::{Buf, BytesMut};
use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Writes the 101 with these headers and takes the connection out of the session, which is left with nothing.
pub(crate) async fn switch(
    session: &mut Session,
    ctx: &mut RequestCtx,
    headers: &HeaderMap,
) -> pingora::Result<Prefixed<Stream>> {
    let mut head = ResponseHeader::build(101, Some(headers.len() + 3))?;
    for (name, value) in headers {
        if ![CONNECTION, UPGRADE, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    head.insert_header(CONNECTION, "Upgrade")?;
    head.insert_header(UPGRADE, "websocket")?;
    head.insert_header(REQUEST_ID, ctx.id.to_string())?;
    let mut wire = BytesMut::from(&b"HTTP/1.1 101 Switching Protocols\r\n"[..]);
    head.header_to_h1_wire(&mut wire);
    wire.extend_from_slice(b"\r\n");

    let mut stream = take(session, ctx).await?;
    ctx.status = 101;
    let written = async {
        stream.write_all(&wire).await?;
        stream.flush().await
    };
    written.await.map_err(|e| Error::because(ErrorType::WriteError, "writing the 101", e))?;
    Ok(stream)
}

/// Takes the connection, and what the client sent after its request.
async fn take(session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<Prefixed<Stream>> {
    // Nothing reads from this end; Pingora only closes it.
    ctx.socket = true; // from here on nobody may ask the session for its request
    let (nothing, _) = tokio::io::duplex(1);
    let nothing = ServerSession::new_http1(Box::new(nothing));
    let mut taken = std::mem::replace(&mut *session.downstream_session, nothing);
    // A session that is kept alive and may pipeline gives back its stream and what was read past the request.
    taken.set_keepalive(Some(60));
    taken.set_keepalive_reuses_remaining(None);
    taken.set_pipelining_enabled(true);
    let given = taken
        .finish()
        .await?
        .ok_or_else(|| Error::explain(ErrorType::InternalError, "the connection ended before the switch"))?;
    let (stream, rest) = given.into_parts();
    Ok(Prefixed { prefix: rest.unwrap_or_default(), stream })
}

/// A stream with bytes that were read from it before and are read again first.
#[derive(Debug)]
pub(crate) struct Prefixed<S> {
    pub(crate) prefix: BytesMut,
    pub(crate) stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buf);
        }
        let taken = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..taken]);
        self.prefix.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

// What Pingora asks of a transport, so that its HTTP client can read an upstream's refusal of a switch.
#[async_trait::async_trait]
impl<S: AsyncWrite + Unpin + Send> Shutdown for Prefixed<S> {
    async fn shutdown(&mut self) {
        // A peer that is gone needs no shutdown.
        drop(self.stream.shutdown().await);
    }
}

impl<S> UniqueID for Prefixed<S> {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl<S> Ssl for Prefixed<S> {}

impl<S> GetTimingDigest for Prefixed<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for Prefixed<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl<S> GetSocketDigest for Prefixed<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl<S: Send> Peek for Prefixed<S> {}
