//! What a client is sent: the terminal's output as far as it keeps up, and what it must know besides.

use super::window::Window;
use super::{End, Sink};
use crate::limits::{OUTPUT_MESSAGE_BYTES, Timings};
use crate::output::{Next, View};
use crate::process::Exit;
use crate::protocol::ServerMessage;
use crate::requests::Size;
use crate::terminal::Terminal;
use bytes::Bytes;
use futures::SinkExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;

/// The server's direction of one socket.
pub(super) struct Outgoing<'a> {
    timings: &'a Timings,
    view: View,
    window: Window,
    acknowledgements: watch::Receiver<u64>,
    notices: mpsc::Receiver<ServerMessage>,
    /// A notice taken from the queue, not yet sent.
    notice: Option<ServerMessage>,
    size: watch::Receiver<Size>,
    exit: watch::Receiver<Option<Exit>>,
    said_hello: bool,
    ping_at: Instant,
    /// From the shell's end on: when to stop waiting for the client to take the rest.
    flush_until: Option<Instant>,
}

/// What comes next.
enum Step {
    Send(Message),
    Wait,
    /// The last message.
    Exit(Message),
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(
        terminal: &'a Terminal,
        timings: &'a Timings,
        acknowledgements: watch::Receiver<u64>,
        notices: mpsc::Receiver<ServerMessage>,
    ) -> Self {
        Self {
            timings,
            view: terminal.output.view(),
            window: Window::default(),
            acknowledgements,
            notices,
            notice: None,
            size: terminal.size.subscribe(),
            exit: terminal.exit.subscribe(),
            said_hello: false,
            ping_at: Instant::now() + timings.ping_every,
            flush_until: None,
        }
    }

    /// Writes until the shell has ended or the client takes nothing.
    pub(super) async fn run(mut self, sink: &mut Sink) -> End {
        loop {
            let (message, end) = match self.step() {
                Step::Send(message) => (message, None),
                Step::Exit(message) => (message, Some(End::Exited)),
                Step::Wait => {
                    self.wait().await;
                    continue;
                }
            };
            match timeout(self.timings.viewer_write, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return End::Broken,
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn step(&mut self) -> Step {
        self.window.acknowledged(*self.acknowledgements.borrow_and_update());
        if !self.said_hello {
            self.said_hello = true;
            let size = *self.size.borrow_and_update();
            return control(&ServerMessage::hello(size, self.view.start()));
        }
        let now = Instant::now();
        if now >= self.ping_at {
            self.ping_at = now + self.timings.ping_every;
            return Step::Send(Message::Ping(Bytes::new()));
        }
        if let Some(notice) = self.notice.take().or_else(|| self.notices.try_recv().ok()) {
            return control(&notice);
        }
        if self.size.has_changed().unwrap_or(false) {
            let Size { cols, rows } = *self.size.borrow_and_update();
            return control(&ServerMessage::Resized { cols, rows });
        }
        self.output_or_exit(now)
    }

    fn output_or_exit(&mut self, now: Instant) -> Step {
        // Looked at before the output: it is set after the last of it was put into the log.
        let exit = self.exit.borrow_and_update().clone();
        if exit.is_some() && self.flush_until.is_none() {
            self.flush_until = Some(now + self.timings.exit_flush);
        }
        if self.flush_until.is_some_and(|until| now >= until) {
            let lost = self.view.skip();
            if lost > 0 {
                return control(&ServerMessage::Lost { bytes: lost });
            }
        } else if !self.window.is_open() {
            return Step::Wait;
        }
        match self.view.next(OUTPUT_MESSAGE_BYTES) {
            Next::Output(bytes) => {
                self.window.sent(bytes.len());
                Step::Send(Message::Binary(bytes))
            }
            Next::Lost(bytes) => control(&ServerMessage::Lost { bytes }),
            Next::Nothing => match exit {
                Some(Exit { code, signal }) => Step::Exit(text(&ServerMessage::Exit { code, signal })),
                None => Step::Wait,
            },
        }
    }

    /// Waits until [`step`](Self::step) may have something. The senders of every channel outlive this future, but
    /// for the notices', and nothing comes of a closed channel.
    async fn wait(&mut self) {
        let open = self.window.is_open();
        let wake_at = self.flush_until.map_or(self.ping_at, |until| until.min(self.ping_at));
        tokio::select! {
            () = self.view.more(), if open => {}
            _ = self.acknowledgements.changed() => {}
            _ = self.size.changed() => self.size.mark_changed(),
            _ = self.exit.changed(), if self.flush_until.is_none() => {}
            Some(notice) = self.notices.recv() => self.notice = Some(notice),
            () = sleep_until(wake_at) => {}
        }
    }
}

fn text(message: &ServerMessage) -> Message {
    Message::text(message.to_json())
}

fn control(message: &ServerMessage) -> Step {
    Step::Send(text(message))
}
