//! The body of a file's response: nothing, bytes in memory, or a file read chunk by chunk.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::Timeout;

use super::content::OpenFile;
use super::error::FileError;

/// The most that is read at one time, and so the memory one streamed response holds here.
const CHUNK_BYTES: u64 = 128 * 1024;

/// How long reading one chunk may take before the body fails.
const CHUNK_DEADLINE: Duration = Duration::from_secs(30);

type Reading = Pin<Box<Timeout<JoinHandle<Result<Bytes, FileError>>>>>;

/// The body of a response made by [`super::Files`]. Its size hint is exact.
///
/// A streamed file that turns out shorter than announced, or is written to while it is sent, ends in an error,
/// never in padding: whoever sends the body must then cut the connection. Must be polled inside the Tokio
/// runtime; dropping it is always safe.
#[derive(Debug)]
pub struct FileBody(State);

#[derive(Debug)]
enum State {
    Done,
    Memory(Bytes),
    Stream { file: OpenFile, position: u64, end: u64, reading: Option<Reading> },
}

impl FileBody {
    /// No bytes.
    pub(super) fn empty() -> Self {
        FileBody(State::Done)
    }

    pub(super) fn memory(bytes: Bytes) -> Self {
        FileBody(if bytes.is_empty() { State::Done } else { State::Memory(bytes) })
    }

    /// The bytes of `file` from `start` up to, not including, `end`.
    pub(super) fn stream(file: OpenFile, start: u64, end: u64) -> Self {
        if start >= end {
            return FileBody::empty();
        }
        FileBody(State::Stream { file, position: start, end, reading: None })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let State::Stream { file, position, end, reading } = &mut self.0 else {
            return Poll::Ready(match std::mem::replace(&mut self.0, State::Done) {
                State::Memory(bytes) => Some(Ok(Frame::data(bytes))),
                _ => None,
            });
        };
        let work = reading.get_or_insert_with(|| read_chunk(file.clone(), *position, *end));
        let result = ready!(work.as_mut().poll(context));
        *reading = None;
        let chunk = match result {
            Ok(Ok(chunk)) => chunk.map_err(io::Error::other),
            Ok(Err(join)) => Err(io::Error::other(join)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the file system did not answer in time")),
        };
        match &chunk {
            Ok(chunk) => *position += chunk.len() as u64,
            Err(error) => tracing::warn!(%error, "a static file could not be sent to its end"),
        }
        if chunk.is_err() || position >= end {
            self.0 = State::Done;
        }
        Poll::Ready(Some(chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            State::Done => 0,
            State::Memory(bytes) => bytes.len() as u64,
            State::Stream { position, end, .. } => end.saturating_sub(*position),
        })
    }
}

fn read_chunk(file: OpenFile, position: u64, end: u64) -> Reading {
    let length = end.saturating_sub(position).min(CHUNK_BYTES);
    let work = tokio::task::spawn_blocking(move || file.read(position, length));
    Box::pin(tokio::time::timeout(CHUNK_DEADLINE, work))
}
