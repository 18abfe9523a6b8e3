//! Descriptors registered with the runtime's poller.
#![allow(unsafe_code)] // Tokio's registration relies on the descriptor staying open, and cannot see that it does

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor. Must be called within a runtime with I/O enabled.
pub(crate) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` always names the same descriptor and keeps it open until it is dropped, which `AsyncFd`,
    // its owner from now on, does after it has deregistered it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
