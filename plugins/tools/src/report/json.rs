//! The report for programs.

use super::{SuiteReport, Totals, Verdict};
use crate::environment::Line;
use serde_json::{Value, json};
use std::time::Duration;

/// One object: totals, and each file with its cases.
#[must_use]
pub fn json(reports: &[SuiteReport]) -> Value {
    let Totals { passed, failed, errors } = Totals::of(reports);
    let suites: Vec<Value> = reports.iter().map(suite).collect();
    json!({ "passed": passed, "failed": failed, "errors": errors, "suites": suites })
}

fn suite(report: &SuiteReport) -> Value {
    let cases = report.cases.iter().map(|case| {
        let mismatches = case.verdict.mismatches().iter();
        let mismatches: Vec<Value> =
            mismatches.map(|mismatch| json!({ "at": mismatch.at, "message": mismatch.message })).collect();
        json!({
            "name": case.name,
            "passed": case.verdict == Verdict::Passed,
            "mismatches": mismatches,
            "log": case.lines.iter().map(line).collect::<Vec<_>>(),
            "seconds": seconds(case.elapsed),
        })
    });
    json!({
        "file": report.file.display().to_string(),
        "error": report.error,
        "cases": cases.collect::<Vec<_>>(),
        "seconds": seconds(report.elapsed),
    })
}

/// A line that a plugin logged; bytes that are no text are replaced.
#[must_use]
pub fn line(line: &Line) -> Value {
    let level = format!("{:?}", line.level).to_lowercase();
    json!({ "level": level, "message": String::from_utf8_lossy(&line.message) })
}

/// To the microsecond.
fn seconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1e6).round() / 1e6
}
