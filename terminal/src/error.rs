//! Why a terminal request was refused, and what the contract calls it.

use http::StatusCode;
use std::path::PathBuf;
use std::time::Duration;

/// A request that was not carried out. [`code`](Self::code), [`status`](Self::status) and the message are what the
/// caller sees; sources go to the log only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TerminalError {
    /// The gate put no identity into the request.
    #[error("no credentials: send an Authorization header with a bearer token")]
    MissingCredentials,
    /// No such path, workspace or terminal, or it is not the caller's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The path is known, the method is not.
    #[error("this path takes {allow} only")]
    MethodNotAllowed {
        /// The methods it takes, for the header `Allow`.
        allow: &'static str,
    },
    /// The body is larger than the limit.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// The body did not arrive in time, or its transfer broke off.
    #[error("the body did not arrive")]
    BodyLost,
    /// The body is not JSON.
    #[error("the body is not valid JSON: {0}")]
    InvalidJson(serde_json::Error),
    /// The body is JSON, but not what this operation takes.
    #[error("{0}")]
    Invalid(String),
    /// The attach request is not a WebSocket handshake (RFC 6455, 4.2.1).
    #[error("not a WebSocket handshake: {0}")]
    BadHandshake(&'static str),
    /// The attach request asks for no WebSocket, or for one of another version.
    #[error("this path takes a WebSocket upgrade, version 13, only")]
    UpgradeRequired,
    /// A limit on the number of terminals is reached.
    #[error("{scope} has {limit} terminals, the most it may have: close one first")]
    TooManyTerminals {
        /// Whose limit.
        scope: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A terminal has as many viewers as it may have.
    #[error("this terminal has {limit} viewers, the most it may have: close one first")]
    TooManyViewers {
        /// The limit.
        limit: usize,
    },
    /// The workspace's directory could not be made.
    #[error("the terminal could not be started: the directory {} could not be made; \
             check terminal.workspace_root in the configuration", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configured shell cannot be run.
    #[error("the terminal could not be started: the shell {} {reason}; \
             set terminal.shell in the configuration", shell.display())]
    Shell {
        /// The configured shell.
        shell: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system gave no PTY, or no process.
    #[error(
        "the terminal could not be started: {step} failed; \
             the system may be out of PTYs, processes or file descriptors"
    )]
    System {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The shell was not running in time.
    #[error("the terminal could not be started: the shell was not running after {} s", .0.as_secs())]
    StartTimeout(Duration),
    /// A process of the terminal did not go, not even by SIGKILL.
    #[error("a process of the terminal could not be ended")]
    NotEnded,
    /// Whose workspace it is could not be determined.
    #[error("the workspace could not be looked up right now, try again")]
    LookupFailed,
    /// The service is stopping.
    #[error("the server is stopping, try again")]
    Stopping,
}

impl TerminalError {
    /// The contract's error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingCredentials => "MISSING_AUTH_HEADER",
            Self::NotFound(_) => "NOT_FOUND",
            Self::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            Self::BodyTooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::BodyLost => "REQUEST_TIMEOUT",
            Self::InvalidJson(_) => "INVALID_JSON",
            Self::Invalid(_) => "VALIDATION_FAILED",
            Self::BadHandshake(_) => "BAD_HANDSHAKE",
            Self::UpgradeRequired => "UPGRADE_REQUIRED",
            Self::TooManyTerminals { .. } => "TOO_MANY_TERMINALS",
            Self::TooManyViewers { .. } => "TOO_MANY_VIEWERS",
            Self::Directory { .. } | Self::Shell { .. } | Self::System { .. } | Self::StartTimeout(_) => {
                "TERMINAL_START_FAILED"
            }
            Self::NotEnded => "TERMINAL_END_FAILED",
            Self::LookupFailed | Self::Stopping => "UNAVAILABLE",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MissingCredentials => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyLost => StatusCode::REQUEST_TIMEOUT,
            Self::InvalidJson(_) | Self::BadHandshake(_) => StatusCode::BAD_REQUEST,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyTerminals { .. } | Self::TooManyViewers { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Directory { .. }
            | Self::Shell { .. }
            | Self::System { .. }
            | Self::StartTimeout(_)
            | Self::NotEnded => StatusCode::INTERNAL_SERVER_ERROR,
            Self::LookupFailed | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
