//! The head of an HTTP/1 request, read and judged by the edge before Pingora parses it.
//!
//! Pingora repairs some ambiguous requests (it drops `Content-Length` beside `Transfer-Encoding`, and percent-encodes
//! odd targets). Here they are refused instead, with an answer of our own and a line in the access log, so that no
//! part behind this one ever sees a request that two readers could read differently (RFC 9112, 11.2).

mod chunks;
mod framing;

pub(crate) use chunks::Chunks;
pub(crate) use framing::Refusal;

use bytes::BytesMut;
use pingora::protocols::Stream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// The largest request line and headers together, in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long a client may take to send a head it has begun.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// After a refusal the client's bytes are read and thrown away for so long, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_millis(1500);
/// And at most so many of them.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// What is asked of the socket at once.
const READ_BYTES: usize = 4096;

/// What became of waiting for a head.
pub(crate) enum Head {
    /// A well-formed head, and whatever followed it. Where the body is chunked, the rest of it must pass the check.
    Complete(BytesMut, Option<Chunks>),
    /// To be answered with an error; then the connection ends. The bytes are what there was of the head.
    Refused(Refusal, BytesMut),
    /// The client left, or stayed silent, without having begun a request.
    Nothing,
}

/// Reads until the blank line. `idle` bounds the wait for the first byte.
///
/// Not cancellation safe once a byte was read; cancel only where the connection is given up.
pub(crate) async fn read(stream: &mut Stream, idle: Duration) -> Head {
    let mut head = BytesMut::with_capacity(READ_BYTES);
    let mut deadline = Instant::now() + idle;
    let mut searched = 0;
    loop {
        match timeout_at(deadline, stream.read_buf(&mut head)).await {
            Ok(Ok(0)) | Ok(Err(_)) => return Head::Nothing,
            Err(_) if head.is_empty() => return Head::Nothing,
            Err(_) => return Head::Refused(Refusal::Timeout, head),
            Ok(Ok(_)) => {}
        }
        if searched == 0 {
            deadline = Instant::now() + HEAD_DEADLINE;
            // One blank line before a request is to be ignored (RFC 9112, 2.2); more is not a client we want.
            if head.starts_with(b"\r\n") {
                bytes::Buf::advance(&mut head, 2);
            }
        }
        if let Some(end) = framing::end_of_head(&head, searched) {
            if end > MAX_HEAD_BYTES {
                return Head::Refused(Refusal::TooLarge, head);
            }
            return match judge(&head, end) {
                Ok(chunks) => Head::Complete(head, chunks),
                Err(refusal) => Head::Refused(refusal, head),
            };
        }
        if head.len() > MAX_HEAD_BYTES {
            return Head::Refused(Refusal::TooLarge, head);
        }
        if let Err(refusal) = framing::check_beginning(&head) {
            return Head::Refused(refusal, head);
        }
        searched = head.len();
        head.reserve(READ_BYTES);
    }
}

/// Judges a head that ends at `end`, and what of its body is there already.
fn judge(bytes: &[u8], end: usize) -> Result<Option<Chunks>, Refusal> {
    let (head, body) = bytes.split_at(end);
    if !framing::check(head)?.chunked {
        return Ok(None);
    }
    let mut chunks = Chunks::new();
    chunks.advance(body).map_err(|_| Refusal::Chunks)?;
    Ok(Some(chunks))
}

/// Writes the answer to a refused head and closes the connection so that the client can read it.
pub(crate) async fn refuse(mut stream: Stream, answer: &[u8]) {
    let exchange = async {
        stream.write_all(answer).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        let mut sink = BytesMut::with_capacity(READ_BYTES);
        let mut total = 0;
        while total < LINGER_BYTES {
            sink.clear();
            match stream.read_buf(&mut sink).await? {
                0 => break,
                read => total += read,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Whether the client took its answer is its own affair.
    drop(tokio::time::timeout(LINGER, exchange).await);
}
