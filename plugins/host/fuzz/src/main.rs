//! Fuzz targets of the Proxy-Wasm host: `fuzz run TARGET|all --seconds N [--seed N] [--save]`, `fuzz replay TARGET FILE`.
//!
//! | target | input | what must hold |
//! |---|---|---|
//! | `pairs` | bytes of a header map | taken if and only if they are one, all or nothing, and read back the same |
//! | `properties` | a path and a value | the embedder is asked for the segments that were meant, and for nothing else |
//! | `calls` | a program of host calls and their arguments | answers are statuses; only what may be written is written |
//! | `modules` | a wasm module | it loads or is refused; nothing stays |
//!
//! And for all: no panic, and no input takes longer than ten seconds. An input that breaks this is kept as
//! `plugins/host/fuzz/artifacts/TARGET-NUMBER`.
//!
//! Inputs are those of `corpus/TARGET` and mutations of them. Built with `instrument` as the compiler's wrapper the driver
//! keeps what reaches new code of this repository and goes on from there; built without, it mutates the corpus blindly.
//! `--save` writes what was kept into the corpus.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is what a target reports by"
)]

mod coverage;
mod driver;
#[path = "../../tests/host/guest.rs"]
#[allow(dead_code, reason = "the tests' own")]
mod guest;
mod mutate;
#[path = "../../tests/host/signatures.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests' own")]
mod signatures;
mod targets;
#[path = "../../tests/host/world.rs"]
#[allow(dead_code, clippy::let_underscore_must_use, reason = "the tests' own")]
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use driver::{Run, replay, run};

const USAGE: &str = "usage: fuzz run pairs|properties|calls|modules|all --seconds N [--seed N] [--save]
       fuzz replay TARGET FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["run", target, options @ ..] => run_all(target, options),
        ["replay", target, file] => replay(target, Path::new(file)),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(target: &str, options: &[&str]) -> Result<(), String> {
    let all: Vec<&str> =
        targets::NAMES.iter().copied().filter(|name| [name, "all"].contains(&target)).collect();
    if all.is_empty() {
        return Err(USAGE.to_owned());
    }
    let settings = settings(options)?;
    all.into_iter().try_for_each(|target| run(target, &settings))
}

/// The seed is taken from the clock unless it is given, and printed either way.
fn settings(options: &[&str]) -> Result<Run, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut run = Run { seconds: Duration::ZERO, seed: now.as_secs(), save: false };
    let mut options = options.iter();
    let number = |text: Option<&&str>| {
        text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("a number is missing\n{USAGE}"))
    };
    while let Some(option) = options.next() {
        match *option {
            "--seconds" => run.seconds = Duration::from_secs(number(options.next())?),
            "--seed" => run.seed = number(options.next())?,
            "--save" => run.save = true,
            other => return Err(format!("unknown option `{other}`\n{USAGE}")),
        }
    }
    Ok(run)
}
