//! Who is told that terminals' sockets open and end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

use crate::viewer::Traffic;

/// A socket that shows a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Whose it is.
    pub user: Uuid,
    /// The user's tenant.
    pub tenant: Uuid,
    /// The terminal's workspace.
    pub workspace: Uuid,
    /// The terminal.
    pub terminal: Uuid,
    /// The client's address.
    pub address: Option<IpAddr>,
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketEnd {
    /// Why, in one word: `client_closed`, `terminal_ended`, `revoked`, `expired`, `drained`, `idle`, `refused`, `error`,
    /// or `cut_off` where its task was.
    pub reason: &'static str,
    /// Bytes from the client, frames included.
    pub received: u64,
    /// Bytes to the client, frames included.
    pub sent: u64,
}

/// Is told of each socket once when it opens and once when it has ended. Must not block.
pub trait SocketObserver: Send + Sync {
    /// The socket is open.
    fn attached(&self, socket: &Socket);
    /// The socket has ended.
    fn detached(&self, socket: &Socket, end: SocketEnd);
}

/// Nobody is told.
impl SocketObserver for () {
    fn attached(&self, _: &Socket) {}
    fn detached(&self, _: &Socket, _: SocketEnd) {}
}

/// A socket that was told of; its end is told when this is dropped, also where its task is cut off.
pub(crate) struct Attached {
    observer: Arc<dyn SocketObserver>,
    socket: Socket,
    traffic: Arc<Traffic>,
    pub(crate) reason: &'static str,
}

impl Attached {
    pub(crate) fn new(observer: Arc<dyn SocketObserver>, socket: Socket, traffic: Arc<Traffic>) -> Self {
        observer.attached(&socket);
        Self { observer, socket, traffic, reason: "cut_off" }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let end = SocketEnd {
            reason: self.reason,
            received: self.traffic.received.load(Ordering::Relaxed),
            sent: self.traffic.sent.load(Ordering::Relaxed),
        };
        self.observer.detached(&self.socket, end);
    }
}
