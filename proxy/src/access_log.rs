//! One JSON line per request.
//!
//! Lines are gathered and written by a thread of their own, so that a slow disk or pipe never holds a request; a line
//! is written within [`GATHER`]. What waits is bounded; a line there is no room for is dropped and counted. No query values, headers or bodies are logged: they
//! carry tokens, and a socket.io `sid` is a secret too.

use crate::plugins::Properties;
use prometheus::IntCounter;
use serde::Serialize;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use uuid::Uuid;

/// Bytes of lines that may wait to be written.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// With so many bytes waiting the writer does not wait for more.
const HURRY_BYTES: usize = 64 * 1024;
/// How long the writer gathers lines after a first one.
const GATHER: Duration = Duration::from_millis(100);
/// A longer path is cut, in bytes.
const MAX_PATH_BYTES: usize = 512;

/// One request, as the log tells it.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) time: String,
    pub(crate) request_id: Uuid,
    pub(crate) trace_id: String,
    pub(crate) client: Option<std::net::IpAddr>,
    pub(crate) protocol: &'a str,
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    /// Names of the query's parameters, without their values.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) query: &'a str,
    pub(crate) status: u16,
    /// Why the edge itself answered, refused or cut it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'a str>,
    pub(crate) duration_us: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workspace: Option<Uuid>,
    /// What plugins have set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) properties: Option<&'a Properties>,
}

/// Where lines go.
pub struct AccessLog {
    shared: Option<Arc<Shared>>,
    writer: Option<JoinHandle<()>>,
    dropped: IntCounter,
}

/// What requests and the writer share.
#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    closed: bool,
}

impl AccessLog {
    /// Writes to `out` from a thread of its own; `dropped` counts what there was no room for.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn to(out: impl Write + Send + 'static, dropped: IntCounter) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let lines = Arc::clone(&shared);
        let writer = std::thread::Builder::new().name("access-log".into()).spawn(move || lines.write(out))?;
        Ok(Self { shared: Some(shared), writer: Some(writer), dropped })
    }

    /// Writes nothing.
    pub fn off(dropped: IntCounter) -> Self {
        Self { shared: None, writer: None, dropped }
    }

    /// Whether lines are wanted at all.
    pub(crate) fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    pub(crate) fn line(&self, line: &Line<'_>) {
        let Some(shared) = &self.shared else { return };
        let mut bytes = Vec::with_capacity(512);
        if serde_json::to_writer(&mut bytes, line).is_err() {
            return;
        }
        bytes.push(b'\n');
        if !shared.add(&bytes) {
            self.dropped.inc();
        }
    }
}

impl Drop for AccessLog {
    /// Waits until what was added is written.
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.lock().closed = true;
            shared.changed.notify_one();
        }
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the access log's thread had panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line; false where there is no room for it. Wakes the writer only where it sleeps or should hurry: a
    /// wake for each line would cost a request more than all else in here.
    fn add(&self, line: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.closed || waiting.lines.len() + line.len() > MAX_WAITING_BYTES {
            return false;
        }
        let before = waiting.lines.len();
        waiting.lines.extend_from_slice(line);
        let after = waiting.lines.len();
        drop(waiting);
        if before == 0 || (before < HURRY_BYTES && after >= HURRY_BYTES) {
            self.changed.notify_one();
        }
        true
    }

    /// The writer's loop. It ends once the log is closed and empty, or cannot be written.
    fn write(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let closed = self.collect(&mut lines);
            if let Err(error) = out.write_all(&lines).and_then(|()| out.flush()) {
                tracing::error!(%error, "the access log cannot be written; it ends here");
                self.lock().closed = true;
                return;
            }
            lines.clear();
            if closed {
                return;
            }
        }
    }

    /// Waits for a first line, then a little longer for more; says whether these are the last.
    fn collect(&self, lines: &mut Vec<u8>) -> bool {
        let waiting = self.lock();
        let waiting = self.changed.wait_while(waiting, |waiting| waiting.lines.is_empty() && !waiting.closed);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.changed.wait_timeout_while(waiting, GATHER, |waiting| {
            waiting.lines.len() < HURRY_BYTES && !waiting.closed
        });
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(lines, &mut waiting.lines);
        waiting.closed
    }
}

/// A path fit for the log: cut where it is too long, and without anything that looks like a JWT.
pub(crate) fn path(path: &str) -> String {
    let mut end = path.len().min(MAX_PATH_BYTES);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    let path = &path[..end];
    if !path.contains("eyJ") {
        return path.to_owned();
    }
    let segments: Vec<&str> = path.split('/').map(|s| if s.contains("eyJ") { "-" } else { s }).collect();
    segments.join("/")
}

/// The names of a query's parameters.
pub(crate) fn query_names(query: &str) -> String {
    let mut names = String::new();
    for pair in query.split('&').take(16) {
        let name = pair.split('=').next().unwrap_or_default();
        // A lone value without a name is no name.
        let name = if name.len() > 32 || !pair.contains('=') { "-" } else { name };
        if !names.is_empty() {
            names.push('&');
        }
        names.push_str(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_by_the_end_and_none_is_torn() -> Result<(), Box<dyn std::error::Error>> {
        let sink = Sink::default();
        let log = AccessLog::to(sink.clone(), IntCounter::new("dropped", "dropped")?)?;
        let shared = log.shared.clone().ok_or("the log is on")?;
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let shared = &shared;
                scope.spawn(move || {
                    (0..5000).for_each(|n| assert!(shared.add(format!("{writer} {n}\n").as_bytes())))
                });
            }
        });
        drop(log);
        assert!(!shared.add(b"late\n"), "a closed log takes nothing");
        let written = String::from_utf8(sink.0.lock().map_err(|_| "poisoned")?.clone())?;
        for writer in 0..4 {
            let own: Vec<_> =
                written.lines().filter(|line| line.starts_with(&format!("{writer} "))).collect();
            let expected: Vec<_> = (0..5000).map(|n| format!("{writer} {n}")).collect();
            assert_eq!(own, expected);
        }
        Ok(())
    }

    #[test]
    fn what_waits_is_bounded() {
        let shared = Shared::default();
        let line = vec![b'x'; MAX_WAITING_BYTES / 4];
        let taken = (0..8).filter(|_| shared.add(&line)).count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn secrets_do_not_reach_the_log() {
        assert_eq!(query_names("EIO=4&transport=polling&sid=secret"), "EIO&transport&sid");
        assert_eq!(query_names("eyJhbGciOiJIUzI1NiJ9.secret"), "-");
        assert_eq!(path("/a/eyJhbGciOi.x.y/b"), "/a/-/b");
        assert!(path(&"/\u{e4}".repeat(400)).len() <= MAX_PATH_BYTES);
    }
}
