//! The tasks of calls and connections: owned, so that they can be stopped and waited for.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns onto one runtime, from any thread.
#[derive(Debug, Clone)]
pub(super) struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime, tracker: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Runs `future` until it ends or all are stopped.
    pub(super) fn spawn<F>(&self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let stop = self.stop.clone();
        let run = async move { drop(stop.run_until_cancelled_owned(future).await) };
        drop(self.tracker.spawn_on(run, &self.runtime));
    }

    /// Drops every task where it waits, and waits until they are gone. What is spawned later ends at once.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Tasks that run.
    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        self.tracker.len()
    }
}

/// hyper-util's connections run here too.
impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}
