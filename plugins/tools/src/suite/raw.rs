//! A file of cases as it is written. Unknown keys are refused; `super` makes cases of it.

use super::expectation::{Expectation, ExpectedRequest};
use super::grpc::GrpcAnswer;
use super::message::{Request, Response};
use super::property::PropertyValue;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSuite {
    pub(super) plugin: Option<PathBuf>,
    pub(super) config: Option<toml::Value>,
    #[serde(default)]
    pub(super) root_id: String,
    #[serde(default)]
    pub(super) vm_id: String,
    pub(super) vm_config: Option<toml::Value>,
    #[serde(default)]
    pub(super) upstreams: Vec<String>,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) stop_iteration: bool,
    pub(super) failure: Option<Failure>,
    pub(super) log_level: Option<Level>,
    #[serde(default, rename = "case")]
    pub(super) cases: Vec<RawCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCase {
    pub(super) name: String,
    pub(super) config: Option<toml::Value>,
    pub(super) tenant: Option<String>,
    #[serde(default)]
    pub(super) properties: BTreeMap<String, PropertyValue>,
    pub(super) time: Option<Time>,
    #[serde(default)]
    pub(super) advance: f64,
    #[serde(default)]
    pub(super) fresh: bool,
    #[serde(default)]
    pub(super) request: Request,
    #[serde(default)]
    pub(super) response: Response,
    #[serde(default)]
    pub(super) calls: Vec<RawCall>,
    #[serde(default)]
    pub(super) expect: Expectation,
}

/// A moment, quoted or not.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Time {
    Text(String),
    Toml(toml::value::Datetime),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCall {
    pub(super) upstream: String,
    pub(super) response: Option<Response>,
    pub(super) grpc: Option<GrpcAnswer>,
    pub(super) fails: Option<Fails>,
    pub(super) expect_request: Option<ExpectedRequest>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fails {
    Timeout,
    Unreachable,
    TooLarge,
    Reset,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    Closed,
    Open,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// Named as in the edge's configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) callback_cpu_us: Option<u32>,
    pub(super) start_cpu_ms: Option<u32>,
    pub(super) memory_kib: Option<u32>,
    pub(super) body_kib: Option<u32>,
    pub(super) calls_in_flight: Option<u32>,
    pub(super) calls_per_request: Option<u32>,
    pub(super) call_body_kib: Option<u32>,
    pub(super) queue_messages: Option<u32>,
    pub(super) log_lines_per_second: Option<u32>,
    pub(super) metrics: Option<u32>,
    pub(super) instances_per_tenant: Option<u32>,
}
