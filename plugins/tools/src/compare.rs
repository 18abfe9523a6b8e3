//! Comparing what came of an exchange with what a case expects.

use crate::calls::MadeCall;
use crate::diff::{differ, quoted};
use crate::drive::{Outcome, Seen};
use crate::environment::Line;
use crate::suite::{
    CallAnswer, Case, Expectation, ExpectedHeaders, ExpectedMetric, ExpectedRequest, ExpectedResponse, Names,
    Pairs, ScriptedCall,
};
use coditect_proxy_wasm::{MetricSample, MetricValue};
use std::collections::BTreeMap;
use std::fmt;

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where, such as `response.headers.x-a`.
    pub at: String,
    /// What was expected and what was found; may have several lines.
    pub message: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// What an exchange left behind.
pub struct Evidence<'a> {
    /// What reached whom.
    pub outcome: &'a Outcome,
    /// What was logged.
    pub lines: &'a [Line],
    /// The calls made, and the places of the script's answers that nobody wanted.
    pub calls: (&'a [MadeCall], &'a [usize]),
    /// The plugin's metrics.
    pub metrics: &'a [MetricSample],
    /// The exchange's properties by path.
    pub properties: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All that is not as the case expects, in the order in which it matters.
#[must_use]
pub fn compare(case: &Case, evidence: &Evidence<'_>) -> Vec<Mismatch> {
    let mut found = Comparison(Vec::new());
    let expect = &case.expect;
    found.failures(expect, &evidence.outcome.failures);
    found.upstream(expect, evidence.outcome.upstream.as_ref());
    found.client(expect, evidence.outcome);
    found.calls(&case.calls, evidence.calls);
    found.log(expect, evidence.lines);
    found.metrics(expect, evidence.metrics);
    for (path, value) in &expect.properties {
        match evidence.properties.get(path.as_bytes()) {
            Some(actual) if *actual == value.0 => {}
            Some(actual) => found.add(&format!("properties.{path}"), differ(&value.0, actual)),
            None => found.add(
                &format!("properties.{path}"),
                format!("expected {}, but nobody set it", quoted(&value.0)),
            ),
        }
    }
    found.0
}

struct Comparison(Vec<Mismatch>);

impl Comparison {
    fn add(&mut self, at: &str, message: String) {
        self.0.push(Mismatch { at: at.to_owned(), message });
    }

    fn failures(&mut self, expect: &Expectation, failures: &[String]) {
        match &expect.failure {
            Some(part) if failures.iter().any(|failure| failure.contains(part)) => {}
            Some(part) if failures.is_empty() => {
                self.add("failure", format!("expected `{part}`, but the plugin did nothing wrong"));
            }
            Some(part) => self.add("failure", format!("expected `{part}`, got: {}", failures.join("\n"))),
            None => failures.iter().for_each(|failure| self.add("failure", failure.clone())),
        }
    }

    fn upstream(&mut self, expect: &Expectation, upstream: Option<&Seen>) {
        let wanted = expect.upstream.or(expect.request.as_ref().map(|_| true));
        match (wanted, upstream) {
            (Some(true), None) => {
                self.add("upstream", "expected the request there, but it did not reach it".to_owned());
            }
            (Some(false), Some(seen)) => {
                let line = text(&request_line(&seen.headers));
                self.add("upstream", format!("expected no request there, but this reached it: {line}"));
            }
            _ => {}
        }
        if let (Some(expected), Some(seen)) = (&expect.request, upstream) {
            self.request("request", expected, &seen.headers, &seen.body, &seen.trailers);
        }
    }

    fn request(
        &mut self,
        at: &str,
        expected: &ExpectedRequest,
        headers: &Pairs,
        body: &[u8],
        trailers: &Pairs,
    ) {
        for (key, expected) in
            [("method", &expected.method), ("path", &expected.path), ("authority", &expected.authority)]
        {
            if let Some(expected) = expected {
                self.one(&format!("{at}.{key}"), expected, headers, &format!(":{key}"));
            }
        }
        self.headers(&format!("{at}.headers"), &expected.headers, headers);
        self.no_headers(&format!("{at}.no_headers"), &expected.no_headers, headers);
        self.body(at, expected.body.as_deref(), expected.body_contains.as_deref(), body);
        self.headers(&format!("{at}.trailers"), &expected.trailers, trailers);
    }

    fn client(&mut self, expect: &Expectation, outcome: &Outcome) {
        if let Some(closed) = expect.closed
            && closed != outcome.closed
        {
            let is = if outcome.closed { "broken off" } else { "not broken off" };
            self.add("closed", format!("expected {closed}, but the connection was {is}"));
        }
        match (&expect.response, &outcome.client) {
            (Some(expected), Some(seen)) => self.response(expected, seen, outcome.details.as_deref()),
            (Some(_), None) => {
                self.add("response", "expected one, but the connection was broken off".to_owned());
            }
            (None, _) => {}
        }
    }

    fn response(&mut self, expected: &ExpectedResponse, seen: &Seen, details: Option<&str>) {
        if let Some(status) = expected.status {
            self.one("response.status", &status.to_string(), &seen.headers, ":status");
        }
        if let Some(expected) = &expected.details {
            let actual = details.unwrap_or_default();
            if expected != actual {
                self.add("response.details", differ(expected.as_bytes(), actual.as_bytes()));
            }
        }
        self.headers("response.headers", &expected.headers, &seen.headers);
        self.no_headers("response.no_headers", &expected.no_headers, &seen.headers);
        self.body("response", expected.body.as_deref(), expected.body_contains.as_deref(), &seen.body);
        self.headers("response.trailers", &expected.trailers, &seen.trailers);
    }

    fn one(&mut self, at: &str, expected: &str, headers: &Pairs, name: &str) {
        match values(headers, name).as_slice() {
            [value] if *value == expected.as_bytes() => {}
            [] => self.add(at, format!("expected `{expected}`, but there is none")),
            several => self.add(at, format!("expected `{expected}`, got {}", list(several))),
        }
    }

    fn headers(&mut self, at: &str, expected: &ExpectedHeaders, headers: &Pairs) {
        for (name, expected) in &expected.0 {
            let actual = values(headers, name);
            if actual.iter().copied().ne(expected.iter().map(String::as_bytes)) {
                let wanted: Vec<&[u8]> = expected.iter().map(String::as_bytes).collect();
                let is = if actual.is_empty() {
                    "there is none".to_owned()
                } else {
                    format!("it is {}", list(&actual))
                };
                self.add(&format!("{at}.{name}"), format!("expected {}, but {is}", list(&wanted)));
            }
        }
    }

    fn no_headers(&mut self, at: &str, names: &Names, headers: &Pairs) {
        for name in &names.0 {
            let actual = values(headers, name);
            if !actual.is_empty() {
                self.add(at, format!("expected no `{name}`, but it is {}", list(&actual)));
            }
        }
    }

    fn body(&mut self, at: &str, whole: Option<&str>, part: Option<&str>, body: &[u8]) {
        if let Some(whole) = whole
            && whole.as_bytes() != body
        {
            self.add(&format!("{at}.body"), differ(whole.as_bytes(), body));
        }
        if let Some(part) = part
            && !contains(body, part)
        {
            self.add(&format!("{at}.body_contains"), format!("expected `{part}` in {}", quoted(body)));
        }
    }

    fn calls(&mut self, script: &[ScriptedCall], (made, unused): (&[MadeCall], &[usize])) {
        for call in made {
            let line = text(&request_line(&call.headers));
            match call.scripted.and_then(|place| Some((place, script.get(place)?))) {
                None => {
                    let problem = format!("no answer is left for the call to `{}`: {line}", call.upstream);
                    self.add("calls", problem);
                }
                Some((place, scripted)) => {
                    let fits = match &scripted.answer {
                        CallAnswer::Response(_) => !call.grpc,
                        CallAnswer::Grpc(_) => call.grpc,
                        CallAnswer::Fails(_) => true,
                    };
                    if !fits {
                        let (is, key) = if call.grpc { ("gRPC", "grpc") } else { ("HTTP", "response") };
                        let problem = format!("the call is by {is}: its answer is written as `{key}`");
                        self.add(&format!("calls[{place}]"), problem);
                    }
                    if let Some(expected) = &scripted.expect_request {
                        let at = format!("calls[{place}].expect_request");
                        self.request(&at, expected, &call.headers, &call.body, &call.trailers);
                    }
                }
            }
        }
        for place in unused {
            if let Some(call) = script.get(*place) {
                let problem = format!("expected a call to `{}`, but it was not made", call.upstream);
                self.add(&format!("calls[{place}]"), problem);
            }
        }
    }

    fn log(&mut self, expect: &Expectation, lines: &[Line]) {
        for part in &expect.log {
            if !lines.iter().any(|line| contains(&line.message, part)) {
                self.add("log", format!("expected a line with `{part}`"));
            }
        }
        for part in &expect.no_log {
            if let Some(line) = lines.iter().find(|line| contains(&line.message, part)) {
                self.add("no_log", format!("expected no line with `{part}`, got {}", quoted(&line.message)));
            }
        }
    }

    fn metrics(&mut self, expect: &Expectation, samples: &[MetricSample]) {
        for (name, expected) in &expect.metrics {
            let at = format!("metrics.{name}");
            let found: Vec<MetricValue> =
                samples.iter().filter(|sample| sample.name == *name).map(|sample| sample.value).collect();
            if found.is_empty() {
                let names: Vec<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
                let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                self.add(&at, format!("the plugin has no such metric; there are: {there}"));
            } else if !found.iter().any(|value| fits(expected, *value)) {
                let is: Vec<String> = found.iter().map(|value| metric(*value)).collect();
                self.add(&at, format!("expected {}, got {}", wanted(expected), is.join(" and ")));
            }
        }
    }
}

fn fits(expected: &ExpectedMetric, value: MetricValue) -> bool {
    match (expected, value) {
        (ExpectedMetric::Value(expected), MetricValue::Counter(value) | MetricValue::Gauge(value)) => {
            *expected == value
        }
        (ExpectedMetric::Histogram(expected), MetricValue::Histogram { count, sum }) => {
            expected.count == count && expected.sum.is_none_or(|expected| expected == sum)
        }
        _ => false,
    }
}

fn wanted(expected: &ExpectedMetric) -> String {
    match expected {
        ExpectedMetric::Value(value) => value.to_string(),
        ExpectedMetric::Histogram(histogram) => match histogram.sum {
            Some(sum) => format!("{} observations with the sum {sum}", histogram.count),
            None => format!("{} observations", histogram.count),
        },
    }
}

/// A metric's value for people.
pub(crate) fn metric(value: MetricValue) -> String {
    match value {
        MetricValue::Counter(value) | MetricValue::Gauge(value) => value.to_string(),
        MetricValue::Histogram { count, sum } => format!("{count} observations with the sum {sum}"),
    }
}

/// All values of a header.
pub(crate) fn values<'a>(headers: &'a Pairs, name: &str) -> Vec<&'a [u8]> {
    let same = headers.iter().filter(|(known, _)| known == name.as_bytes());
    same.map(|(_, value)| value.as_slice()).collect()
}

fn list(values: &[&[u8]]) -> String {
    if values.is_empty() {
        return "no value".to_owned();
    }
    values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")
}

/// `GET /path`.
pub(crate) fn request_line(headers: &Pairs) -> Vec<u8> {
    let part = |name| values(headers, name).first().copied().unwrap_or(b"?");
    [part(":method"), part(":path")].join(&b' ')
}

/// Bytes as one line that a terminal can show.
pub(crate) fn text(bytes: &[u8]) -> String {
    // Quotes are escaped for source code only.
    String::from_utf8_lossy(bytes).escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

fn contains(bytes: &[u8], part: &str) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part.as_bytes())
}
