//! `plugin run`: one exchange, with all that passes between host and plugin.

use crate::calls::MadeCall;
use crate::compare::{metric, request_line, text, values};
use crate::diff::quoted;
use crate::drive::{Failures, Outcome, Phase, Probe, Scene, Seen, conduct};
use crate::environment::{Line, START, World};
use crate::run::{PUBLIC, exchange, pass_time};
use crate::stage::Stage;
use crate::suite::{Case, Pairs, PluginSettings};
use crate::trace::{self, Entry, Trace};
use coditect_proxy_wasm::{EngineError, Meter, MetricSample, MetricValue, Tracer};
use serde_json::{Value, json};
use std::sync::Arc;

/// What came of an exchange, and how it came.
#[derive(Debug)]
pub struct Rehearsal {
    /// Why the plugin was not loaded; then there was no exchange.
    pub refused: Option<String>,
    /// What reached whom.
    pub outcome: Outcome,
    /// Every call between host and plugin.
    pub trace: Vec<Entry>,
    /// How many more there were.
    pub dropped: usize,
    /// What the plugin logged.
    pub lines: Vec<Line>,
    /// The calls it made.
    pub calls: Vec<MadeCall>,
    /// The plugin's metrics afterwards.
    pub metrics: Vec<MetricSample>,
}

/// Loads a plugin and conducts a case's exchange. What the case expects is not looked at.
///
/// # Errors
/// The host cannot start.
pub fn rehearse(wasm: &Arc<[u8]>, settings: &PluginSettings, case: &Case) -> Result<Rehearsal, EngineError> {
    let stage = Stage::new(START, Meter::Fuel)?;
    let Stage { engine, world } = &stage;
    world.set_realtime(case.time.unwrap_or(START));
    world.set_script(&case.calls);
    let record = Arc::new(Trace::default());
    // The canary is of interest only where it fails.
    record.switch(true);
    record.note("load");
    world.keep_all_lines(true);
    let loaded = stage.load("run", wasm, settings, Some(Arc::clone(&record) as Arc<dyn Tracer>));
    world.keep_all_lines(false);
    let plugin = match loaded {
        Ok(plugin) => plugin,
        Err(error) => {
            let refused = Some(error.reason.to_string());
            let outcome = Outcome { closed: true, ..Outcome::default() };
            return Ok(gathered(refused, outcome, &record, world, Vec::new()));
        }
    };
    record.take();
    world.take_lines();
    let tenant = case.tenant.as_deref().unwrap_or(PUBLIC);
    record.note("start");
    let failures = Arc::new(Failures::default());
    // Where it does not start the exchange tells why, which then has no instance.
    let passed = plugin.warm(tenant).map_or(Ok(()), |()| pass_time(&stage, &plugin, case));
    let scene = Scene { engine, world, plugin: Some(&plugin), failures: &failures, tenant };
    let exchange = exchange(case, world);
    let mut headings = Headings { record: &record, last: None };
    let mut outcome = conduct(&scene, &exchange, &case.request, &case.response, &mut headings);
    outcome.failures.extend(passed.err());
    Ok(gathered(None, outcome, &record, world, plugin.metrics()))
}

fn gathered(
    refused: Option<String>,
    outcome: Outcome,
    record: &Trace,
    world: &World,
    metrics: Vec<MetricSample>,
) -> Rehearsal {
    let (trace, dropped) = record.take();
    let (lines, _) = world.take_lines();
    let (calls, _) = world.take_calls();
    Rehearsal { refused, outcome, trace, dropped, lines, calls, metrics }
}

/// Puts the phases into the record.
struct Headings<'a> {
    record: &'a Trace,
    last: Option<Phase>,
}

impl Probe for Headings<'_> {
    fn enter(&mut self, phase: Phase) {
        if self.last.replace(phase) != Some(phase) {
            self.record.note(phase.name());
        }
    }
}

impl Rehearsal {
    /// Whether the plugin was loaded and did nothing wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.refused.is_none() && self.outcome.failures.is_empty()
    }

    /// The whole for people; the record of calls is left out where it is not wanted.
    #[must_use]
    pub fn human(&self, with_trace: bool) -> String {
        let mut out = String::new();
        if with_trace {
            out.push_str(&trace::human(&self.trace, self.dropped));
            out.push('\n');
        }
        let mut line = |text: &str| out.push_str(&format!("{text}\n"));
        for logged in &self.lines {
            line(&format!(
                "log {:<8} {}",
                format!("{:?}", logged.level).to_lowercase(),
                text(&logged.message)
            ));
        }
        for call in &self.calls {
            let answered =
                if call.scripted.is_some() { "answered by the script" } else { "no answer in the script" };
            line(&format!("call to {}: {}, {answered}", call.upstream, text(&request_line(&call.headers))));
        }
        for sample in &self.metrics {
            line(&format!("metric {} = {}", text(sample.name.as_bytes()), metric(sample.value)));
        }
        for failure in &self.outcome.failures {
            line(&format!("FAILED {failure}"));
        }
        if let Some(refused) = &self.refused {
            line(&format!("REFUSED {refused}"));
            return out;
        }
        match &self.outcome.upstream {
            Some(seen) => message(&mut out, "request as it reaches the upstream", seen),
            None => out.push_str("\n-- the request does not reach the upstream\n"),
        }
        match &self.outcome.client {
            Some(seen) => message(&mut out, "response as the client gets it", seen),
            None => out.push_str("\n-- the client gets no response\n"),
        }
        if self.outcome.closed {
            out.push_str("\n-- the connection is broken off\n");
        }
        if let Some(details) = self.outcome.details.as_ref().filter(|details| !details.is_empty()) {
            out.push_str(&format!("\n-- the plugin answered itself: {}\n", text(details.as_bytes())));
        }
        out
    }

    /// The whole for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let call = |call: &MadeCall| {
            json!({
                "upstream": call.upstream,
                "grpc": call.grpc,
                "headers": pairs(&call.headers),
                "body": lossy(&call.body),
                "answered": call.scripted.is_some(),
            })
        };
        let sample = |sample: &MetricSample| {
            let value = match sample.value {
                MetricValue::Counter(value) | MetricValue::Gauge(value) => json!(value),
                MetricValue::Histogram { count, sum } => json!({ "count": count, "sum": sum }),
            };
            (sample.name.clone(), value)
        };
        json!({
            "good": self.is_good(),
            "refused": self.refused,
            "failures": self.outcome.failures,
            "upstream": self.outcome.upstream.as_ref().map(seen),
            "response": self.outcome.client.as_ref().map(seen),
            "closed": self.outcome.closed,
            "details": self.outcome.details,
            "log": self.lines.iter().map(crate::report::json_line).collect::<Vec<_>>(),
            "calls": self.calls.iter().map(call).collect::<Vec<_>>(),
            "metrics": self.metrics.iter().map(sample).collect::<serde_json::Map<_, _>>(),
            "trace": trace::json(&self.trace),
            "trace_dropped": self.dropped,
        })
    }
}

/// The largest body that is shown to people, in bytes.
const MAX_SHOWN_BODY: usize = 64 * 1024;

fn message(out: &mut String, title: &str, seen: &Seen) {
    out.push_str(&format!("\n-- {title}\n"));
    let status = values(&seen.headers, ":status").first().map(|status| text(status));
    out.push_str(&format!("{}\n", status.unwrap_or_else(|| text(&request_line(&seen.headers)))));
    let shown_above = |name: &[u8]| [&b":status"[..], b":method", b":path"].contains(&name);
    for (name, value) in seen.headers.iter().filter(|(name, _)| !shown_above(name)) {
        out.push_str(&format!("{}: {}\n", text(name), text(value)));
    }
    if !seen.body.is_empty() {
        match std::str::from_utf8(&seen.body) {
            Ok(body) if body.len() <= MAX_SHOWN_BODY && !body.contains('\u{1b}') => {
                out.push_str(&format!("\n{}\n", body.trim_end_matches('\n')));
            }
            _ => out.push_str(&format!("\n{}\n", quoted(&seen.body))),
        }
    }
    for (name, value) in &seen.trailers {
        out.push_str(&format!("{}: {} (trailer)\n", text(name), text(value)));
    }
}

fn seen(seen: &Seen) -> Value {
    json!({ "headers": pairs(&seen.headers), "body": lossy(&seen.body), "trailers": pairs(&seen.trailers) })
}

fn pairs(pairs: &Pairs) -> Value {
    pairs.iter().map(|(name, value)| json!([lossy(name), lossy(value)])).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
