//! Running the tests of a suite, phase by phase.

use super::http1;
use super::matcher::Matcher;
use super::schema::{Chunking, Expectation, Immediate, Input, Invocation, Test, TextSuite};
use crate::compare::{Mismatch, text, values};
use crate::diff::{differ, quoted};
use crate::environment::{Line, World};
use crate::exchange::MemoryExchange;
use crate::report::{CaseReport, Verdict};
use crate::rules::Writes;
use crate::run::{PUBLIC, RunOptions, module};
use crate::stage::Stage;
use crate::suite::{MAX_SUITE_BYTES, Pairs, PluginSettings, PropertyValue};
use bytes::Bytes;
use coditect_proxy_wasm::{
    Action, Direction, LocalResponse, Meter, SharedExchange, StreamContext, StreamError,
};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The clock where a test sets none, in nanoseconds since 1970: not 0, at which some runtimes do not start.
const EPOCH: u64 = 1_000_000;

/// Runs the tests of a file that the options want.
///
/// # Errors
/// The file, the module or the configuration cannot be read, or the host cannot start.
pub fn run(file: &Path, options: &RunOptions) -> Result<Vec<CaseReport>, String> {
    let suite = TextSuite::read(file).map_err(|error| error.to_string())?;
    let tests: Vec<&Test> = suite.tests.iter().filter(|test| options.wants(&test.name)).collect();
    if tests.is_empty() {
        return Ok(Vec::new());
    }
    let wasm = module(options.plugin.as_deref().or(suite.plugin.as_deref()))?;
    let configuration = match (&options.configuration, &suite.configuration) {
        (Some(given), _) => given.clone(),
        (None, Some(path)) => crate::files::bytes(path, MAX_SUITE_BYTES)
            .map_err(|error| format!("the configuration {}: {error}", path.display()))?,
        (None, None) => Vec::new(),
    };
    let mut settings =
        PluginSettings { configuration, log_level: suite.log_level, ..PluginSettings::default() };
    // The clock stands still, so that all lines of a file are of one second.
    settings.limits.log_lines_per_second = u32::MAX;
    let stage = Stage::new(EPOCH, Meter::Fuel).map_err(|error| error.to_string())?;
    let time = suite.time.map_or(EPOCH, |seconds| seconds.saturating_mul(1_000_000_000));
    let runner = Runner { stage, wasm, settings, time };
    Ok(tests.into_iter().map(|test| runner.test(test)).collect())
}

struct Runner {
    stage: Stage,
    wasm: Arc<[u8]>,
    settings: PluginSettings,
    time: u64,
}

impl Runner {
    fn test(&self, test: &Test) -> CaseReport {
        let began = Instant::now();
        let mut stream = Stream::new(&self.stage.world);
        self.stage.world.freeze(self.time);
        if let Err(problem) = self.phases(test, &mut stream) {
            stream.found.push(problem);
        }
        let Stream { found, lines, .. } = stream;
        let verdict = if found.is_empty() { Verdict::Passed } else { Verdict::Failed(found) };
        CaseReport { name: test.name.clone(), verdict, lines, elapsed: began.elapsed() }
    }

    /// All phases in order; an error ends the test, a mismatch does not.
    fn phases(&self, test: &Test, stream: &mut Stream<'_>) -> Result<(), Mismatch> {
        let wrong = |phase: &str, problem: String| Mismatch { at: phase.to_owned(), message: problem };
        // The canary's log is shown where the plugin is refused, and is nobody's otherwise.
        self.stage.world.keep_all_lines(true);
        let loaded = self.stage.load("test", &self.wasm, &self.settings, None);
        self.stage.world.keep_all_lines(false);
        let plugin = loaded.map_err(|error| {
            stream.logged();
            wrong("plugin_init", error.to_string())
        })?;
        self.stage.world.take_lines();
        plugin.warm(PUBLIC).map_err(|error| wrong("plugin_init", error.to_string()))?;
        stream.logs("plugin_init", &test.plugin_init);

        for (path, value) in &test.properties {
            stream.exchange().supply(path, PropertyValue(value.clone()));
        }
        let shared: SharedExchange = Arc::clone(&stream.exchange) as SharedExchange;
        let mut context =
            plugin.open(PUBLIC, shared).map_err(|error| wrong("stream_init", error.to_string()))?;
        stream.logs("stream_init", &test.stream_init);
        if let Some(invocation) = &test.request_headers {
            stream.headers(&mut context, Direction::Request, "request_headers", invocation)?;
        }
        stream.bodies(&mut context, Direction::Request, "request_body", &test.request_body, test.chunking)?;
        if let Some(invocation) = &test.response_headers {
            stream.headers(&mut context, Direction::Response, "response_headers", invocation)?;
        }
        stream.bodies(
            &mut context,
            Direction::Response,
            "response_body",
            &test.response_body,
            test.chunking,
        )?;
        context.close().map_err(|error| wrong("stream_destroy", error.to_string()))?;
        stream.logs("stream_destroy", &test.stream_destroy);
        Ok(())
    }
}

/// What a phase led to.
#[derive(Default)]
struct PhaseResult {
    /// Of headers as they are afterwards, or of an immediate response.
    headers: Pairs,
    body: Vec<u8>,
    /// Whether the plugin held the headers back.
    paused: bool,
    response: Option<LocalResponse>,
}

/// One stream and what was found out about it.
struct Stream<'a> {
    world: &'a World,
    exchange: Arc<Mutex<MemoryExchange>>,
    /// It ended by an immediate response; nothing more is sent to the plugin.
    ended: bool,
    found: Vec<Mismatch>,
    lines: Vec<Line>,
}

impl<'a> Stream<'a> {
    fn new(world: &'a World) -> Self {
        let exchange = Arc::new(Mutex::new(MemoryExchange::new("test-request", Writes::AnyJoined)));
        Self { world, exchange, ended: false, found: Vec::new(), lines: Vec::new() }
    }

    fn exchange(&self) -> MutexGuard<'_, MemoryExchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lines since this was last asked; all are kept for the report.
    fn logged(&mut self) -> Vec<Line> {
        let (lines, _) = self.world.take_lines();
        self.lines.extend(lines.iter().cloned());
        lines
    }

    fn headers(
        &mut self,
        context: &mut StreamContext,
        direction: Direction,
        phase: &str,
        invocation: &Invocation,
    ) -> Result<(), Mismatch> {
        let mut result = PhaseResult::default();
        if !self.ended {
            let pairs = input(&invocation.input, direction)
                .map_err(|problem| Mismatch { at: format!("{phase}.input"), message: problem })?;
            match direction {
                Direction::Request => self.exchange().request = pairs,
                Direction::Response => self.exchange().response = pairs,
            }
            let outcome = context.on_headers(direction, false).map_err(|error| self.failed(phase, &error))?;
            result.paused = outcome.action == Action::Pause;
            result.response = outcome.local_response;
            result.headers = self.exchange().pairs(direction.headers()).clone();
        }
        self.check(phase, invocation, result, true);
        Ok(())
    }

    fn bodies(
        &mut self,
        context: &mut StreamContext,
        direction: Direction,
        phase: &str,
        invocations: &[Invocation],
        chunking: Option<Chunking>,
    ) -> Result<(), Mismatch> {
        for invocation in invocations {
            let mut result = PhaseResult::default();
            let chunks = cut(&invocation.input.content, chunking);
            let last = chunks.len() - 1;
            for (place, chunk) in chunks.into_iter().enumerate() {
                if self.ended || result.response.is_some() {
                    break;
                }
                let outcome = context.on_body(direction, chunk, place == last);
                let outcome = outcome.map_err(|error| self.failed(phase, &error))?;
                result.body.extend_from_slice(&outcome.body);
                result.response = outcome.local_response;
            }
            self.check(phase, invocation, result, false);
        }
        Ok(())
    }

    /// A trap ends the test; the log before it tells why.
    fn failed(&mut self, phase: &str, error: &StreamError) -> Mismatch {
        self.logged();
        let mut message = error.to_string();
        if let StreamError::Trap(trap) = error
            && !trap.backtrace.is_empty()
        {
            message = format!("{message}\n{}", trap.backtrace.trim_end());
        }
        Mismatch { at: phase.to_owned(), message }
    }

    fn check(&mut self, phase: &str, invocation: &Invocation, mut result: PhaseResult, headers: bool) {
        let expect = &invocation.result;
        if let Some(response) = &mut result.response {
            self.ended = true;
            result.headers = std::mem::take(&mut response.headers);
            result.body = std::mem::take(&mut response.body);
        }
        let headers_of = Lines::new(&result.headers, &invocation.input);
        self.header_fields(phase, expect, &result.headers, &headers_of);
        for matcher in &expect.body {
            if !matcher.holds([result.body.as_slice()]) {
                let message = format!("expected {}, got {}", matcher.describe(), quoted(&result.body));
                self.add(&format!("{phase}.body"), message);
            }
        }
        match (&expect.immediate, &result.response) {
            (Some(immediate), Some(response)) => self.immediate(phase, immediate, response),
            (Some(_), None) => {
                self.add(
                    &format!("{phase}.immediate"),
                    "expected one, but the plugin let it pass".to_owned(),
                );
            }
            (None, Some(response)) if headers => {
                let message = format!("expected none, but the plugin answered {}", response.status);
                self.add(&format!("{phase}.immediate"), message);
            }
            (None, None) if result.paused => {
                self.add(phase, "expected that it goes on, but the plugin paused".to_owned());
            }
            (None, _) => {}
        }
        self.logs(phase, expect);
    }

    fn header_fields(&mut self, phase: &str, expect: &Expectation, headers: &Pairs, lines: &Lines) {
        for (name, value) in &expect.has_header {
            let at = format!("{phase}.has_header.{name}");
            let found = joined(headers, name);
            match found {
                Some(actual) if actual == *value => {}
                Some(actual) => self.add(&at, differ(value, &actual)),
                None => self.add(&at, format!("expected {}, but there is none", quoted(value))),
            }
        }
        for name in &expect.no_header {
            if let Some(actual) = joined(headers, name) {
                let message = format!("expected none, but it is {}", quoted(&actual));
                self.add(&format!("{phase}.no_header.{name}"), message);
            }
        }
        for matcher in &expect.headers {
            if !matcher.holds(lines.0.iter().map(Vec::as_slice)) {
                let all: Vec<String> =
                    headers.iter().map(|(n, v)| format!("{}: {}", text(n), text(v))).collect();
                let message = format!("expected {}, got:\n{}", matcher.describe(), all.join("\n"));
                self.add(&format!("{phase}.headers"), message);
            }
        }
    }

    fn immediate(&mut self, phase: &str, expect: &Immediate, response: &LocalResponse) {
        let at = |key: &str| format!("{phase}.immediate.{key}");
        if let Some(status) = expect.http_status
            && status != u32::from(response.status)
        {
            self.add(&at("http_status"), format!("expected {status}, got {}", response.status));
        }
        // The ABI's -1, "none", is what the format's tests compare with as well.
        let actual = response.grpc_status.unwrap_or(u32::MAX);
        if let Some(status) = expect.grpc_status
            && status != actual
        {
            self.add(&at("grpc_status"), format!("expected {status}, got {actual}"));
        }
        if let Some(details) = &expect.details
            && details.as_bytes() != response.details
        {
            self.add(&at("details"), differ(details.as_bytes(), &response.details));
        }
    }

    fn logs(&mut self, phase: &str, expect: &Expectation) {
        let lines = self.logged();
        for matcher in &expect.log {
            if !holds(matcher, &lines) {
                let all: Vec<String> = lines.iter().map(|line| text(&line.message)).collect();
                let logged =
                    if all.is_empty() { "nothing".to_owned() } else { format!("\n{}", all.join("\n")) };
                self.add(&format!("{phase}.log"), format!("expected {}, got: {logged}", matcher.describe()));
            }
        }
    }

    fn add(&mut self, at: &str, message: String) {
        self.found.push(Mismatch { at: at.to_owned(), message });
    }
}

fn holds(matcher: &Matcher, lines: &[Line]) -> bool {
    matcher.holds(lines.iter().map(|line| line.message.as_slice()))
}

/// Headers as lines `name: value`, in each spelling of the name that a test may use.
struct Lines(Vec<Vec<u8>>);

impl Lines {
    fn new(headers: &Pairs, input: &Input) -> Self {
        let mut lines = Vec::new();
        for (name, value) in headers {
            let lower = String::from_utf8_lossy(name).into_owned();
            let own = input.headers.iter().map(|(name, _)| name);
            let mut spellings: Vec<String> =
                own.filter(|own| own.eq_ignore_ascii_case(&lower)).cloned().collect();
            spellings.push(train_case(&lower));
            spellings.push(lower);
            lines.extend(spellings.iter().map(|name| [name.as_bytes(), b": ", value].concat()));
        }
        Self(lines)
    }
}

fn train_case(name: &str) -> String {
    let mut upper = true;
    let letter = |letter: char| {
        let this = if upper { letter.to_ascii_uppercase() } else { letter };
        upper = letter == '-';
        this
    };
    name.chars().map(letter).collect()
}

/// All values of a header as one, as its harness keeps them.
fn joined(headers: &Pairs, name: &str) -> Option<Vec<u8>> {
    let found = values(headers, &name.to_ascii_lowercase());
    (!found.is_empty()).then(|| found.join(&b", "[..]))
}

/// The pairs of a phase's input; those of one name become one.
fn input(input: &Input, direction: Direction) -> Result<Pairs, String> {
    let given: Pairs = if input.content.is_empty() {
        let pairs = input.headers.iter();
        pairs.map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.clone())).collect()
    } else {
        match direction {
            Direction::Request => http1::request(&input.content)?,
            Direction::Response => http1::response(&input.content)?,
        }
    };
    let mut pairs = Pairs::new();
    for (name, value) in given {
        match pairs.iter_mut().find(|(known, old)| *known == name && !old.is_empty()) {
            Some((_, old)) => *old = [old.as_slice(), &value].join(&b", "[..]),
            None => pairs.push((name, value)),
        }
    }
    // Pseudo-headers come first in every map.
    pairs.sort_by_key(|(name, _)| name.first() != Some(&b':'));
    Ok(pairs)
}

/// The pieces of a body; one that is empty where there is none.
fn cut(body: &[u8], chunking: Option<Chunking>) -> Vec<Bytes> {
    let pieces: Vec<Bytes> = match chunking {
        None => vec![Bytes::copy_from_slice(body)],
        Some(Chunking::Size(size)) => body.chunks(size).map(Bytes::copy_from_slice).collect(),
        Some(Chunking::Count(count)) => {
            let size = (body.len() / count).max(1);
            let mut rest = body;
            let mut pieces = Vec::new();
            while pieces.len() + 1 < count && rest.len() > size {
                let (piece, after) = rest.split_at(size);
                pieces.push(Bytes::copy_from_slice(piece));
                rest = after;
            }
            pieces.push(Bytes::copy_from_slice(rest));
            pieces
        }
    };
    if pieces.is_empty() { vec![Bytes::new()] } else { pieces }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_as_the_plan_says() {
        let shown = |body: &str, plan| -> Vec<String> {
            cut(body.as_bytes(), plan)
                .iter()
                .map(|piece| String::from_utf8_lossy(piece).into_owned())
                .collect()
        };
        assert_eq!(shown("12345", None), ["12345"]);
        assert_eq!(shown("12345", Some(Chunking::Size(2))), ["12", "34", "5"]);
        assert_eq!(shown("1234567", Some(Chunking::Count(3))), ["12", "34", "567"]);
        assert_eq!(shown("12", Some(Chunking::Count(5))), ["1", "2"]);
        for plan in [None, Some(Chunking::Size(2)), Some(Chunking::Count(2))] {
            assert_eq!(shown("", plan), [""]);
        }
    }

    #[test]
    fn a_header_line_matches_in_the_usual_spellings() {
        let headers = vec![(b"set-cookie".to_vec(), b"a=1".to_vec())];
        let input = Input { headers: vec![("SET-cookie".into(), vec![])], ..Input::default() };
        let Lines(lines) = Lines::new(&headers, &input);
        for spelled in ["set-cookie: a=1", "Set-Cookie: a=1", "SET-cookie: a=1"] {
            assert!(lines.contains(&spelled.as_bytes().to_vec()), "{spelled}");
        }
    }

    #[test]
    fn headers_of_one_name_become_one() {
        let given = Input {
            headers: vec![
                ("A".into(), b"1".to_vec()),
                (":path".into(), b"/".to_vec()),
                ("a".into(), b"2".to_vec()),
            ],
            ..Input::default()
        };
        let pairs = input(&given, Direction::Request).unwrap_or_default();
        assert_eq!(pairs, [(b":path".to_vec(), b"/".to_vec()), (b"a".to_vec(), b"1, 2".to_vec())]);
    }
}
