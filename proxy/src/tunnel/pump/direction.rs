//! One direction of a tunnel: bytes from a source leg to a sink leg through one bounded buffer, and the places
//! where a control frame of the edge's own may be put between them.

use std::{
    io::ErrorKind,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tunnel::frames::{ControlFrame, FrameTracker, Sender};

/// Reads per poll before the other direction gets its turn.
const ROUNDS: usize = 8;
/// Size of the buffer while little comes: most tunnels are idle most of the time.
const SMALL_BUFFER: usize = 2 * 1024;

/// State of the half of a leg that a direction uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Open,
    /// End of file was read, or the write half was shut down.
    Closed,
    Failed(ErrorKind),
}

#[derive(Clone, Copy)]
enum Mode {
    /// What the source sends goes to the sink.
    Forward,
    /// What the source sends goes to the sink up to the next frame boundary, there followed by this frame.
    Finish(ControlFrame),
    /// What the source sends is read, followed by the tracker, and dropped.
    Discard,
}

struct Injection {
    frame: ControlFrame,
    written: usize,
}

pub(super) struct Direction {
    buffer: Vec<u8>,
    /// `buffer[start..end]` was read and is not yet written.
    start: usize,
    end: usize,
    largest_buffer: usize,
    /// Whether the last read filled the buffer, so that a larger one pays.
    grow: bool,
    /// Stands where the sink stands while forwarding, and where the source stands while discarding.
    tracker: FrameTracker,
    mode: Mode,
    injection: Option<Injection>,
    injected: u64,
    unflushed: bool,
    shutdown_wanted: bool,
    cut: bool,
    source: Half,
    sink: Half,
    received: u64,
    sent: u64,
    received_at_rest: u64,
}

impl Direction {
    /// A direction at the start of both streams. `largest_buffer` is its limit of unsent bytes.
    pub(super) fn new(sender: Sender, largest_buffer: usize) -> Self {
        let largest_buffer = largest_buffer.max(SMALL_BUFFER);
        Self {
            buffer: vec![0; SMALL_BUFFER],
            start: 0,
            end: 0,
            largest_buffer,
            grow: false,
            tracker: FrameTracker::new(sender),
            mode: Mode::Forward,
            injection: None,
            injected: 0,
            unflushed: false,
            shutdown_wanted: false,
            cut: false,
            source: Half::Open,
            sink: Half::Open,
            received: 0,
            sent: 0,
            received_at_rest: 0,
        }
    }

    /// Moves bytes until both legs would block or the turn is over; then true is returned, and the caller polls
    /// again soon.
    pub(super) fn poll_turn<R: AsyncRead, W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut source: Pin<&mut R>,
        mut sink: Pin<&mut W>,
        forwarded: &AtomicU64,
    ) -> bool {
        for _ in 0..ROUNDS {
            let output = self.poll_output(cx, sink.as_mut(), forwarded);
            let wants_input = self.start == self.end && self.source == Half::Open;
            if wants_input && self.poll_input(cx, source.as_mut()).is_ready() {
                continue;
            }
            if output.is_ready() {
                self.poll_rest(cx, sink.as_mut());
            }
            return false;
        }
        true
    }

    /// Puts a Ping between two frames, as soon as the stream stands there.
    pub(super) fn ping(&mut self, frame: ControlFrame) {
        if self.can_ping() {
            self.injection = Some(Injection { frame, written: 0 });
        }
    }

    /// Whether a Ping would be sent, now or at the next boundary.
    pub(super) fn can_ping(&self) -> bool {
        matches!(self.mode, Mode::Forward)
            && self.injection.is_none()
            && !self.tracker.is_opaque()
            && !self.tracker.close_seen()
            && self.sink == Half::Open
            && !self.shutdown_wanted
    }

    /// Ends the direction at the next frame boundary with `close`, unless a Close frame went through before. A
    /// stream without boundaries is cut.
    pub(super) fn finish(&mut self, close: ControlFrame) {
        if matches!(self.mode, Mode::Forward) {
            self.mode = Mode::Finish(close);
        }
    }

    /// Writes nothing any more, not even the rest of a frame under way.
    pub(super) fn cut(&mut self) {
        self.mode = Mode::Discard;
        self.injection = None;
        self.cut = true;
        self.shutdown_wanted = true;
        self.drop_buffered();
    }

    /// Shuts the sink down once everything due to it is written.
    pub(super) fn shut_down(&mut self) {
        self.shutdown_wanted = true;
    }

    /// Whether everything the sink will ever get from [`Direction::finish`] or [`Direction::cut`] is out.
    pub(super) fn is_resolved(&self) -> bool {
        self.cut
            || self.sink != Half::Open
            || (matches!(self.mode, Mode::Discard) && self.injection.is_none() && !self.unflushed)
    }

    /// Whether nothing is left to do: the source has ended, and the sink knows.
    pub(super) fn is_done(&self) -> bool {
        self.source != Half::Open && self.is_sink_over()
    }

    /// Whether the sink was shut down, has failed, or is written off.
    pub(super) fn is_sink_over(&self) -> bool {
        self.cut || self.sink != Half::Open
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn is_shutdown_wanted(&self) -> bool {
        self.shutdown_wanted
    }

    pub(super) fn source(&self) -> Half {
        self.source
    }

    pub(super) fn sink(&self) -> Half {
        self.sink
    }

    /// Whether the source has sent a Close frame.
    pub(super) fn close_seen(&self) -> bool {
        self.tracker.close_seen()
    }

    /// Bytes read from the source so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes the sink has taken so far, the edge's own included.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Control frames of the edge's own written so far.
    pub(super) fn injected(&self) -> u64 {
        self.injected
    }

    /// Whether a control frame waits for its boundary or for the sink.
    pub(super) fn is_injecting(&self) -> bool {
        self.injection.is_some()
    }

    /// Whether the sink has yet to take something it could take now.
    pub(super) fn is_blocked(&self) -> bool {
        let injection_due =
            self.injection.as_ref().is_some_and(|due| due.written > 0 || self.tracker.at_boundary());
        self.sink == Half::Open && (self.start < self.end || injection_due || self.unflushed)
    }

    /// Gives a large buffer back when nothing was received since the last call.
    pub(super) fn rest(&mut self) {
        let idle = self.received == self.received_at_rest && self.start == self.end;
        self.received_at_rest = self.received;
        if idle && self.buffer.len() > SMALL_BUFFER {
            self.buffer = vec![0; SMALL_BUFFER];
            (self.start, self.end) = (0, 0);
            self.grow = false;
        }
    }

    /// Reads once; the buffer must hold nothing unsent.
    fn poll_input<R: AsyncRead>(&mut self, cx: &mut Context<'_>, source: Pin<&mut R>) -> Poll<()> {
        if self.grow && self.buffer.len() < self.largest_buffer {
            self.buffer = vec![0; self.largest_buffer];
            (self.start, self.end) = (0, 0);
        }
        let mut space = ReadBuf::new(&mut self.buffer);
        let result = ready!(source.poll_read(cx, &mut space));
        let count = space.filled().len();
        match result {
            Ok(()) if count > 0 => {
                (self.start, self.end) = (0, count);
                self.received += count as u64;
                self.grow = count == self.buffer.len();
            }
            Ok(()) => self.end_source(Half::Closed),
            Err(error) => self.end_source(Half::Failed(error.kind())),
        }
        Poll::Ready(())
    }

    /// Writes until nothing is due to the sink.
    fn poll_output<W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut sink: Pin<&mut W>,
        forwarded: &AtomicU64,
    ) -> Poll<()> {
        loop {
            self.settle();
            let injecting = self.is_injection_due();
            let due = match &self.injection {
                Some(injection) if injecting => &injection.frame.as_bytes()[injection.written..],
                _ => self.forwardable(),
            };
            if due.is_empty() {
                break;
            }
            match ready!(sink.as_mut().poll_write(cx, due)) {
                Ok(0) => self.fail_sink(ErrorKind::WriteZero),
                Err(error) => self.fail_sink(error.kind()),
                Ok(count) => {
                    self.sent += count as u64;
                    self.unflushed = true;
                    if injecting {
                        self.injection_written(count);
                    } else {
                        self.tracker.advance(&self.buffer[self.start..self.start + count]);
                        self.start += count;
                        forwarded.fetch_add(count as u64, Relaxed);
                    }
                }
            }
        }
        // While discarding, input may never pause, and neither flush nor shutdown must wait for it.
        if matches!(self.mode, Mode::Discard) {
            self.poll_rest(cx, sink);
        }
        Poll::Ready(())
    }

    /// What is left when nothing is due and nothing comes in: the flush, then the shutdown if it is wanted.
    fn poll_rest<W: AsyncWrite>(&mut self, cx: &mut Context<'_>, mut sink: Pin<&mut W>) {
        let flushed = self.poll_flush(cx, sink.as_mut()).is_ready();
        if flushed && self.shutdown_wanted && self.sink == Half::Open {
            match sink.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.sink = Half::Closed,
                Poll::Ready(Err(error)) => self.fail_sink(error.kind()),
                Poll::Pending => {}
            }
        }
    }

    fn poll_flush<W: AsyncWrite>(&mut self, cx: &mut Context<'_>, sink: Pin<&mut W>) -> Poll<()> {
        if self.unflushed && self.sink == Half::Open {
            if let Err(error) = ready!(sink.poll_flush(cx)) {
                self.fail_sink(error.kind());
            }
            self.unflushed = false;
        }
        Poll::Ready(())
    }

    /// Brings mode and injection up to where the stream stands now.
    fn settle(&mut self) {
        let under_way = self.injection.as_ref().is_some_and(|injection| injection.written > 0);
        if let Mode::Finish(close) = self.mode
            && !under_way
        {
            if self.tracker.at_boundary() {
                let injection = Injection { frame: close, written: 0 };
                self.injection = self.tracker.may_inject().then_some(injection);
                self.mode = Mode::Discard;
            } else if self.tracker.is_opaque() || (self.start == self.end && self.source != Half::Open) {
                self.cut();
            }
        } else if matches!(self.mode, Mode::Forward)
            && !under_way
            && (self.tracker.is_opaque() || self.tracker.close_seen())
        {
            self.injection = None;
        }
        if matches!(self.mode, Mode::Discard) {
            self.drop_buffered();
        }
    }

    /// Whether the injection goes before anything read. Once discarding, the tracker no longer says where the sink
    /// stands, but the injection was made at a boundary.
    fn is_injection_due(&self) -> bool {
        self.injection.as_ref().is_some_and(|injection| {
            injection.written > 0 || matches!(self.mode, Mode::Discard) || self.tracker.may_inject()
        })
    }

    /// The bytes read that may go to the sink: up to the next boundary if something has to happen there.
    fn forwardable(&self) -> &[u8] {
        let bytes = &self.buffer[self.start..self.end];
        match self.mode {
            Mode::Forward if self.injection.is_none() => bytes,
            Mode::Forward | Mode::Finish(_) => &bytes[..self.tracker.until_boundary(bytes)],
            Mode::Discard => &[],
        }
    }

    fn injection_written(&mut self, count: usize) {
        if let Some(injection) = &mut self.injection {
            injection.written += count;
            if injection.written == injection.frame.as_bytes().len() {
                self.injection = None;
                self.injected += 1;
            }
        }
    }

    fn drop_buffered(&mut self) {
        self.tracker.advance(&self.buffer[self.start..self.end]);
        self.start = self.end;
    }

    fn end_source(&mut self, how: Half) {
        self.source = how;
        self.shutdown_wanted = true;
    }

    fn fail_sink(&mut self, kind: ErrorKind) {
        self.sink = Half::Failed(kind);
        self.unflushed = false;
        self.cut();
    }
}
