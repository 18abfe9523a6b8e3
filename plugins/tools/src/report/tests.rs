//! Tests of the three reports over the same results.
#![allow(clippy::unwrap_used)]

use super::*;
use coditect_proxy_wasm::LogLevel;

fn reports() -> Vec<SuiteReport> {
    let case = |name: &str, verdict| CaseReport {
        name: name.to_owned(),
        verdict,
        lines: vec![Line { level: LogLevel::Warn, message: b"<odd> \x1b[2J\xff".to_vec() }],
        elapsed: Duration::from_millis(5),
    };
    let mismatch = Mismatch { at: "response.status".into(), message: "expected `200`,\ngot \"403\"".into() };
    vec![
        SuiteReport {
            file: "a.test.toml".into(),
            cases: vec![case("good & well", Verdict::Passed), case("bad", Verdict::Failed(vec![mismatch]))],
            error: None,
            elapsed: Duration::from_millis(10),
        },
        SuiteReport {
            file: "b.test.toml".into(),
            cases: vec![],
            error: Some("b.test.toml:3: x: unknown".into()),
            elapsed: Duration::ZERO,
        },
    ]
}

#[test]
fn people_see_what_differs_and_what_a_failed_case_logged() {
    let text = human(&reports(), false);
    let expected = "\
a.test.toml
  ok    good & well
  FAIL  bad
        response.status: expected `200`,
        got \"403\"
        the plugin logged:
          warn     `<odd> \\x1b[2J\\xff`
b.test.toml
  ERROR cannot be run
        b.test.toml:3: x: unknown

2 cases: 1 passed, 1 failed, files that could not be run: 1
";
    assert_eq!(text, expected);
    assert_eq!(human(&reports(), true).matches("the plugin logged").count(), 2);
}

#[test]
fn programs_get_one_object() {
    let json = json(&reports());
    assert_eq!((&json["passed"], &json["failed"], &json["errors"]), (&1.into(), &1.into(), &1.into()));
    let case = &json["suites"][0]["cases"][1];
    assert_eq!(case["mismatches"][0]["at"], "response.status");
    assert_eq!(case["log"][0]["level"], "warn");
    assert_eq!(json["suites"][1]["error"], "b.test.toml:3: x: unknown");
}

#[test]
fn ci_gets_well_formed_xml() {
    let xml = junit(&reports());
    assert!(
        xml.contains("<testsuites name=\"plugin test\" tests=\"3\" failures=\"1\" errors=\"1\""),
        "{xml}"
    );
    assert!(xml.contains("name=\"good &amp; well\""), "{xml}");
    assert!(xml.contains("<failure message=\"response.status: expected `200`,\">"), "{xml}");
    assert!(xml.contains("warn: &lt;odd&gt; \\u{1b}[2J\u{fffd}"), "{xml}");
    assert!(xml.contains("<error message=\"cannot be run\">b.test.toml:3: x: unknown</error>"), "{xml}");
    let opened = xml.matches("<test").count();
    assert_eq!(opened, xml.matches("</test").count(), "{xml}");
}
