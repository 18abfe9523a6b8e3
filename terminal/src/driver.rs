//! The task of one terminal: it alone reads and writes the PTY, resizes it, ends its processes and reaps them.
//!
//! However a terminal ends, its whole session ends with it: first SIGHUP (and SIGCONT, for what is stopped), and
//! after a while SIGKILL. That includes jobs left in the background and `nohup`; what must outlive the terminal has
//! to leave its session.

use crate::limits::{READ_BYTES, Timings};
use crate::process::{self, Exit};
use crate::pty::PtyMaster;
use crate::shell::{ExitWatch, SpawnedShell};
use crate::terminal::Terminal;
use bytes::{Buf, Bytes};
use rustix::process::{Pid, Signal};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// No output for this long after the shell's end means that there is none left.
const DRAIN_QUIET: Duration = Duration::from_millis(50);
/// How often a terminal that no program has open, while its shell runs, is looked at: one may open it again.
const HUNG_UP_EVERY: Duration = Duration::from_millis(250);
/// How often processes that were told to go are looked for. There is no event to wait for: they are not our children.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// What hangs a session up: stopped processes see SIGHUP only once they are continued.
const HANGUP: &[Signal] = &[Signal::HUP, Signal::CONT];
const KILL: &[Signal] = &[Signal::KILL];

/// What a terminal's task owns.
pub(crate) struct Driver {
    pub(crate) terminal: Arc<Terminal>,
    pub(crate) pty: PtyMaster,
    pub(crate) shell: SpawnedShell,
    pub(crate) exit_watch: ExitWatch,
    pub(crate) input: mpsc::Receiver<Bytes>,
    pub(crate) timings: Arc<Timings>,
}

/// A process of the terminal is still there, after SIGKILL and a wait.
#[derive(Debug, thiserror::Error)]
#[error("a process of the session could not be ended")]
pub(crate) struct Stuck;

/// How far a shell that is to end has been told so.
#[derive(Debug, Clone, Copy)]
enum Ending {
    NotAsked,
    HungUp { kill_at: Instant },
    Killed { give_up_at: Instant },
}

impl Driver {
    /// Runs the terminal until its shell has ended or `stop` was asked for, and ends what is left of its session.
    ///
    /// `grace` is asked, when it matters, how long processes may take between SIGHUP and SIGKILL.
    ///
    /// Returns when every process of the session is gone and the shell is reaped, or after all waits have run out.
    pub(crate) async fn run(mut self, grace: impl Fn() -> Duration) -> Result<(), Stuck> {
        let ended = self.pump(&grace).await;
        self.drain().await;
        let exit = ended.as_ref().ok().cloned().unwrap_or(Exit { code: None, signal: None });
        tracing::info!(terminal = %self.terminal.id, code = exit.code, signal = exit.signal, "a shell ended");
        self.terminal.exit.send_replace(Some(exit));
        self.input.close();
        let swept = self.sweep(grace()).await;
        ended.and(swept)?;
        self.shell.reap().map_err(|error| self.failed("reaping the shell", &error))
    }

    /// Moves bytes between PTY, log and input queue until the shell's end.
    async fn pump(&mut self, grace: &impl Fn() -> Duration) -> Result<Exit, Stuck> {
        let mut buf = vec![0; READ_BYTES.min(self.terminal.output.burst())];
        let mut input = Bytes::new();
        let mut size = self.terminal.size.subscribe();
        let mut ending = Ending::NotAsked;
        let mut retry_at = None;
        let mut stalls_at = None;
        let output = Arc::clone(&self.terminal.output);
        loop {
            let congested = output.is_congested();
            stalls_at =
                congested.then(|| stalls_at.unwrap_or_else(|| Instant::now() + self.timings.output_stall));
            tokio::select! {
                exit = self.exit_watch.ended() => {
                    return exit.map_err(|error| self.failed("waiting for the shell", &error));
                }
                () = self.terminal.stop.cancelled(), if matches!(ending, Ending::NotAsked) => {
                    self.signal(HANGUP).await;
                    ending = Ending::HungUp { kill_at: Instant::now() + grace() };
                }
                () = ending.due() => match ending {
                    Ending::Killed { .. } => return Err(self.failed("ending the shell", &"it ignores SIGKILL")),
                    _ => {
                        self.signal(KILL).await;
                        ending = Ending::Killed { give_up_at: Instant::now() + self.timings.kill_wait };
                    }
                },
                read = self.pty.read(&mut buf), if !congested && retry_at.is_none() => match read {
                    Ok(0) => retry_at = Some(Instant::now() + HUNG_UP_EVERY),
                    Ok(count) => output.append(buf.get(..count).unwrap_or_default()),
                    Err(error) => {
                        self.failed("reading the PTY", &error);
                        retry_at = Some(Instant::now() + HUNG_UP_EVERY);
                    }
                },
                () = output.relieved(), if congested => {}
                () = due(stalls_at) => output.give_up(),
                chunk = self.input.recv(), if input.is_empty() => match chunk {
                    Some(chunk) => input = chunk,
                    None => std::future::pending().await, // the terminal, which we hold, has the sender
                },
                written = self.pty.write(&input), if !input.is_empty() && retry_at.is_none() => match written {
                    Ok(0) => retry_at = Some(Instant::now() + HUNG_UP_EVERY),
                    Ok(count) => input.advance(count),
                    Err(error) => {
                        self.failed("writing to the PTY", &error);
                        input.clear();
                    }
                },
                () = due(retry_at) => retry_at = None,
                _ = size.changed() => {
                    let size = *size.borrow_and_update();
                    if let Err(error) = self.pty.resize(size) {
                        self.failed("resizing the PTY", &error);
                    }
                }
            }
        }
    }

    /// Reads what was written before the shell's end.
    async fn drain(&self) {
        let mut buf = vec![0; READ_BYTES];
        let until = Instant::now() + self.timings.drain;
        while Instant::now() < until {
            match timeout(DRAIN_QUIET, self.pty.read(&mut buf)).await {
                Ok(Ok(count @ 1..)) => self.terminal.output.append(buf.get(..count).unwrap_or_default()),
                _ => return,
            }
        }
    }

    /// Ends what the shell left behind in its session.
    async fn sweep(&self, grace: Duration) -> Result<(), Stuck> {
        for (signals, wait) in [(HANGUP, grace), (KILL, self.timings.kill_wait)] {
            if self.signal(signals).await == 0 {
                return Ok(());
            }
            let until = Instant::now() + wait;
            while Instant::now() < until {
                sleep(SWEEP_EVERY).await;
                if self.signal(&[]).await == 0 {
                    return Ok(());
                }
            }
        }
        Err(self.failed("ending the session", &"a process ignores SIGKILL"))
    }

    /// Signals the session; the number of living processes in it. Where that cannot be told, 1: not known to be over.
    async fn signal(&self, signals: &'static [Signal]) -> usize {
        let session: Pid = self.shell.pid();
        let work = move || {
            let living = process::signal_session(session, signals)?;
            process::reap_orphans(session)?;
            Ok::<_, io::Error>(living)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(living)) => living,
            Ok(Err(error)) => {
                self.failed("signalling the session", &error);
                1
            }
            Err(error) => {
                self.failed("signalling the session", &error);
                1
            }
        }
    }

    fn failed(&self, step: &str, error: &dyn std::fmt::Display) -> Stuck {
        tracing::error!(terminal = %self.terminal.id, %error, "{step} failed");
        Stuck
    }
}

impl Ending {
    /// Waits until the next thing is to be done about it; for ever while nothing was asked.
    async fn due(self) {
        match self {
            Self::NotAsked => due(None).await,
            Self::HungUp { kill_at: at } | Self::Killed { give_up_at: at } => due(Some(at)).await,
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
