//! What came of running files of cases, and how it is told: to people, to programs, to CI.

mod human;
mod json;
mod junit;

pub use self::human::human;
pub use self::json::{json, line as json_line};
pub use self::junit::junit;

use crate::compare::Mismatch;
use crate::environment::Line;
use std::path::PathBuf;
use std::time::Duration;

/// What came of one file.
#[derive(Debug)]
pub struct SuiteReport {
    /// The file.
    pub file: PathBuf,
    /// Those that ran, in order.
    pub cases: Vec<CaseReport>,
    /// What kept the file from running at all.
    pub error: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What came of one case.
#[derive(Debug)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// Whether all was as expected.
    pub verdict: Verdict,
    /// What the plugin logged.
    pub lines: Vec<Line>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Whether all was as expected.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was.
    Passed,
    /// It was not; at least one thing.
    Failed(Vec<Mismatch>),
}

impl Verdict {
    /// One thing was not as expected.
    pub(crate) fn failed(at: &str, message: String) -> Self {
        Self::Failed(vec![Mismatch { at: at.to_owned(), message }])
    }

    /// What was not as expected.
    #[must_use]
    pub fn mismatches(&self) -> &[Mismatch] {
        match self {
            Self::Passed => &[],
            Self::Failed(mismatches) => mismatches,
        }
    }
}

/// Cases that passed and failed, and files that could not be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Files that could not be run.
    pub errors: usize,
}

impl Totals {
    /// Of all these files.
    #[must_use]
    pub fn of(reports: &[SuiteReport]) -> Self {
        let mut totals = Self::default();
        for report in reports {
            totals.errors += usize::from(report.error.is_some());
            for case in &report.cases {
                let counter =
                    if case.verdict == Verdict::Passed { &mut totals.passed } else { &mut totals.failed };
                *counter += 1;
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests;
