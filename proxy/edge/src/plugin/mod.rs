//! `coditect-edge plugin`: the plugin author's tools, on the production host ([`local`]), and the way of a plugin into a
//! running edge ([`remote`]).

mod args;
mod client;
mod exchange;
mod local;
mod remote;
mod token;

use self::args::PluginCommand;
use crate::cli::{complain, with_causes};
use std::process::ExitCode;

pub(crate) use self::args::PluginArgs;

/// The exit code of a command that was refused, or found something wrong.
const NOT_GOOD: u8 = 1;
/// The exit code of a command that could not be carried out.
const FAILED: u8 = 2;

/// Runs a command. Exits 0; 1 if a plugin is refused or fails, or a case fails; 2 if it could not be carried out.
pub(crate) fn run(args: PluginArgs) -> ExitCode {
    let PluginArgs { config, json, command } = args;
    let config = config.as_deref();
    let done = match command {
        PluginCommand::Check { file, plugin } => local::check(&file, config, &plugin, json),
        PluginCommand::Run { file, plugin, exchange, no_trace } => {
            local::run(&file, config, &plugin, &exchange, !no_trace, json)
        }
        PluginCommand::Test { suites, plugin, filter, junit, verbose } => {
            let files = local::TestFiles { suites, plugin, config, junit };
            local::test(files, filter, verbose, json)
        }
        PluginCommand::Bench { file, plugin, exchange, rounds } => {
            local::bench(&file, config, &plugin, &exchange, rounds, json)
        }
        remote => remote::run(remote, config, json),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_GOOD),
        Err(error) => {
            complain(&format!("coditect-edge plugin: {}", with_causes(&error)));
            ExitCode::from(FAILED)
        }
    }
}
