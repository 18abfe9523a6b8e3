//! How long a gRPC stream may live: a guest need not end it, and it does not end with the request it was begun for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The longest that a stream lives. A guest that wants it longer begins it anew.
pub(super) const MAX_LIFE: Duration = Duration::from_secs(3600);
/// The longest that a stream lives without a message, whichever way.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(300);

/// When a stream last carried a message.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Instant>);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// A message went or came.
    pub(super) fn message(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Resolves once there was no message for [`MAX_IDLE`]. Cancellation safe.
    pub(super) async fn idle(&self) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + MAX_IDLE;
            if Instant::now() >= end {
                return;
            }
            sleep_until(end).await;
        }
    }
}
