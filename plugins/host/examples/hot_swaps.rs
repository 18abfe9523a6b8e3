//! Hot swaps under load, many of them: `hot_swaps SWAPS`.
//!
//! Says how many requests were served and failed, what is alive at the end, and the resident memory in each tenth. Fails
//! where a request failed, something was not freed, or the last tenth's memory is not within 5 % of the second's.
#![allow(clippy::print_stdout, reason = "it is a command")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "its parts are the tests' own")]

#[path = "../tests/host/guest.rs"]
#[allow(dead_code, reason = "the tests' own")]
mod guest;
#[path = "../tests/host/swaps.rs"]
mod swaps;
#[path = "../tests/host/world.rs"]
#[allow(dead_code, clippy::let_underscore_must_use, reason = "the tests' own")]
mod world;

use std::error::Error;

/// How far the last tenth's memory may be from the second's, in per cent.
const MAX_CHANGE: f64 = 5.0;

/// Resident memory of this process, in KiB.
fn resident() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let swaps: usize = std::env::args().nth(1).ok_or("usage: hot_swaps SWAPS")?.parse()?;
    let mut tenths = [(0.0_f64, 0_u32); 10];
    let swapped = swaps::run(swaps, |swap| {
        let tenth = ((swap - 1) * 10 / swaps).min(9);
        if let Ok(now) = resident() {
            tenths[tenth].0 += now;
            tenths[tenth].1 += 1;
        }
    });
    let means: Vec<f64> = tenths.iter().map(|(sum, count)| sum / f64::from((*count).max(1))).collect();
    println!("{swaps} swaps, {} requests, {} failed", swapped.requests, swapped.failed);
    println!(
        "instances and modules alive: {:?} with the last version, {:?} without",
        swapped.alive[0], swapped.alive[1]
    );
    let shown: Vec<String> = means.iter().map(|mean| format!("{:.0}", mean / 1024.0)).collect();
    println!("resident memory by tenth, in MiB: {}", shown.join(" "));
    let change = (means[9] / means[1] - 1.0) * 100.0;
    println!("last tenth against the second: {change:+.1} %");
    let good = swapped.failed == 0 && swapped.alive == [(3, 1), (0, 0)] && change.abs() <= MAX_CHANGE;
    if good { Ok(()) } else { Err("hot swaps are not free of trace".into()) }
}
