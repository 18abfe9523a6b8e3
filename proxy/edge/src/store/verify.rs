//! `store verify`: do all keys, records and indexes agree?

use super::operations::{Opened, Sink};
use super::protocol::{Outcome, Step};
use anyhow::{Context, bail};
use coditect_store::StoreError;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// Checks everything; each problem is an item with the key's path and what is wrong.
pub(super) async fn verify(opened: &Opened, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    let (store, keys) = (opened.store.clone(), opened.keys.clone());
    let report = aside(sink, "verifying", async move |tell| store.verify(&keys, tell).await).await?;
    let problems = report
        .problems
        .iter()
        .map(|problem| json!({ "path": problem.path, "problem": problem.disagreement.to_string() }));
    sink.items(problems.collect()).await?;
    Ok(Outcome {
        good: report.is_clean(),
        summary: json!({
            "rows": report.keys, "records": report.records, "problems": report.problem_count,
            "named": report.problems.len(),
        }),
    })
}

/// Does a long walk on a thread of its own, so that it takes none from those that serve; the walk tells how many rows
/// it has read. It ends with this call.
pub(super) async fn aside<T, Fut>(
    sink: &mut dyn Sink,
    doing: &str,
    walk: impl FnOnce(Box<dyn FnMut(u64) + Send>) -> Fut + Send + 'static,
) -> anyhow::Result<T>
where
    T: Send + 'static,
    Fut: Future<Output = Result<T, StoreError>>,
{
    let (rows, mut told) = watch::channel(0);
    let (running, dropped) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let walk = tokio::task::spawn_blocking(move || {
        let tell = Box::new(move |done| {
            rows.send_replace(done);
        });
        runtime.block_on(async {
            tokio::select! {
                found = walk(tell) => Some(found),
                _ = dropped => None,
            }
        })
    });
    while told.changed().await.is_ok() {
        let rows = *told.borrow_and_update();
        sink.progress(Step { doing: doing.to_owned(), rows, bytes: 0 });
    }
    let Some(found) = walk.await.context("the check broke off")? else { bail!("the check broke off") };
    drop(running);
    Ok(found?)
}
