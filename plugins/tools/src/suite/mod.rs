//! Cases of `plugin test`, as a file says them: `*.test.toml`.
//!
//! A [`Suite`] is one file: a plugin, how it is configured, and cases that run in one set of its instances, in order.

mod error;
mod expectation;
mod grpc;
mod headers;
mod message;
mod property;
mod raw;

use crate::environment::START;
use coditect_proxy_wasm::{CallFailure, FailureMode, Limits, LogLevel};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use self::error::SuiteError;
pub use self::expectation::{
    Expectation, ExpectedHeaders, ExpectedHistogram, ExpectedMetric, ExpectedRequest, ExpectedResponse, Names,
};
pub use self::grpc::GrpcAnswer;
pub use self::headers::{Headers, Pairs, field_name, field_value};
pub use self::message::{Request, Response};
pub use self::property::PropertyValue;
use self::raw::{Fails, Failure, Level, RawCall, RawCase, RawLimits, RawSuite, Time};

/// The largest file of cases that is read, in bytes.
pub const MAX_SUITE_BYTES: u64 = 16 * 1024 * 1024;
/// The fuel that stands for a microsecond of CPU time, as in the host's defaults.
const FUEL_PER_US: u64 = 1000;
/// The most a case may move the clock on, in seconds: ten years.
const MAX_ADVANCE_SECONDS: f64 = 10.0 * 366.0 * 86_400.0;

/// A file of cases.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// The file.
    pub file: PathBuf,
    /// The module it names, found from the file's own folder.
    pub plugin: Option<PathBuf>,
    /// How the plugin is loaded.
    pub settings: PluginSettings,
    /// In the file's order; names are unique.
    pub cases: Vec<Case>,
}

/// How a plugin is loaded, as the edge's configuration would say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginSettings {
    /// What `proxy_on_configure` reads.
    pub configuration: Vec<u8>,
    /// Which of the module's roots.
    pub root_id: String,
    /// The scope of shared data.
    pub vm_id: String,
    /// What `proxy_on_vm_start` reads.
    pub vm_configuration: Vec<u8>,
    /// Upstreams it may call.
    pub upstreams: Vec<String>,
    /// Its budgets.
    pub limits: Limits,
    /// Whether a pause at headers lets the body through.
    pub stop_iteration: bool,
    /// What becomes of a request when it fails.
    pub failure_mode: FailureMode,
    /// Lines below are dropped.
    pub log_level: LogLevel,
}

/// One exchange and what is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Tells it from the file's others.
    pub name: String,
    /// Whose request it is; `public` where there is none.
    pub tenant: Option<String>,
    /// Instead of the file's.
    pub configuration: Option<Vec<u8>>,
    /// Properties beside those there are anyway, in a plugin's encoding.
    pub properties: Vec<(String, PropertyValue)>,
    /// The clock when the case starts, in nanoseconds since 1970; else it goes on from the case before.
    pub time: Option<u64>,
    /// How far the clock moves before the exchange, with the ticks that fall due.
    pub advance: Duration,
    /// Whether the plugin is loaded anew, so that nothing is left of the cases before.
    pub fresh: bool,
    /// What the client sends.
    pub request: Request,
    /// What the upstream answers.
    pub response: Response,
    /// Answers to the plugin's calls, in order for each upstream.
    pub calls: Vec<ScriptedCall>,
    /// What should come of it.
    pub expect: Expectation,
}

/// A call that a plugin should make, and what it is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptedCall {
    /// The upstream it calls.
    pub upstream: String,
    /// What it is answered.
    pub answer: CallAnswer,
    /// What it should send.
    pub expect_request: Option<ExpectedRequest>,
}

/// What a call is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum CallAnswer {
    /// This, to a call by HTTP.
    Response(Response),
    /// This, to a call by gRPC.
    Grpc(GrpcAnswer),
    /// Nothing, and why.
    Fails(CallFailure),
}

impl Suite {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or it says something that has no meaning: file, line, case and key are named.
    pub fn read(file: &Path) -> Result<Self, SuiteError> {
        Self::parse(&crate::files::text(file, MAX_SUITE_BYTES)?, file)
    }

    /// Makes a suite of a file's text.
    ///
    /// # Errors
    /// As [`read`](Self::read), but for the reading.
    pub fn parse(text: &str, file: &Path) -> Result<Self, SuiteError> {
        let wrong = |error: &toml::de::Error, key: &str| SuiteError::toml(file, text, error, key);
        let deserializer = toml::de::Deserializer::parse(text).map_err(|error| wrong(&error, ""))?;
        let raw: RawSuite = serde_path_to_error::deserialize(deserializer)
            .map_err(|error| wrong(error.inner(), &error.path().to_string()))?;
        let in_file = |key: &str, problem: String| SuiteError::at(file, None, key, problem);
        let mut names = BTreeSet::new();
        let mut cases = Vec::with_capacity(raw.cases.len());
        for case in raw.cases {
            let name = case.name.clone();
            if name.trim().is_empty() || !names.insert(name.clone()) {
                let problem = "a case needs a name that no other case of the file has".to_owned();
                return Err(SuiteError::at(file, Some(&name), "name", problem));
            }
            cases.push(
                case.validate().map_err(|(key, problem)| SuiteError::at(file, Some(&name), key, problem))?,
            );
        }
        let bytes = |key: &str, value: Option<toml::Value>| {
            configuration(value).map_err(|problem| in_file(key, problem))
        };
        let settings = PluginSettings {
            configuration: bytes("config", raw.config)?.unwrap_or_default(),
            root_id: raw.root_id,
            vm_id: raw.vm_id,
            vm_configuration: bytes("vm_config", raw.vm_config)?.unwrap_or_default(),
            upstreams: raw.upstreams,
            limits: raw.limits.validate(),
            stop_iteration: raw.stop_iteration,
            failure_mode: match raw.failure {
                None | Some(Failure::Closed) => FailureMode::Closed,
                Some(Failure::Open) => FailureMode::Open,
            },
            log_level: raw.log_level.map_or(LogLevel::default(), Level::typed),
        };
        let folder = file.parent().unwrap_or(Path::new(""));
        let plugin = raw.plugin.map(|plugin| folder.join(plugin));
        Ok(Self { file: file.to_owned(), plugin, settings, cases })
    }
}

/// Which key, and what is wrong with it.
type Wrong = (&'static str, String);

impl RawCase {
    fn validate(self) -> Result<Case, Wrong> {
        if !(0.0..=MAX_ADVANCE_SECONDS).contains(&self.advance) {
            return Err(("advance", format!("{} s is not between 0 and ten years", self.advance)));
        }
        if self.tenant.as_ref().is_some_and(String::is_empty) {
            return Err(("tenant", "it is empty; leave it out for a request without a tenant".to_owned()));
        }
        let calls: Vec<ScriptedCall> =
            self.calls.into_iter().map(RawCall::validate).collect::<Result<_, _>>()?;
        let expect = self.expect;
        if expect.upstream == Some(false) && expect.request.is_some() {
            let problem = "a request that does not reach the upstream cannot be expected there".to_owned();
            return Err(("expect.request", problem));
        }
        if expect.closed == Some(true) && expect.response.is_some() {
            return Err(("expect.closed", "a connection that is broken off has no response".to_owned()));
        }
        Ok(Case {
            name: self.name,
            tenant: self.tenant,
            configuration: configuration(self.config).map_err(|problem| ("config", problem))?,
            properties: self.properties.into_iter().collect(),
            time: self.time.map(moment).transpose().map_err(|problem| ("time", problem))?,
            advance: Duration::from_secs_f64(self.advance),
            fresh: self.fresh,
            request: self.request,
            response: self.response,
            calls,
            expect,
        })
    }
}

impl Default for Case {
    /// A `GET /` that is answered 200, of which nothing is expected.
    fn default() -> Self {
        Self {
            name: String::new(),
            tenant: None,
            configuration: None,
            properties: Vec::new(),
            time: Some(START),
            advance: Duration::ZERO,
            fresh: false,
            request: Request::default(),
            response: Response::default(),
            calls: Vec::new(),
            expect: Expectation::default(),
        }
    }
}

impl RawCall {
    fn validate(self) -> Result<ScriptedCall, Wrong> {
        let answer = match (self.response, self.grpc, self.fails) {
            (response, None, None) => CallAnswer::Response(response.unwrap_or_default()),
            (None, Some(answer), None) => CallAnswer::Grpc(answer),
            (None, None, Some(fails)) => CallAnswer::Fails(fails.typed()),
            _ => return Err(("calls", "give one of `response`, `grpc` and `fails`".to_owned())),
        };
        Ok(ScriptedCall { upstream: self.upstream, answer, expect_request: self.expect_request })
    }
}

impl Fails {
    fn typed(self) -> CallFailure {
        match self {
            Self::Timeout => CallFailure::Timeout,
            Self::Unreachable => CallFailure::Unreachable,
            Self::TooLarge => CallFailure::TooLarge,
            Self::Reset => CallFailure::Reset,
        }
    }
}

impl Level {
    fn typed(self) -> LogLevel {
        match self {
            Self::Trace => LogLevel::Trace,
            Self::Debug => LogLevel::Debug,
            Self::Info => LogLevel::Info,
            Self::Warn => LogLevel::Warn,
            Self::Error => LogLevel::Error,
            Self::Critical => LogLevel::Critical,
        }
    }
}

impl RawLimits {
    fn validate(&self) -> Limits {
        let mut limits = Limits::default();
        let kib = |kib: u32| (kib as usize).saturating_mul(1024);
        set(&mut limits.callback_cpu, self.callback_cpu_us, |us| Duration::from_micros(us.into()));
        set(&mut limits.start_cpu, self.start_cpu_ms, |ms| Duration::from_millis(ms.into()));
        // What is measured here is fuel: as much for the same time as the defaults have.
        set(&mut limits.callback_fuel, self.callback_cpu_us, |us| u64::from(us) * FUEL_PER_US);
        set(&mut limits.start_fuel, self.start_cpu_ms, |ms| u64::from(ms) * 1000 * FUEL_PER_US);
        // The clock of a file stands still, so that all its lines are of one second.
        limits.log_lines_per_second = self.log_lines_per_second.unwrap_or(u32::MAX);
        set(&mut limits.memory_bytes, self.memory_kib, kib);
        set(&mut limits.body_bytes, self.body_kib, kib);
        set(&mut limits.call_body_bytes, self.call_body_kib, kib);
        set(&mut limits.calls_in_flight, self.calls_in_flight, |number| number as usize);
        set(&mut limits.calls_per_stream, self.calls_per_request, |number| number);
        set(&mut limits.queue_messages, self.queue_messages, |number| number as usize);
        set(&mut limits.metrics, self.metrics, |number| number as usize);
        set(&mut limits.instances_per_tenant, self.instances_per_tenant, |number| number as usize);
        limits
    }
}

fn set<T>(limit: &mut T, given: Option<u32>, typed: impl FnOnce(u32) -> T) {
    if let Some(given) = given {
        *limit = typed(given);
    }
}

/// A text as it is, anything else as compact JSON.
fn configuration(value: Option<toml::Value>) -> Result<Option<Vec<u8>>, String> {
    match value {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text.into_bytes())),
        Some(other) => {
            let json = json(other).ok_or("a number that JSON cannot say (not finite)")?;
            Ok(Some(json.to_string().into_bytes()))
        }
    }
}

/// `None` for a number that JSON does not have. A moment is a string.
fn json(value: toml::Value) -> Option<serde_json::Value> {
    Some(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)?.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(list) => list.into_iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        toml::Value::Table(table) => {
            let entry = |(key, value)| Some((key, json(value)?));
            serde_json::Value::Object(table.into_iter().map(entry).collect::<Option<_>>()?)
        }
    })
}

/// Nanoseconds since 1970.
fn moment(time: Time) -> Result<u64, String> {
    let text = match time {
        Time::Text(text) => text,
        Time::Toml(moment) => moment.to_string(),
    };
    let parsed = OffsetDateTime::parse(&text, &Rfc3339);
    let parsed = parsed.map_err(|_| format!("`{text}` is no moment such as 2026-01-01T00:00:00Z"))?;
    u64::try_from(parsed.unix_timestamp_nanos()).map_err(|_| format!("`{text}` is not between 1970 and 2554"))
}

#[cfg(test)]
mod tests;
