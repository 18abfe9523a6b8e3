//! What the tests stand on: the real binary as a child ([`Edge`]), its configuration ([`Config`]), a raw HTTP/1.1
//! client ([`http`]) and an HTTP/2 one ([`h2`]), upstreams that record what reaches them ([`upstream`]), WebSocket clients ([`ws`]), guest
//! plugins ([`guest`]), users and
//! workspaces made through the API ([`api`]).
//!
//! Nothing here sleeps to wait for something: [`wait_until`] polls a condition under a deadline.

pub mod api;
pub mod config;
pub mod edge;
pub mod guest;
pub mod h2;
pub mod http;
pub mod upstream;
pub mod ws;

pub use api::Account;
pub use config::Config;
pub use edge::Edge;
pub use http::{Connection, Request, Response};
pub use upstream::{Answer, Recorded, Upstream};

use std::time::{Duration, Instant};

/// By when anything that is to happen must have happened. Generous: two test processes may share two slow cores.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Polls until `condition` gives something, and gives that; panics with `what` after `deadline`.
#[track_caller]
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + deadline;
        loop {
            if let Some(found) = condition() {
                return found;
            }
            assert!(Instant::now() < end, "not within {deadline:?}: {what} (waited for at {caller})");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// [`wait_until`] for a condition that is itself asynchronous.
pub async fn wait_for<T>(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// `future` under the general deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(done) => done,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}
