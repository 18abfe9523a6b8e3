//! `coditect-edge`: the edge of a multi-tenant cloud IDE in one process.

mod adapters;
mod app;
mod audit;
mod audit_key;
mod check;
mod cli;
mod feed;
mod health;
mod keys;
mod log;
mod plugin;
mod running;
mod signals;
mod storage;
mod store;
mod stored_plugins;
mod upkeep;

use clap::Parser;
use std::process::ExitCode;

/// A proxy allocates and frees small buffers all day; this allocator costs it about a tenth less CPU than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let outcome = match cli.command {
        None | Some(cli::Command::Serve) => app::serve(cli.config.as_deref()),
        Some(cli::Command::Check { json }) => check::run(cli.config.as_deref(), json),
        Some(cli::Command::Audit(args)) => Ok(store::run_audit(cli.config.as_deref(), args)),
        Some(cli::Command::Store(args)) => Ok(store::run(cli.config.as_deref(), args)),
        Some(cli::Command::Keys(args)) => Ok(keys::run(cli.config.as_deref(), &args)),
        // Their `--config` is a plugin's.
        Some(cli::Command::Plugin(args)) => Ok(plugin::run(*args)),
        Some(cli::Command::User(args)) => Ok(store::run_user(cli.config.as_deref(), args)),
        Some(cli::Command::Tenant(args)) => Ok(store::run_tenant(cli.config.as_deref(), args)),
        Some(cli::Command::LaunchShell { workspace, shell }) => {
            Err(coditect_terminal::launch(&workspace, &shell).into())
        }
        Some(cli::Command::Health { admin }) => health::run(&admin),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&format!("coditect-edge: {}", cli::with_causes(&error)));
            ExitCode::FAILURE
        }
    }
}
