//! The master of a PTY, read and written without blocking.
//!
//! The master is registered with the runtime's poller (`AsyncFd`): a PTY's master supports `O_NONBLOCK` and epoll,
//! so a terminal needs no thread, where `portable-pty`'s own blocking reader would need one for each. The descriptor
//! polled is a duplicate of `portable-pty`'s, close-on-exec like it; that one is closed.
#![allow(unsafe_code)] // `portable-pty` gives out its descriptor as a number only

use crate::poll;
use crate::requests::Size;
use portable_pty::{MasterPty, PtySize};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::coop::consume_budget;

/// The master of one PTY. Dropped, the system hangs up the terminal's session.
pub(crate) struct PtyMaster {
    fd: AsyncFd<OwnedFd>,
}

impl PtyMaster {
    /// Must be called within a runtime with I/O enabled.
    pub(crate) fn new(master: &(dyn MasterPty + Send)) -> io::Result<Self> {
        let raw = master.as_raw_fd().ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: `raw` is the descriptor `master` owns; it is open as long as `master` lives, and `master` is
        // borrowed for longer than this.
        let fd = unsafe { BorrowedFd::borrow_raw(raw) }.try_clone_to_owned()?;
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self { fd: poll::register(fd, Interest::READABLE | Interest::WRITABLE)? })
    }

    /// Reads what the terminal's programs wrote; 0 while none of them has it open. Cancellation safe.
    pub(crate) async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.transfer(Interest::READABLE, |fd| rustix::io::read(fd, &mut *buf)).await
    }

    /// Writes input, as much as is taken; 0 while no program has the terminal open. Cancellation safe.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.transfer(Interest::WRITABLE, |fd| rustix::io::write(fd, bytes)).await
    }

    /// Does one transfer when the master is ready for it.
    ///
    /// A master whose terminal nobody has open is hung up: the poller then reports it ready for ever, while reading
    /// fails with EIO and writing may fail with EAGAIN. `AsyncFd::async_io` would spin on that.
    async fn transfer(
        &self,
        interest: Interest,
        mut transfer: impl FnMut(&OwnedFd) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        // Readiness costs no budget; a program that never stops writing must not keep the thread to itself.
        consume_budget().await;
        loop {
            let mut guard = self.fd.ready(interest).await?;
            let hung_up = guard.ready().is_read_closed() || guard.ready().is_write_closed();
            match transfer(self.fd.get_ref()) {
                Err(Errno::IO) => return Ok(0),
                Err(Errno::AGAIN) if hung_up => return Ok(0),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Sets the terminal's size; its foreground programs get SIGWINCH.
    pub(crate) fn resize(&self, size: Size) -> io::Result<()> {
        let Size { cols, rows } = size;
        let size = Winsize { ws_col: cols, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.fd, size)?)
    }
}

/// The size in `portable-pty`'s type; sizes in pixels are not known here.
pub(crate) fn pty_size(size: Size) -> PtySize {
    PtySize { rows: size.rows, cols: size.cols, pixel_width: 0, pixel_height: 0 }
}
