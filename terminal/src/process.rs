//! The processes of a terminal: all that share the session (`setsid(2)`) its shell leads.
//!
//! A shell puts its jobs into process groups of their own, so killing one group would leave the others. What leaves
//! the session (`setsid`, a daemon) is not found here; holding that too takes a control group or a PID namespace.
//!
//! The shell is looked at with `WNOWAIT` and reaped last: until then its id, which is the session's, cannot be given
//! to another process.

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, waitid,
};
use std::fs;
use std::io;

/// How a shell ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Its exit code, where it ended by itself.
    pub(crate) code: Option<i32>,
    /// The signal that ended it, by name.
    pub(crate) signal: Option<String>,
}

/// How the child `pid` ended; `None` while it runs. It is not reaped.
pub(crate) fn peek_exit(pid: Pid) -> io::Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(pid), options)?;
    Ok(status.map(|status| Exit {
        code: status.exit_status(),
        signal: status.terminating_signal().map(signal_name),
    }))
}

/// Sends `signals`, in order, to every living process of the session; the number of processes found.
///
/// Blocking: it reads `/proc`.
pub(crate) fn signal_session(session: Pid, signals: &[Signal]) -> io::Result<usize> {
    let mut found = 0;
    for pid in members(session)? {
        found += usize::from(signal_member(session, pid, signals)?);
    }
    Ok(found)
}

/// Reaps ended processes of the session that were handed to us when their parents ended (we are process 1 of a
/// container); nobody else would. The shell itself is left.
pub(crate) fn reap_orphans(session: Pid) -> io::Result<()> {
    for entry in processes()? {
        let orphan = |stat: Stat| stat.session == session && stat.parent == Some(getpid()) && stat.dead;
        if entry != session && stat(entry).is_some_and(orphan) {
            match waitid(WaitId::Pid(entry), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(_) | Err(Errno::CHILD) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Signals one process through a descriptor of it, so that a process which took over its id is not hit instead.
fn signal_member(session: Pid, pid: Pid, signals: &[Signal]) -> io::Result<bool> {
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if !stat(pid).is_some_and(|stat| stat.session == session && !stat.dead) {
        return Ok(false);
    }
    for signal in signals {
        match pidfd_send_signal(&fd, *signal) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// The living processes of a session.
fn members(session: Pid) -> io::Result<Vec<Pid>> {
    let member = |pid: &Pid| stat(*pid).is_some_and(|stat| stat.session == session && !stat.dead);
    Ok(processes()?.filter(member).collect())
}

fn processes() -> io::Result<impl Iterator<Item = Pid>> {
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    Ok(entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)))
}

/// What is needed of `/proc/{pid}/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    dead: bool,
    parent: Option<Pid>,
    session: Pid,
}

/// `None` where the process is gone, or has no session (kernel threads).
fn stat(pid: Pid) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// The second field is the program's name in parentheses and may hold anything, parentheses too.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    let parent = Pid::from_raw(fields.next()?.parse().ok()?);
    let session = Pid::from_raw(fields.nth(1)?.parse().ok()?)?;
    Some(Stat { dead, parent, session })
}

/// `SIGTERM` for 15; numbers without a name of their own (real-time signals) as `SIG40`.
fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(number).ok().and_then(|number| NAMES.get(number.checked_sub(1)?));
    name.map_or_else(|| format!("SIG{number}"), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = parse_stat("12 (a) S 1) Z 7 12 99 0 -1\n").unwrap();
        assert_eq!(stat, Stat { dead: true, parent: Pid::from_raw(7), session: Pid::from_raw(99).unwrap() });
        assert_eq!(parse_stat("2 (kthreadd) S 0 0 0 0"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn signals_have_the_names_of_signal_7() {
        let known = [(Signal::HUP, "SIGHUP"), (Signal::KILL, "SIGKILL"), (Signal::TERM, "SIGTERM")];
        for (signal, name) in known.into_iter().chain([(Signal::WINCH, "SIGWINCH"), (Signal::SYS, "SIGSYS")])
        {
            assert_eq!(signal_name(signal.as_raw()), name);
        }
        assert_eq!(signal_name(40), "SIG40");
        assert_eq!(signal_name(0), "SIG0");
    }
}
