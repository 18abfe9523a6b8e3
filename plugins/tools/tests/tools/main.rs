//! The tools on a guest: cases in both formats, one exchange with its record.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod foreign;
mod rehearsal;

use coditect_plugin_tools::report::{SuiteReport, Verdict};
use coditect_plugin_tools::{RunOptions, run_file};
use std::path::PathBuf;

/// A folder with the guest.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gate.wasm"), gate()).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Runs a file of cases of the guest.
    fn run(&self, name: &str, text: &str) -> SuiteReport {
        let plugin = Some(self.0.path().join("gate.wasm"));
        run_file(&self.write(name, text), &RunOptions { plugin, ..RunOptions::default() })
    }
}

/// The guest of gate.wat.
fn gate() -> Vec<u8> {
    wat::parse_str(include_str!("gate.wat")).unwrap()
}

/// What was not as expected in the only case.
fn mismatches(report: &SuiteReport) -> Vec<String> {
    assert_eq!(report.error, None);
    let [case] = report.cases.as_slice() else { panic!("{report:#?}") };
    case.verdict.mismatches().iter().map(ToString::to_string).collect()
}

/// That all cases passed, and at least one.
#[track_caller]
fn all_pass(report: &SuiteReport) {
    assert_eq!(report.error, None);
    assert!(!report.cases.is_empty());
    for case in &report.cases {
        assert_eq!(case.verdict, Verdict::Passed, "{}", case.name);
    }
}
