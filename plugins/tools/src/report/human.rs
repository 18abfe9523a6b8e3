//! The report for people.

use super::{CaseReport, SuiteReport, Totals, Verdict};
use crate::diff::quoted;

/// The most log lines shown of a case that failed.
const MAX_LOG_LINES: usize = 50;

/// All of it as text. `verbose` also shows what cases that passed logged.
#[must_use]
pub fn human(reports: &[SuiteReport], verbose: bool) -> String {
    let mut text = String::new();
    for report in reports {
        line(&mut text, "", &report.file.display().to_string());
        if let Some(error) = &report.error {
            line(&mut text, "  ", "ERROR cannot be run");
            line(&mut text, "        ", error);
        }
        for case in &report.cases {
            write_case(&mut text, case, verbose);
        }
    }
    let Totals { passed, failed, errors } = Totals::of(reports);
    let broken = if errors > 0 { format!(", files that could not be run: {errors}") } else { String::new() };
    line(&mut text, "", &format!("\n{} cases: {passed} passed, {failed} failed{broken}", passed + failed));
    text
}

fn write_case(text: &mut String, case: &CaseReport, verbose: bool) {
    let mark = if case.verdict == Verdict::Passed { "ok  " } else { "FAIL" };
    line(text, "  ", &format!("{mark}  {}", crate::compare::text(case.name.as_bytes())));
    for mismatch in case.verdict.mismatches() {
        line(text, "        ", &mismatch.to_string());
    }
    if case.lines.is_empty() || (case.verdict == Verdict::Passed && !verbose) {
        return;
    }
    line(text, "        ", "the plugin logged:");
    for logged in case.lines.iter().take(MAX_LOG_LINES) {
        let level = format!("{:?}", logged.level).to_lowercase();
        line(text, "          ", &format!("{level:<8} {}", quoted(&logged.message)));
    }
    if let Some(more) = case.lines.len().checked_sub(MAX_LOG_LINES).filter(|more| *more > 0) {
        line(text, "          ", &format!("and {more} lines more"));
    }
}

/// Adds lines, each indented.
fn line(text: &mut String, indent: &str, lines: &str) {
    for part in lines.split('\n') {
        text.push_str(&format!("{}\n", format!("{indent}{part}").trim_end()));
    }
}
