//! The last step before a shell runs: the process gives up what the shell must not have, then becomes the shell.
//!
//! The edge starts its own binary again as launcher, since a hook between fork and exec could not do this safely in a
//! threaded process. Landlock (Linux 5.13) takes effect on the process itself and on all it starts, for good:
//!
//! | may | where |
//! |---|---|
//! | read and run | the system: `/usr`, `/bin`, `/sbin`, `/lib*` |
//! | read | `/etc`, `/proc`, `/sys`, `/run/systemd/resolve` |
//! | write | its workspace's directory, its own temporary directory in there, and the harmless devices |
//! | nothing | everywhere else: the store, the signing key, other workspaces, homes, `/tmp`, `/var` |
//!
//! Capabilities are given up, so an edge that runs as root starts no root shells. Signals and abstract sockets reach only processes of the same terminal (Linux 6.12); before that kernel a shell can
//! signal other processes of the edge's user, the edge among them. The network is open, as an IDE needs it: a shell
//! reaches whatever listens on the machine's loopback, and sockets in the file system.
//!
//! The edge's user stays the shell's, and Landlock knows no rule for a file's metadata: a shell can change mode, owner and
//! times of files of that user that it cannot open. It confines; it does not separate hostile tenants. An own user for
//! each workspace is to come.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The newest interface this was written for; an older kernel gives what it has, but never less than files.
const INTERFACE: ABI = ABI::V6;
/// Directories of programs.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Directories that programs read.
const READABLE: [&str; 4] = ["/etc", "/proc", "/sys", "/run/systemd/resolve"];
/// Devices that belong to nobody. Of the terminals a shell gets its own only: the others are other people's.
const DEVICES: [&str; 7] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/fd"];
/// Open files of one process of a shell.
const OPEN_FILES: u64 = 4096;

/// Why a shell was not started. The launcher has told it to the terminal; the process ends.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The kernel has no Landlock, or it is switched off.
    #[error(
        "this kernel cannot confine a shell (Landlock, Linux 5.13 or later, enabled at boot). \
         To run shells without confinement set `sandbox = \"off\"` in [terminal]: they can then read whatever the edge can"
    )]
    NoLandlock,
    /// Landlock refused.
    #[error("the shell could not be confined: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The capabilities could not be given up.
    #[error("the process's capabilities could not be given up")]
    Capabilities(#[source] io::Error),
    /// A resource limit was refused.
    #[error("a resource limit could not be set")]
    Limit(#[source] io::Error),
    /// The shell could not be run.
    #[error("cannot run {shell}")]
    Exec {
        /// The shell.
        shell: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The arguments of the edge's binary that start a shell: for the edge's command line to recognise.
pub const SUBCOMMAND: &str = "launch-shell";

/// Confines this process to `workspace` and replaces it by `shell`. Returns only where that failed.
pub fn launch(workspace: &Path, shell: &Path) -> LaunchError {
    match confine(workspace) {
        Ok(()) => {
            let source = Command::new(shell).arg0(login_name(shell)).exec();
            LaunchError::Exec { shell: shell.to_owned(), source }
        }
        Err(error) => error,
    }
}

/// Whether this kernel can confine a shell.
pub fn supported() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

/// The terminal this process was started on.
fn own_terminal() -> Option<PathBuf> {
    let name = rustix::termios::ttyname(std::io::stdin(), Vec::new()).ok()?;
    Some(PathBuf::from(OsString::from_vec(name.into_bytes())))
}

/// What the shell is called by: its file name, as `portable-pty` would.
fn login_name(shell: &Path) -> OsString {
    shell.file_name().map_or_else(|| shell.into(), Into::into)
}

fn confine(workspace: &Path) -> Result<(), LaunchError> {
    let limit = |resource, most| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| LaunchError::Limit(error.into()))
    };
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, OPEN_FILES)?;

    // Where memory runs out, a shell goes before the edge. A kernel that refuses costs only that preference.
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));

    let all = AccessFs::from_all(INTERFACE);
    let read = AccessFs::from_read(INTERFACE) & !AccessFs::Execute;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(INTERFACE))?
        .create()?
        .add_rules(path_beneath_rules(PROGRAMS, AccessFs::from_read(INTERFACE)))?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(DEVICES, device))?
        .add_rules(path_beneath_rules(own_terminal(), device))?
        .add_rules(path_beneath_rules([workspace], all))?
        .restrict_self()?;
    // With "no new privileges" set by the step before, not even a shell of root gets them back.
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(|error| LaunchError::Capabilities(error.into()))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(LaunchError::NoLandlock),
    }
}
