//! Every bound of this crate that is not a setting, with its unit.

use std::time::Duration;

/// Columns and rows a terminal may have, from 1.
pub(crate) const MAX_SIDE: u16 = 1000;
/// Columns of a terminal whose creator names none.
pub(crate) const DEFAULT_COLS: u16 = 80;
/// Rows of a terminal whose creator names none.
pub(crate) const DEFAULT_ROWS: u16 = 24;
/// Bytes of a JSON request body.
pub(crate) const MAX_BODY_BYTES: usize = 4 * 1024;
/// Viewers of one terminal at once.
pub(crate) const MAX_VIEWERS: usize = 16;

/// Bytes read from a PTY at once, at most.
pub(crate) const READ_BYTES: usize = 16 * 1024;
/// Output bytes in one WebSocket message.
pub(crate) const OUTPUT_MESSAGE_BYTES: usize = 16 * 1024;
/// Bytes of one message or frame from a client.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Bytes tungstenite may hold for a socket that takes none: one message, and the control frames around it.
pub(crate) const WRITE_BUFFER_BYTES: usize = 4 * OUTPUT_MESSAGE_BYTES;
/// Bytes of a socket's read buffer, allocated with it.
pub(crate) const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Control messages waiting to be written to one socket.
pub(crate) const NOTICE_QUEUE: usize = 8;

/// Bytes of one entry in a terminal's input queue.
pub(crate) const INPUT_CHUNK_BYTES: usize = 4 * 1024;
/// Entries in a terminal's input queue: with the chunk, 256 KiB.
pub(crate) const INPUT_QUEUE: usize = 64;

/// Above this many unacknowledged bytes a viewer is sent no more output. The figures are VS Code's.
pub(crate) const ACK_HIGH_BYTES: u64 = 100_000;
/// Below this many unacknowledged bytes a paused viewer is sent output again.
pub(crate) const ACK_LOW_BYTES: u64 = 5_000;

/// How long things may take. The defaults are what the product promises; tests shorten them.
#[derive(Debug, Clone)]
pub struct Timings {
    /// A workspace lookup, after which the request is answered with 503.
    pub lookup: Duration,
    /// Reading a request's body.
    pub body: Duration,
    /// Starting a shell.
    pub start: Duration,
    /// Between two pings to a viewer. Middle boxes cut sockets that are silent for 60 s.
    pub ping_every: Duration,
    /// Without any frame from a viewer, after which it is taken for gone.
    pub viewer_silence: Duration,
    /// Writing one message to a viewer, after which it is dropped.
    pub viewer_write: Duration,
    /// The closing handshake with a viewer: our Close frame out, its Close frame in.
    pub viewer_close: Duration,
    /// Input waiting for a shell that does not read, after which it is discarded and the viewer told.
    pub input_stall: Duration,
    /// Output held back for the viewer that is furthest, when even that one takes none; then the shell goes on.
    pub output_stall: Duration,
    /// After the shell's end: for viewers to take the rest of the output.
    pub exit_flush: Duration,
    /// After the shell's end: for reading what it and its children last wrote.
    pub drain: Duration,
    /// Between SIGHUP and SIGKILL.
    pub hangup_grace: Duration,
    /// Between SIGKILL and giving up on a process that does not go.
    pub kill_wait: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(5),
            body: Duration::from_secs(10),
            start: Duration::from_secs(10),
            ping_every: Duration::from_secs(20),
            viewer_silence: Duration::from_secs(60),
            viewer_write: Duration::from_secs(20),
            viewer_close: Duration::from_secs(1),
            input_stall: Duration::from_secs(10),
            output_stall: Duration::from_secs(2),
            exit_flush: Duration::from_secs(5),
            drain: Duration::from_millis(500),
            hangup_grace: Duration::from_secs(2),
            kill_wait: Duration::from_secs(2),
        }
    }
}
