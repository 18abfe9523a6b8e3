//! Driving the plugin host: ticks, notifications of queues, and contexts that asked for time to finish.

use coditect_proxy_wasm::Engine;

/// Runs what the engine's plugins have planned, for as long as it is polled. Each callback runs on the polling thread,
/// within its CPU budget.
pub async fn drive_plugins(engine: Engine) {
    loop {
        match engine.run_due() {
            Some(next) => {
                tokio::select! {
                    () = tokio::time::sleep(next) => {}
                    () = engine.woken() => {}
                }
            }
            None => engine.woken().await,
        }
    }
}
