//! One terminal, as requests and viewers see it. Its shell and PTY belong to its [`driver`](crate::driver).

use crate::TerminalError;
use crate::limits::{INPUT_QUEUE, MAX_VIEWERS};
use crate::output::OutputLog;
use crate::process::Exit;
use crate::requests::Size;
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Whose a terminal is. Only a request that names all three sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) tenant: Uuid,
    pub(crate) user: Uuid,
    /// The workspace.
    pub(crate) session: Uuid,
}

/// How far a terminal's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The shell runs, or what it left behind is being ended.
    Alive,
    /// Every process of it is gone and reaped; its output is kept.
    Finished,
    /// It is no longer kept.
    Removed,
    /// It is no longer kept, and a process of it could not be ended.
    Stuck,
}

/// One terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) id: Uuid,
    pub(crate) owner: Owner,
    /// Milliseconds since the Unix epoch.
    pub(crate) created_at: i64,
    pub(crate) output: Arc<OutputLog>,
    /// Input in chunks of at most [`INPUT_CHUNK_BYTES`](crate::limits::INPUT_CHUNK_BYTES).
    pub(crate) input: mpsc::Sender<Bytes>,
    pub(crate) size: watch::Sender<Size>,
    /// Set when the shell has ended and its last output is in the log.
    pub(crate) exit: watch::Sender<Option<Exit>>,
    pub(crate) stage: watch::Sender<Stage>,
    /// Asks for the terminal's end; of one that has ended, for its removal.
    pub(crate) stop: CancellationToken,
    viewers: Arc<Semaphore>,
}

/// A terminal in the API's terms.
#[derive(Debug, Serialize)]
pub(crate) struct TerminalInfo {
    id: Uuid,
    session_id: Uuid,
    cols: u16,
    rows: u16,
    created_at: String,
    status: &'static str,
    exit_code: Option<i32>,
    exit_signal: Option<String>,
}

impl Terminal {
    /// A terminal, and the driver's end of its input queue.
    pub(crate) fn new(
        id: Uuid,
        owner: Owner,
        created_at: i64,
        size: Size,
        scrollback_bytes: usize,
        stop: CancellationToken,
    ) -> (Arc<Self>, mpsc::Receiver<Bytes>) {
        let (input, queue) = mpsc::channel(INPUT_QUEUE);
        let terminal = Self {
            id,
            owner,
            created_at,
            output: OutputLog::new(scrollback_bytes),
            input,
            size: watch::Sender::new(size),
            exit: watch::Sender::new(None),
            stage: watch::Sender::new(Stage::Alive),
            stop,
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
        };
        (Arc::new(terminal), queue)
    }

    pub(crate) fn info(&self) -> TerminalInfo {
        let Size { cols, rows } = *self.size.borrow();
        let exit = self.exit.borrow().clone();
        TerminalInfo {
            id: self.id,
            session_id: self.owner.session,
            cols,
            rows,
            created_at: rfc3339(self.created_at),
            status: if exit.is_some() { "exited" } else { "running" },
            exit_code: exit.as_ref().and_then(|exit| exit.code),
            exit_signal: exit.and_then(|exit| exit.signal),
        }
    }

    /// Sets the size, for every viewer; the driver passes it on.
    pub(crate) fn resize(&self, size: Size) {
        self.size.send_if_modified(|current| std::mem::replace(current, size) != size);
    }

    /// A viewer's place, free again when dropped.
    pub(crate) fn admit_viewer(&self) -> Result<OwnedSemaphorePermit, TerminalError> {
        let place = Arc::clone(&self.viewers).try_acquire_owned();
        place.map_err(|_| TerminalError::TooManyViewers { limit: MAX_VIEWERS })
    }

    /// Whether nothing but the record and the output is left of it.
    pub(crate) fn is_finished(&self) -> bool {
        *self.stage.borrow() != Stage::Alive
    }
}

fn rfc3339(millis: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(1_700_000_000_250), "2023-11-14T22:13:20.25Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00Z");
    }
}
