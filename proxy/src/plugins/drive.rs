//! Driving the plugin host: ticks, notifications of queues, calls that failed, and contexts that asked for time to finish.

use coditect_proxy_wasm::Engine;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Wait after a panic in the host, so that one that comes back does not take a core.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Runs what the engine's plugins have planned, for as long as it is polled. Callbacks run one after the other on a thread
/// for blocking work, each within its CPU budget: however many are due, requests go on.
pub async fn drive_plugins(engine: Engine) {
    loop {
        let due = engine.clone();
        let next = spawn_blocking(move || due.run_due()).await.unwrap_or_else(|panic| {
            tracing::error!(
                error = &panic as &dyn std::error::Error,
                "running what plugins have planned failed"
            );
            Some(AFTER_PANIC)
        });
        let passed = async {
            match next {
                Some(next) => sleep(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = passed => {}
            () = engine.woken() => {}
        }
    }
}
