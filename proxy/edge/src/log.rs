//! The log of the process, on standard error: for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;
use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Libraries that log what clients sent, tokens included, below this level. `RUST_LOG` cannot turn that on.
const QUIET: [&str; 4] = ["pingora", "h2", "tungstenite", "axum"];

/// Starts logging. `RUST_LOG` says what; `info` where it is unset.
///
/// # Errors
/// `RUST_LOG` is malformed.
pub(crate) fn start() -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(directives)?,
        _ => EnvFilter::new("info"),
    };
    let quiet = filter_fn(|metadata| {
        *metadata.level() <= Level::WARN
            || !QUIET.iter().any(|library| metadata.target().starts_with(library))
    });
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if std::io::stderr().is_terminal() {
        layer.compact().boxed()
    } else {
        layer.json().flatten_event(true).boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(quiet).with_filter(filter)).try_init()?;
    Ok(())
}
