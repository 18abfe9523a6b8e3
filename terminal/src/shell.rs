//! Starting a shell on a new PTY, and what it gets of ours: nothing.
//!
//! | of the edge's | the shell's |
//! |---|---|
//! | environment | cleared; the variables of [`environment`] only |
//! | file descriptors | the terminal on 0, 1 and 2. Ours are close-on-exec (the standard library opens them so), and `portable-pty` closes every other one between fork and exec |
//! | signals | an empty mask and default dispositions: `portable-pty` and the standard library reset what a Rust program changes (SIGPIPE) and what a terminal needs |
//! | process group, session | its own, with the PTY as its controlling terminal |
//! | working directory | the workspace's |
//! | umask | 022 |
//!
//! It runs as the edge's own user. What it sees of the file system is decided by [`crate::launcher`], where one is given.
//!
//! Between fork and exec `portable-pty` reads `/dev/fd`, which allocates, as few allocators promise to allow (a test does
//! it under load on mimalloc, the edge's); a start that hangs is given up after [`crate::Timings::start`].
//!
//! `portable-pty` closes also the pipe by which the standard library learns that `exec` failed. A shell that cannot
//! be run is therefore looked for before; one that fails in spite of that ends at once, by SIGABRT.

use crate::TerminalError;
use crate::launcher;
use crate::poll;
use crate::process::{Exit, peek_exit};
use crate::pty::pty_size;
use crate::requests::Size;
use crate::workspace;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySystem};
use rustix::fs::{Access, access};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;

/// Where a shell looks for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The shell's `USER`, the same for all: which of the system's users the edge is says nothing about the caller.
const USER: &str = "coditect";
/// Permissions that new files of a shell do not get.
const UMASK: u32 = 0o022;

/// Between two looks at a shell that was reported to have ended and has not.
const RECHECK: Duration = Duration::from_millis(10);

/// What to start, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct ShellSpec {
    pub(crate) shell: PathBuf,
    /// The program that confines itself and becomes the shell (see [`crate::launcher`]); `None` starts it as it is.
    pub(crate) launcher: Option<PathBuf>,
    pub(crate) directory: PathBuf,
    pub(crate) session: Uuid,
    pub(crate) size: Size,
}

/// A shell that was started, not yet known to the runtime.
pub(crate) struct Spawned {
    pub(crate) master: Box<dyn MasterPty + Send>,
    pub(crate) shell: SpawnedShell,
}

/// A child process that is killed with its session and reaped where nobody waits for it.
pub(crate) struct SpawnedShell {
    child: Box<dyn Child + Send + Sync>,
    pid: Pid,
    reaped: bool,
}

/// Makes the directory, opens a PTY and starts the shell. Blocking.
pub(crate) fn spawn(spec: &ShellSpec) -> Result<Spawned, TerminalError> {
    check_shell(&spec.shell)?;
    workspace::prepare(&spec.directory)
        .map_err(|source| TerminalError::Directory { path: spec.directory.clone(), source })?;
    let system = |step| {
        move |error: Box<dyn std::error::Error + Send + Sync>| TerminalError::System { step, source: error }
    };
    let pair = portable_pty::unix::UnixPtySystem::default()
        .openpty(pty_size(spec.size))
        .map_err(|error| system("opening a PTY")(error.into()))?;
    let child = pair
        .slave
        .spawn_command(command(spec))
        .map_err(|error| system("starting the shell")(error.into()))?;
    let pid = child.process_id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    let pid = pid.ok_or_else(|| system("starting the shell")("the child has no process id".into()))?;
    Ok(Spawned { master: pair.master, shell: SpawnedShell { child, pid, reaped: false } })
}

fn command(spec: &ShellSpec) -> CommandBuilder {
    let mut command = match &spec.launcher {
        Some(launcher) => {
            let mut command = CommandBuilder::new(launcher);
            command.arg(launcher::SUBCOMMAND);
            command.arg(&spec.directory);
            command.arg(&spec.shell);
            command
        }
        None => CommandBuilder::new(&spec.shell),
    };
    command.env_clear();
    for (name, value) in environment(spec) {
        command.env(name, value);
    }
    command.cwd(&spec.directory);
    command.umask(Some(UMASK));
    command
}

/// A shell's whole environment.
fn environment(spec: &ShellSpec) -> [(&'static str, std::ffi::OsString); 9] {
    [
        ("TERM", "xterm-256color".into()),
        ("COLORTERM", "truecolor".into()),
        ("LANG", "C.UTF-8".into()),
        ("PATH", PATH.into()),
        ("HOME", spec.directory.clone().into()),
        // Not the system's, which workspaces would share.
        ("TMPDIR", spec.directory.join(workspace::TEMPORARY).into()),
        ("SHELL", spec.shell.clone().into()),
        ("USER", USER.into()),
        ("CODITECT_SESSION", spec.session.to_string().into()),
    ]
}

fn check_shell(shell: &Path) -> Result<(), TerminalError> {
    let refuse = |reason: String| Err(TerminalError::Shell { shell: shell.to_owned(), reason });
    if !shell.is_absolute() {
        return refuse("is not an absolute path".to_owned());
    }
    match std::fs::metadata(shell) {
        Ok(found) if !found.is_file() => refuse("is not a file".to_owned()),
        Ok(_) => match access(shell, Access::EXEC_OK) {
            Ok(()) => Ok(()),
            Err(error) => refuse(format!("is not executable ({error})")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => refuse("does not exist".to_owned()),
        Err(error) => refuse(format!("cannot be looked at ({error})")),
    }
}

impl SpawnedShell {
    /// Its process, process group and session id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Something that waits for its end without a thread. Must be called within a runtime with I/O enabled.
    pub(crate) fn exit_watch(&self) -> io::Result<ExitWatch> {
        // The child is not reaped yet, so the id is still its own.
        let fd = pidfd_open(self.pid, PidfdFlags::empty())?;
        Ok(ExitWatch { fd: poll::register(fd, Interest::READABLE)?, pid: self.pid })
    }

    /// Reaps it. Only after its end was seen; blocks otherwise.
    pub(crate) fn reap(&mut self) -> io::Result<()> {
        self.child.wait()?;
        self.reaped = true;
        Ok(())
    }
}

impl Drop for SpawnedShell {
    /// For a shell whose start was given up or whose runtime is gone: it is killed. It is reaped where it ends at
    /// once; this must not block.
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        let killed = crate::process::signal_session(self.pid, &[Signal::KILL]);
        if let Err(error) = killed.and_then(|_| self.child.try_wait().map(drop)) {
            tracing::error!(%error, pid = %self.pid, "a shell could not be ended");
        }
    }
}

/// Waits for a child's end.
pub(crate) struct ExitWatch {
    fd: AsyncFd<OwnedFd>,
    pid: Pid,
}

impl ExitWatch {
    /// How the shell ended, once it has; it is not reaped. Cancellation safe.
    pub(crate) async fn ended(&self) -> io::Result<Exit> {
        loop {
            let mut ready = self.fd.readable().await?;
            if let Some(exit) = peek_exit(self.pid)? {
                return Ok(exit);
            }
            ready.clear_ready();
            drop(ready);
            // Not seen to happen; a descriptor that were ready for no reason must not be spun on.
            tokio::time::sleep(RECHECK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn refusal(shell: &str) -> String {
        check_shell(Path::new(shell)).unwrap_err().to_string()
    }

    #[test]
    fn a_shell_that_cannot_run_is_named_with_what_to_configure() {
        let missing = refusal("/no/such/shell");
        assert!(missing.contains("/no/such/shell does not exist"), "{missing}");
        assert!(missing.contains("terminal.shell"), "{missing}");
        assert!(refusal("sh").contains("absolute"));
        assert!(refusal("/tmp").contains("not a file"));
        let plain = tempfile::NamedTempFile::new().unwrap();
        assert!(refusal(plain.path().to_str().unwrap()).contains("not executable"));
        check_shell(Path::new("/bin/sh")).unwrap();
    }
}
