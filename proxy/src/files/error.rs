//! What can go wrong on the server's side while a file is served; a file that is not there is no error.

use std::io;
use std::path::PathBuf;

/// A failure that the client did not cause. Each has one status, see `is_temporary`.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(
        "cannot open the directory of static files {}; check that it exists and is readable",
        path.display()
    )]
    Root { path: PathBuf, source: io::Error },
    #[error(
        "openat2 is refused by this system, so static files cannot be served safely from a directory; it needs \
         Linux 5.6 or newer and a container runtime whose seccomp profile allows it"
    )]
    Unsupported { source: io::Error },
    #[error("cannot open {path:?} below the directory of static files")]
    Open { path: String, source: io::Error },
    #[error("cannot read a static file")]
    Read(#[source] io::Error),
    #[error("a static file was rewritten while it was being read")]
    Changed,
    #[error("the file system did not answer within {seconds} s")]
    Deadline { seconds: u64 },
    #[error("a worker thread for static files ended early")]
    Worker(#[source] tokio::task::JoinError),
}

impl FileError {
    /// Whether the same request may well succeed a moment later: answered 503 with `Retry-After`, not 500.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            FileError::Root { .. } | FileError::Changed | FileError::Deadline { .. } => true,
            FileError::Open { source, .. } => {
                let code = source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
                use rustix::io::Errno;
                matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN))
            }
            FileError::Unsupported { .. } | FileError::Read(_) | FileError::Worker(_) => false,
        }
    }
}
