//! The report for CI: JUnit's XML, in the form that Jenkins, GitLab and GitHub's actions read.

use super::{CaseReport, SuiteReport, Totals};

/// A whole document.
#[must_use]
pub fn junit(reports: &[SuiteReport]) -> String {
    let Totals { passed, failed, errors } = Totals::of(reports);
    let time: f64 = reports.iter().map(|report| report.elapsed.as_secs_f64()).sum();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let tests = passed + failed + errors;
    push(
        &mut xml,
        &format!(
            "<testsuites name=\"plugin test\" tests=\"{tests}\" failures=\"{failed}\" errors=\"{errors}\" \
             time=\"{time:.6}\">\n"
        ),
    );
    for report in reports {
        write_suite(&mut xml, report);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn write_suite(xml: &mut String, report: &SuiteReport) {
    let name = escape(&report.file.display().to_string());
    let Totals { passed, failed, errors } = Totals::of(std::slice::from_ref(report));
    push(
        xml,
        &format!(
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failed}\" errors=\"{errors}\" time=\"{:.6}\">\n",
            passed + failed + errors,
            report.elapsed.as_secs_f64()
        ),
    );
    if let Some(error) = &report.error {
        let error = escape(error);
        push(xml, &format!("    <testcase classname=\"{name}\" name=\"(the file)\" time=\"0\">\n"));
        push(xml, &format!("      <error message=\"cannot be run\">{error}</error>\n    </testcase>\n"));
    }
    for case in &report.cases {
        write_case(xml, &name, case);
    }
    xml.push_str("  </testsuite>\n");
}

fn write_case(xml: &mut String, suite: &str, case: &CaseReport) {
    let (name, time) = (escape(&case.name), case.elapsed.as_secs_f64());
    push(xml, &format!("    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{time:.6}\">\n"));
    let mismatches = case.verdict.mismatches();
    if let Some(first) = mismatches.first() {
        let all: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
        let message = escape(first.to_string().lines().next().unwrap_or_default());
        push(xml, &format!("      <failure message=\"{message}\">{}</failure>\n", escape(&all.join("\n"))));
    }
    if !case.lines.is_empty() {
        xml.push_str("      <system-out>");
        for line in &case.lines {
            let level = format!("{:?}", line.level).to_lowercase();
            push(xml, &escape(&format!("{level}: {}\n", String::from_utf8_lossy(&line.message))));
        }
        xml.push_str("</system-out>\n");
    }
    xml.push_str("    </testcase>\n");
}

fn push(xml: &mut String, text: &str) {
    xml.push_str(text);
}

/// Text as XML 1.0 can say it, in elements and attributes; what it cannot is replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => {
                escaped.push(character);
            }
            // `Char` of XML 1.0 has no other.
            other => escaped.push_str(&format!("\\u{{{:x}}}", u32::from(other))),
        }
    }
    escaped
}
