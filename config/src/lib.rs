//! The edge's configuration: read, validated, typed.
//!
//! `raw` is the file as written (TOML, unknown keys refused), `validate` turns it into a [`Config`] and collects
//! every problem it finds, each with its line, its key and what was expected. Nothing outside this crate sees a raw
//! value. Durations and sizes carry their unit in their key's name.

mod checker;
mod plugins;
mod problem;
mod raw;
mod routes;
mod store;
#[cfg(test)]
mod tests;
mod typed;
mod validate;

pub use problem::{ConfigError, Problem};
pub use typed::{
    AuditConfig, Auth, AuthConfig, Config, FailureMode, FilesConfig, FoundationDbConfig, LimitsConfig,
    LocalService, Method, Password as PasswordConfig, PathPattern, PluginConfig, PluginHostConfig,
    PluginLimits, PluginLogLevel, PluginUse, PublicPath, Quarantine, Rate, Route, Sandbox, Segment,
    ServerConfig, StoreConfig, Target, TerminalConfig, Throttle as ThrottleConfig, UpstreamConfig,
    UpstreamProtocol,
};

use std::path::{Path, PathBuf};

/// The text of the configuration that is built in (`config/edge.toml`).
pub const EMBEDDED: &str = include_str!("../edge.toml");

/// What the environment of the old backend still decides.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `HOST`: the address to listen on.
    pub host: Option<String>,
    /// `PORT`: the port to listen on.
    pub port: Option<String>,
    /// `FDB_CLUSTER_FILE`: the cluster file of the FoundationDB that is the store. Empty is as unset.
    pub cluster_file: Option<PathBuf>,
}

/// Reads and validates `file`, or the embedded default where there is none.
///
/// # Errors
/// Every problem of the file at once; nothing is half applied.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Config, ConfigError> {
    match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { file: path.display().to_string(), source })?;
            parse(&text, &path.display().to_string(), environment)
        }
        None => parse(EMBEDDED, "config/edge.toml (embedded)", environment),
    }
}

/// Validates a configuration's text; `name` stands for the file in errors.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, name: &str, environment: &Environment) -> Result<Config, ConfigError> {
    let raw = raw::parse(text, name)?;
    validate::validate(raw, text, name, environment)
}
