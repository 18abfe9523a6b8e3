//! Terminals: shells on real PTYs, and the WebSockets through which people see them.
//!
//! [`TerminalService`] answers everything under `/api/v5/sessions/{id}/terminals`. It is called in the process, with
//! requests whose caller the gate has verified ([`coditect_auth::Identity`] in the request's extensions). The answer
//! to an attach request is 101 with an [`AttachHandler`] in its extensions; who owns the connection writes the 101
//! and gives the handler the byte stream.
//!
//! A terminal outlives its sockets. Its shell is driven by one task (`driver`) that alone owns the PTY's master;
//! what the shell writes goes into a bounded log (`output`) that every viewer (`viewer`) reads at its own pace.
//! A socket ends with the token family it was opened with; the terminal does not: it ends with its shell, by
//! `DELETE`, or with the service.
//!
//! | module | what is in it |
//! |---|---|
//! | `service`, `routes`, `requests`, `handshake`, `reply`, `error` | the HTTP side |
//! | `registry` | which terminals there are, and the limits on their number |
//! | `terminal`, `driver`, `output` | one terminal, its task, its output |
//! | `shell`, `pty`, `poll`, `process`, `workspace` | the operating system's side |
//! | `viewer`, `protocol`, `attach`, `sockets` | the WebSocket's side, and who is told of it |
//!
//! Not built yet, and absent rather than imitated: a parsed screen (a viewer that comes late gets the last bytes of
//! output, which on an alternate screen is not a whole picture), resuming a socket where it broke off, persistence,
//! recordings, sharing, `PATCH`, `signal`, and the sandbox: shells run as the edge's own user with its view of the
//! file system and without resource limits. See `shell` for what is kept from them and how.

mod attach;
mod driver;
mod error;
mod handshake;
mod launcher;
mod limits;
mod output;
mod poll;
mod process;
mod protocol;
mod pty;
mod registry;
mod reply;
mod requests;
mod routes;
mod service;
mod shell;
mod sockets;
mod terminal;
mod viewer;
mod workspace;

pub use attach::{AttachHandler, DuplexStream};
pub use error::TerminalError;
pub use launcher::{LaunchError, SUBCOMMAND as LAUNCH_SUBCOMMAND, launch, supported as can_confine};
pub use limits::Timings;
pub use protocol::SUBPROTOCOL;
pub use service::{ShutdownReport, TerminalService};
pub use sockets::{Socket, SocketEnd, SocketObserver};
pub use workspace::{LookupError, WorkspaceLookup};
