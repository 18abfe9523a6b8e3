//! `plugin bench`: what a plugin costs, in CPU time of this thread by phase, and in memory.

use crate::drive::{Failures, Phase, Probe, Scene, conduct};
use crate::environment::START;
use crate::run::{PUBLIC, exchange};
use crate::stage::Stage;
use crate::suite::{Case, PluginSettings};
use coditect_proxy_wasm::{Direction, Meter, Plugin, SharedExchange};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many exchanges are measured unless told otherwise.
pub const ROUNDS: u32 = 2000;
/// Streams that are open together when their memory is measured.
pub const OPEN_STREAMS: usize = 500;
/// Tenants that get an instance, to measure what one costs.
const TENANTS: usize = 100;
/// The tenant of the open streams.
const BUSY_TENANT: &str = "bench-streams";

/// How long something took, each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The fastest.
    pub min: Duration,
    /// Half were faster.
    pub median: Duration,
    /// All but one in a hundred were faster.
    pub p99: Duration,
}

impl Times {
    /// Of at least one measurement.
    fn of(mut all: Vec<Duration>) -> Option<Self> {
        all.sort_unstable();
        let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied();
        Some(Self { min: at(0)?, median: at(50)?, p99: at(99)? })
    }
}

/// What was measured.
#[derive(Debug)]
pub struct BenchReport {
    /// Exchanges that were measured.
    pub rounds: u32,
    /// Time to load it: compiled, started, configured. On the wall clock.
    pub load: Duration,
    /// CPU time to start an instance for a new tenant.
    pub start: Option<Times>,
    /// CPU time by phase, and without the plugin.
    pub phases: Vec<(Phase, Times, Option<Times>)>,
    /// CPU time of the whole exchange, and without the plugin.
    pub whole: Option<(Times, Option<Times>)>,
    /// CPU time that looking at the clock takes; in each phase once.
    pub clock: Duration,
    /// Resident memory of an instance, in bytes; none where the system does not tell.
    pub instance_bytes: Option<u64>,
    /// Resident memory of [`OPEN_STREAMS`] open streams of one tenant, with their instances, in bytes.
    pub streams_bytes: Option<u64>,
}

/// Measures a plugin with a case's exchange.
///
/// # Errors
/// The host cannot start, the plugin is refused, or it fails in a round: what is measured then is not its work.
pub fn bench(
    wasm: &Arc<[u8]>,
    settings: &PluginSettings,
    case: &Case,
    rounds: u32,
) -> Result<BenchReport, String> {
    let stage = Stage::new(START, Meter::CpuTime).map_err(|error| error.to_string())?;
    let mut settings = settings.clone();
    // The clock stands still: lines that are dropped would cost nothing.
    settings.limits.log_lines_per_second = u32::MAX;
    let began = Instant::now();
    let plugin = stage.load("bench", wasm, &settings, None).map_err(|error| error.to_string())?;
    let load = began.elapsed();

    let before = resident();
    let mut starts = Vec::with_capacity(TENANTS);
    for number in 0..TENANTS {
        let from = cpu();
        plugin.warm(&format!("bench-{number}")).map_err(|error| error.to_string())?;
        starts.push(cpu().saturating_sub(from));
    }
    let instances = grown(before);
    let streams_bytes = open_streams(&stage, &plugin, case)?;

    let without = measure(&stage, None, case, rounds)?;
    let with = measure(&stage, Some(&plugin), case, rounds)?;
    let phases = with.phases.into_iter().filter_map(|(phase, all)| {
        let alone = without.phases.get(&phase).cloned().and_then(Times::of);
        Some((phase, Times::of(all)?, alone))
    });
    Ok(BenchReport {
        rounds,
        load,
        start: Times::of(starts),
        phases: phases.collect(),
        whole: Times::of(with.whole).map(|whole| (whole, Times::of(without.whole))),
        clock: clock_cost(),
        instance_bytes: instances.map(|bytes| bytes / TENANTS as u64),
        streams_bytes,
    })
}

/// The memory of streams that are all past their request headers.
fn open_streams(stage: &Stage, plugin: &Plugin, case: &Case) -> Result<Option<u64>, String> {
    let before = resident();
    let mut open = Vec::with_capacity(OPEN_STREAMS);
    for _ in 0..OPEN_STREAMS {
        let shared: SharedExchange = exchange(case, &stage.world);
        let mut stream = plugin.open(BUSY_TENANT, shared).map_err(|error| error.to_string())?;
        let end = case.request.chunks.is_empty() && case.request.trailers.0.is_empty();
        let _outcome = stream.on_headers(Direction::Request, end).map_err(|error| error.to_string())?;
        open.push(stream);
    }
    let grown = grown(before);
    drop(open);
    stage.world.set_script(&[]);
    stage.world.take_lines();
    Ok(grown)
}

#[derive(Default)]
struct Measured {
    phases: BTreeMap<Phase, Vec<Duration>>,
    whole: Vec<Duration>,
}

fn measure(stage: &Stage, plugin: Option<&Plugin>, case: &Case, rounds: u32) -> Result<Measured, String> {
    let failures = Arc::new(Failures::default());
    let mut measured = Measured::default();
    let warm_up = rounds / 10 + 1;
    for round in 0..rounds + warm_up {
        stage.world.set_script(&case.calls);
        let exchange = exchange(case, &stage.world);
        let Stage { engine, world } = stage;
        let tenant = case.tenant.as_deref().unwrap_or(PUBLIC);
        let scene = Scene { engine, world, plugin, failures: &failures, tenant };
        let mut stopwatch = Stopwatch::default();
        let outcome = conduct(&scene, &exchange, &case.request, &case.response, &mut stopwatch);
        if let Some(failure) = outcome.failures.first() {
            return Err(format!("the plugin failed in round {}: {failure}", round + 1));
        }
        world.take_lines();
        if round < warm_up {
            continue;
        }
        measured.whole.push(stopwatch.phases.values().sum());
        for (phase, time) in stopwatch.phases {
            measured.phases.entry(phase).or_default().push(time);
        }
    }
    Ok(measured)
}

/// CPU time of one exchange by phase; several pieces of a body are one.
#[derive(Default)]
struct Stopwatch {
    from: Duration,
    phases: BTreeMap<Phase, Duration>,
}

impl Probe for Stopwatch {
    fn enter(&mut self, _phase: Phase) {
        self.from = cpu();
    }

    fn leave(&mut self, phase: Phase) {
        *self.phases.entry(phase).or_default() += cpu().saturating_sub(self.from);
    }
}

/// CPU time of this thread so far.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn clock_cost() -> Duration {
    let pairs = (0..1000).map(|_| {
        let from = cpu();
        cpu().saturating_sub(from)
    });
    Times::of(pairs.collect()).map_or(Duration::ZERO, |times| times.median)
}

/// Resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn grown(before: Option<u64>) -> Option<u64> {
    Some(resident()?.saturating_sub(before?))
}

impl BenchReport {
    /// For people.
    #[must_use]
    pub fn human(&self) -> String {
        let mut text = String::new();
        let us = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e6);
        let mut row = |name: &str, columns: [String; 4]| {
            let [min, median, p99, without] = columns;
            let line = format!("{name:<24} {min:>10} {median:>10} {p99:>10} {without:>16}");
            text.push_str(&format!("{}\n", line.trim_end()));
        };
        row("CPU time in µs", ["min", "median", "p99", "without (median)"].map(str::to_owned));
        let columns = |times: &Times, without: Option<&Times>| {
            let without = without.map(|times| us(times.median)).unwrap_or_default();
            [us(times.min), us(times.median), us(times.p99), without]
        };
        for (phase, times, without) in &self.phases {
            row(phase.name(), columns(times, without.as_ref()));
        }
        if let Some((whole, without)) = &self.whole {
            row("the whole exchange", columns(whole, without.as_ref()));
        }
        if let Some(start) = &self.start {
            row("start of an instance", columns(start, None));
        }
        let bytes = |bytes: Option<u64>| {
            bytes.map_or("unknown".to_owned(), |bytes| format!("{:.1} KiB", bytes as f64 / 1024.0))
        };
        let load = self.load.as_secs_f64() * 1e3;
        text.push_str(&format!("\nloaded in                {load:.1} ms (compiled, started, configured)\n"));
        text.push_str(&format!("memory of an instance    {}\n", bytes(self.instance_bytes)));
        text.push_str(&format!("{OPEN_STREAMS} open streams         {}\n", bytes(self.streams_bytes)));
        text.push_str(&format!("\n{} exchanges; each phase includes {} µs of looking at the clock. `without` is the host alone.\n",
            self.rounds,
            us(self.clock)));
        text
    }

    /// For programs: times in nanoseconds, memory in bytes.
    #[must_use]
    pub fn json(&self) -> Value {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let times =
            |times: &Times| json!({ "min": ns(times.min), "median": ns(times.median), "p99": ns(times.p99) });
        let both = |with: &Times, without: &Option<Times>| json!({ "with": times(with), "without": without.as_ref().map(times) });
        let phases = self
            .phases
            .iter()
            .map(|(phase, with, without)| (phase.name().replace(' ', "_"), both(with, without)));
        json!({
            "rounds": self.rounds,
            "load_ns": ns(self.load),
            "clock_ns": ns(self.clock),
            "start_ns": self.start.as_ref().map(times),
            "whole_ns": self.whole.as_ref().map(|(with, without)| both(with, without)),
            "phases_ns": phases.collect::<serde_json::Map<_, _>>(),
            "instance_bytes": self.instance_bytes,
            "open_streams": OPEN_STREAMS,
            "open_streams_bytes": self.streams_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = Times::of((1..=200).rev().map(Duration::from_micros).collect()).unwrap();
        assert_eq!((times.min.as_micros(), times.median.as_micros(), times.p99.as_micros()), (1, 101, 199));
        assert_eq!(Times::of(vec![]), None);
        assert_eq!(Times::of(vec![Duration::ZERO]).unwrap().p99, Duration::ZERO);
    }

    #[test]
    fn a_plugin_is_measured_in_each_phase_it_works_in() {
        let wasm: Arc<[u8]> = wat::parse_str(
            r#"(module (memory (export "memory") 1)
                (func (export "proxy_abi_version_0_2_1"))
                (func (export "malloc") (param i32) (result i32) (i32.const 64))
                (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0)))"#,
        )
        .unwrap()
        .into();
        let report = bench(&wasm, &PluginSettings::default(), &Case::default(), 20).unwrap();
        let phases: Vec<&str> = report.phases.iter().map(|(phase, ..)| phase.name()).collect();
        assert_eq!(phases, ["request headers", "response headers", "end of the stream"]);
        assert!(report.human().contains("500 open streams"), "{}", report.human());
        assert_eq!(report.json()["rounds"], 20);
        let trap: Arc<[u8]> = wat::parse_str(
            r#"(module (memory (export "memory") 1)
                (func (export "proxy_abi_version_0_2_1"))
                (func (export "malloc") (param i32) (result i32) (i32.const 64))
                (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) unreachable))"#,
        )
        .unwrap()
        .into();
        let error = bench(&trap, &PluginSettings::default(), &Case::default(), 20).unwrap_err();
        assert!(
            error.contains("failed in round 1") && error.contains("proxy_on_response_headers"),
            "{error}"
        );
    }
}
