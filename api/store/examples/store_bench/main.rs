//! Measures the embedded store beside raw redb doing the same work on the same disk, in turns.
//!
//! `cargo run --release -p coditect-store --example store_bench -- --help` says how. The table also goes to
//! `target/bench/store.txt`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod blobs;
mod measure;
mod memory;
mod ours;
mod raw;

use std::path::PathBuf;
use std::time::Duration;

use crate::measure::{Comparison, compare, table};

/// As the edge has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
Usage: store_bench [--seconds N] [--rounds N] [--dir DIR] [--only WORD]

Durable commits with 1, 16 and 64 writers, point reads, ranges of 100 rows, blobs of
1 and 64 MiB, each beside raw redb; and the memory one blob of 256 MiB takes.

  --seconds N   how long one turn lasts (default 1)
  --rounds N    turns of either side; medians are shown (default 5)
  --dir DIR     where the files go (default target/bench: a real disk, please, no tmpfs)
  --only WORD   only lines that contain the word
";

struct Options {
    seconds: f64,
    rounds: usize,
    dir: PathBuf,
    only: String,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(memory::CHILD) {
        return memory::child();
    }
    let Some(options) = options() else {
        print!("{USAGE}");
        return;
    };
    std::fs::create_dir_all(&options.dir).expect("the directory can be made");
    let place = tempfile::tempdir_in(&options.dir).expect("the directory can be written");
    let turn = Duration::from_secs_f64(options.seconds);
    let wanted = |name: &str| name.contains(&options.only);

    let raw = raw::Raw::open(&place.path().join("raw.redb"));
    let ours = ours::Ours::open(&place.path().join("ours.redb"));
    let mut lines: Vec<Comparison> = Vec::new();
    let mut add = |line: Comparison| {
        eprintln_progress(&line);
        lines.push(line);
    };
    for (writers, peers, name) in [
        (1, 1, "durable commits, 1 writer"),
        (16, 16, "durable commits, 16 writers"),
        (64, 64, "durable commits, 64 writers"),
        (64, 1, "durable commits, 64 writers (redb: 1)"),
    ] {
        if wanted(name) {
            add(compare(
                name,
                "commit",
                options.rounds,
                || ours.commits(writers, turn),
                || raw.commits(peers, turn),
            ));
        }
    }
    ours.fill();
    raw.fill();
    for (rows, name) in [(1, "point reads"), (100, "ranges of 100 rows")] {
        if wanted(name) {
            add(compare(name, "read", options.rounds, || ours.reads(rows, turn), || raw.reads(rows, turn)));
        }
    }
    for (mebibytes, name) in [(1, "1 MiB"), (64, "64 MiB")] {
        let (write, read) = (format!("blob writes, {name}"), format!("blob reads, {name}"));
        if wanted(&write) {
            let size = mebibytes << 20;
            add(compare(
                &write,
                "blob",
                options.rounds,
                || ours.blob_writes(size, turn),
                || raw.blob_writes(size, turn),
            ));
            add(compare(&read, "blob", options.rounds, || ours.blob_reads(turn), || raw.blob_reads(turn)));
        }
    }
    let mut text = table(&lines);
    if wanted("memory") {
        text.push_str(&memory::measure(place.path()));
    }
    print!("{text}");
    std::fs::write(options.dir.join("store.txt"), text).expect("the table can be written");
}

/// One line on a terminal as each comparison ends.
fn eprintln_progress(line: &Comparison) {
    use std::io::{IsTerminal, Write};
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        drop(writeln!(stderr, "{}: done", line.name));
    }
}

/// The command line; `None` if help is asked for or it makes no sense.
fn options() -> Option<Options> {
    let mut options =
        Options { seconds: 1.0, rounds: 5, dir: PathBuf::from("target/bench"), only: String::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next();
        match argument.as_str() {
            "--seconds" => options.seconds = value()?.parse().ok().filter(|s| *s > 0.0)?,
            "--rounds" => options.rounds = value()?.parse().ok().filter(|n| *n > 0)?,
            "--dir" => options.dir = value()?.into(),
            "--only" => options.only = value()?,
            _ => return None,
        }
    }
    Some(options)
}
