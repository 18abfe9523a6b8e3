//! `store verify`: do all keys, records and indexes agree?

use super::operations::{Opened, Sink};
use super::protocol::{Outcome, Step};
use anyhow::{Context, bail};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// Checks everything; each problem is an item with the key's path and what is wrong.
///
/// The walk has a thread of its own, so that it takes none from those that serve. It ends with this call.
pub(super) async fn verify(opened: &Opened, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    let (rows, mut told) = watch::channel(0);
    let (running, dropped) = oneshot::channel::<()>();
    let (runtime, opened) = (Handle::current(), opened.clone());
    let walk = tokio::task::spawn_blocking(move || {
        let tell = |done| {
            rows.send_replace(done);
        };
        runtime.block_on(async {
            tokio::select! {
                report = opened.store.verify(&opened.keys, tell) => Some(report),
                _ = dropped => None,
            }
        })
    });
    while told.changed().await.is_ok() {
        let rows = *told.borrow_and_update();
        sink.progress(Step { doing: "verifying".into(), rows, bytes: 0 });
    }
    let Some(report) = walk.await.context("the check broke off")? else { bail!("the check broke off") };
    drop(running);
    let report = report?;
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
