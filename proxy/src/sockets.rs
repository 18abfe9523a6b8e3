//! Who is told that sockets open and end.

use crate::request::RequestCtx;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// A socket of somebody who is signed in, tunnelled to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Whose it is.
    pub user: Uuid,
    /// The user's tenant.
    pub tenant: Uuid,
    /// The workspace, on routes that have one.
    pub workspace: Option<Uuid>,
    /// The route's prefix, as configured.
    pub route: String,
    /// The client's address.
    pub address: Option<IpAddr>,
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketEnd {
    /// Why, in one word: `client_closed`, `upstream_closed`, `revoked`, `expired`, `drained`, `idle`, `error`, or
    /// `cut_off` where the time of a drain was over.
    pub reason: &'static str,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

/// Is told of each socket once when it opens and once when it has ended. Must not block.
pub trait SocketObserver: Send + Sync {
    /// The socket is open.
    fn attached(&self, socket: &Socket);
    /// The socket has ended.
    fn detached(&self, socket: &Socket, end: SocketEnd);
}

/// A socket that was told of; its end is told when this is dropped, also where its task is cut off.
pub(crate) struct Attached<F: Fn() -> (u64, u64)> {
    observer: Arc<dyn SocketObserver>,
    socket: Socket,
    /// Bytes from and to the client, so far.
    bytes: F,
    pub(crate) reason: &'static str,
}

impl<F: Fn() -> (u64, u64)> Attached<F> {
    /// Tells of a request's socket, if somebody is signed in.
    pub(crate) fn new(observer: &Arc<dyn SocketObserver>, ctx: &RequestCtx, bytes: F) -> Option<Self> {
        let claims = &ctx.identity.as_ref()?.claims;
        let socket = Socket {
            user: claims.sub,
            tenant: claims.tenant_id,
            workspace: ctx.workspace,
            route: ctx.route.as_ref().map(|route| route.config.prefix.text.clone()).unwrap_or_default(),
            address: ctx.client,
        };
        observer.attached(&socket);
        Some(Self { observer: Arc::clone(observer), socket, bytes, reason: "cut_off" })
    }
}

impl<F: Fn() -> (u64, u64)> Drop for Attached<F> {
    fn drop(&mut self) {
        let (received, sent) = (self.bytes)();
        self.observer.detached(&self.socket, SocketEnd { reason: self.reason, received, sent });
    }
}
