//! Turns, medians, ratios.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What one turn did.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    operations: u64,
    wall: Duration,
    /// CPU of the whole process: all its threads.
    cpu: Duration,
}

/// One piece of work, done by both.
pub(crate) struct Comparison {
    pub(crate) name: String,
    unit: &'static str,
    ours: Side,
    redb: Side,
}

/// Medians over a side's turns.
struct Side {
    per_second: f64,
    cpu_micros: f64,
}

/// Runs `work`, which returns how many operations it did.
pub(crate) fn turn(work: impl FnOnce() -> u64) -> Turn {
    let (wall, cpu) = (Instant::now(), cpu_time());
    let operations = work();
    Turn { operations, wall: wall.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
}

/// Both sides in turns, so that a noisy moment meets both.
pub(crate) fn compare(
    name: &str,
    unit: &'static str,
    rounds: usize,
    mut ours: impl FnMut() -> u64,
    mut redb: impl FnMut() -> u64,
) -> Comparison {
    let (mut our_turns, mut redb_turns) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        redb_turns.push(turn(&mut redb));
        our_turns.push(turn(&mut ours));
    }
    Comparison { name: name.to_owned(), unit, ours: side(&our_turns), redb: side(&redb_turns) }
}

fn side(turns: &[Turn]) -> Side {
    let operations = |turn: &Turn| turn.operations.max(1) as f64;
    Side {
        per_second: median(turns.iter().map(|turn| operations(turn) / turn.wall.as_secs_f64())),
        cpu_micros: median(turns.iter().map(|turn| turn.cpu.as_secs_f64() * 1e6 / operations(turn))),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The comparisons as a table for people.
pub(crate) fn table(lines: &[Comparison]) -> String {
    let mut text = String::new();
    let titles = ["", "store /s", "redb /s", "ratio", "store µs CPU", "redb µs CPU", "ratio"];
    let [name, a, b, c, d, e, f] = titles;
    writeln!(text, "{name:40} {a:>12} {b:>12} {c:>7} {d:>13} {e:>13} {f:>7}").unwrap();
    for Comparison { name, unit, ours, redb } in lines {
        writeln!(
            text,
            "{name:40} {:>12.1} {:>12.1} {:>7.2} {:>13.1} {:>13.1} {:>7.2}  per {unit}",
            ours.per_second,
            redb.per_second,
            ours.per_second / redb.per_second,
            ours.cpu_micros,
            redb.cpu_micros,
            ours.cpu_micros / redb.cpu_micros,
        )
        .unwrap();
    }
    text
}
