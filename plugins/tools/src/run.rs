//! Running a file of cases.

use crate::compare::{Evidence, Mismatch, compare};
use crate::drive::{Outcome, Scene, conduct, write_request};
use crate::environment::{Line, START, World};
use crate::exchange::MemoryExchange;
use crate::report::{CaseReport, SuiteReport, Verdict};
use crate::rules::Writes;
use crate::stage::Stage;
use crate::suite::{Case, PluginSettings, PropertyValue, Suite};
use coditect_proxy_wasm::{LoadError, Meter, Plugin};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The tenant of a request that has none, as the host calls it.
pub const PUBLIC: &str = "public";
/// The most ticks and answers that come while a case moves the clock on.
const MAX_TICKS: u32 = 100_000;

/// What the command line says in place of the files.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The module, whatever the files name.
    pub plugin: Option<PathBuf>,
    /// The plugin's configuration, whatever the files say.
    pub configuration: Option<Vec<u8>>,
    /// Only cases whose name has this in it.
    pub filter: Option<String>,
}

impl RunOptions {
    /// Whether a case of this name is to run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| name.contains(part))
    }
}

/// Runs the cases of a file of either format. What keeps it from running is in the report too.
#[must_use]
pub fn run_file(file: &Path, options: &RunOptions) -> SuiteReport {
    let began = Instant::now();
    let is_text = file.extension().is_some_and(|extension| extension == "textpb");
    let run = if is_text { crate::service_extensions::run(file, options) } else { run_suite(file, options) };
    let (cases, error) = match run {
        Ok(cases) => (cases, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    SuiteReport { file: file.to_owned(), cases, error, elapsed: began.elapsed() }
}

fn run_suite(file: &Path, options: &RunOptions) -> Result<Vec<CaseReport>, String> {
    let suite = Suite::read(file).map_err(|error| error.to_string())?;
    let cases: Vec<&Case> = suite.cases.iter().filter(|case| options.wants(&case.name)).collect();
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let wasm = module(options.plugin.as_deref().or(suite.plugin.as_deref()))?;
    let stage = Stage::new(START, Meter::Fuel).map_err(|error| error.to_string())?;
    let mut settings = suite.settings.clone();
    if let Some(configuration) = &options.configuration {
        settings.configuration.clone_from(configuration);
    }
    let mut runner = Runner { stage, wasm, settings, loaded: HashMap::new() };
    Ok(cases.into_iter().map(|case| runner.case(case)).collect())
}

/// The module of a plugin that must be named.
pub(crate) fn module(plugin: Option<&Path>) -> Result<Arc<[u8]>, String> {
    let plugin = plugin.ok_or("it names no plugin: give one with --plugin FILE")?;
    crate::files::module(plugin).map(Arc::from).map_err(|error| error.to_string())
}

struct Runner {
    stage: Stage,
    wasm: Arc<[u8]>,
    settings: PluginSettings,
    /// By configuration: cases that agree on it share instances.
    loaded: HashMap<Vec<u8>, Plugin>,
}

impl Runner {
    fn case(&mut self, case: &Case) -> CaseReport {
        let began = Instant::now();
        let (verdict, lines) = self.verdict(case);
        CaseReport { name: case.name.clone(), verdict, lines, elapsed: began.elapsed() }
    }

    fn verdict(&mut self, case: &Case) -> (Verdict, Vec<Line>) {
        if let Some(time) = case.time {
            self.stage.world.set_realtime(time);
        }
        let configuration = case.configuration.clone().unwrap_or_else(|| self.settings.configuration.clone());
        let plugin = match (self.load(&configuration, case), &case.expect.refused) {
            (Ok(plugin), None) => plugin,
            (Ok(_), Some(part)) => {
                let message = format!("expected that it is refused with `{part}`, but it was loaded");
                return (Verdict::failed("refused", message), self.stage.world.take_lines().0);
            }
            (Err(error), refused) => {
                let lines = self.stage.world.take_lines().0;
                let reason = error.to_string();
                return match refused {
                    Some(part) if reason.contains(part) => (Verdict::Passed, lines),
                    Some(part) => {
                        let message =
                            format!("expected that it is refused with `{part}`, but it was: {reason}");
                        (Verdict::failed("refused", message), lines)
                    }
                    None => (Verdict::failed("plugin", reason), lines),
                };
            }
        };
        let world = &self.stage.world;
        let mut mismatches = Vec::new();
        if let Err(problem) = pass_time(&self.stage, &plugin, case) {
            mismatches.push(Mismatch { at: "advance".to_owned(), message: problem });
        }
        let exchange = exchange(case, world);
        let outcome = perform(&self.stage, &plugin, case, &exchange);
        let (lines, _) = world.take_lines();
        let (made, unused) = world.take_calls();
        let metrics = plugin.metrics();
        let properties = &exchange.lock().unwrap_or_else(PoisonError::into_inner).properties;
        let evidence = Evidence {
            outcome: &outcome,
            lines: &lines,
            calls: (&made, &unused),
            metrics: &metrics,
            properties,
        };
        mismatches.extend(compare(case, &evidence));
        (if mismatches.is_empty() { Verdict::Passed } else { Verdict::Failed(mismatches) }, lines)
    }

    /// The plugin with this configuration, loaded where it is not yet or where the case wants it fresh.
    fn load(&mut self, configuration: &[u8], case: &Case) -> Result<Plugin, LoadError> {
        let world = &self.stage.world;
        world.set_script(&case.calls);
        if case.fresh || !self.loaded.contains_key(configuration) {
            let settings = PluginSettings { configuration: configuration.to_vec(), ..self.settings.clone() };
            // Why it is refused is in what the canary logs, too.
            world.keep_all_lines(true);
            let loaded = self.stage.load("test", &self.wasm, &settings, None);
            world.keep_all_lines(false);
            let plugin = loaded?;
            world.take_lines();
            self.loaded.insert(configuration.to_vec(), plugin);
        }
        Ok(self.loaded[configuration].clone())
    }
}

/// The exchange of a case, with the properties that the edge would know.
#[must_use]
pub fn exchange(case: &Case, world: &World) -> Arc<Mutex<MemoryExchange>> {
    let mut exchange = MemoryExchange::new("test-request", Writes::AsEdge);
    write_request(&mut exchange, &case.request);
    supply(&mut exchange, case, world);
    Arc::new(Mutex::new(exchange))
}

fn supply(exchange: &mut MemoryExchange, case: &Case, world: &World) {
    use coditect_proxy_wasm::Environment;
    let now = i64::try_from(world.realtime_nanoseconds()).unwrap_or(i64::MAX);
    for (path, value) in [
        ("request.protocol", "HTTP/1.1"),
        ("source.address", "192.0.2.1:40000"),
        ("destination.address", "192.0.2.80:8080"),
        ("upstream.address", "192.0.2.90:80"),
        ("coditect.route", "/"),
        ("xds.route_name", "/"),
    ] {
        exchange.supply(path, PropertyValue::text(value));
    }
    for (path, value) in [
        ("request.time", now),
        ("source.port", 40000),
        ("destination.port", 8080),
        ("upstream.port", 80),
        ("connection.id", 1),
        ("response.flags", 0),
    ] {
        exchange.supply(path, PropertyValue::int(value));
    }
    exchange.supply("connection.mtls", PropertyValue::bool(false));
    if let Some(tenant) = &case.tenant {
        exchange.supply("coditect.tenant_id", PropertyValue::text(tenant));
    }
    for (path, value) in &case.properties {
        exchange.supply(path, value.clone());
    }
}

fn perform(stage: &Stage, plugin: &Plugin, case: &Case, exchange: &Arc<Mutex<MemoryExchange>>) -> Outcome {
    let scene = Scene {
        engine: &stage.engine,
        world: &stage.world,
        plugin: Some(plugin),
        failures: &Arc::default(),
        tenant: case.tenant.as_deref().unwrap_or(PUBLIC),
    };
    conduct(&scene, exchange, &case.request, &case.response, &mut ())
}

/// Lets the time pass that a case wants before its exchange, in the tenant's instance: from tick to tick.
///
/// # Errors
/// The plugin does not start, or more ticks fall due than are run.
pub(crate) fn pass_time(stage: &Stage, plugin: &Plugin, case: &Case) -> Result<(), String> {
    let Stage { engine, world } = stage;
    let mut left = case.advance;
    if left.is_zero() {
        return Ok(());
    }
    plugin.warm(case.tenant.as_deref().unwrap_or(PUBLIC)).map_err(|error| error.to_string())?;
    for _ in 0..MAX_TICKS {
        if world.answer_next() {
            continue;
        }
        match engine.run_due() {
            Some(next) if next <= left => {
                // What is due now runs at the next turn; time passes all the same, so that this ends.
                let step = next.max(Duration::from_nanos(1)).min(left);
                world.advance(step);
                left -= step;
                if left.is_zero() {
                    engine.run_due();
                    return Ok(());
                }
            }
            _ => {
                world.advance(left);
                return Ok(());
            }
        }
    }
    Err(format!("more than {MAX_TICKS} ticks fall due within {:?}", case.advance))
}
