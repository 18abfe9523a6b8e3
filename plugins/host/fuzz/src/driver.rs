//! The loop: take an input, change it, run it, keep it where it reached something new.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::mutate::{Random, mutate};
use crate::targets::{self, Target};

/// An input that runs longer than this is a finding.
const MAX_INPUT_TIME: Duration = Duration::from_secs(10);
/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// Inputs kept for mutation. Old ones that reached as much stay in the corpus on disk.
const MAX_POOL: usize = 4096;

/// One run's settings.
pub(crate) struct Run {
    pub(crate) seconds: Duration,
    pub(crate) seed: u64,
    pub(crate) save: bool,
}

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)
}

/// What is running now, for the watchdog.
struct Watched {
    target: String,
    current: Mutex<Option<(Instant, Vec<u8>)>>,
}

impl Watched {
    fn set(&self, input: Option<Vec<u8>>) {
        let running = input.map(|input| (Instant::now(), input));
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    fn look(&self) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, input)) = &*current
            && since.elapsed() > MAX_INPUT_TIME
        {
            let kept = keep_artifact(&self.target, input);
            eprintln!("{}: an input runs longer than {MAX_INPUT_TIME:?}; kept as {kept}", self.target);
            std::process::exit(1);
        }
    }
}

fn keep_artifact(target: &str, input: &[u8]) -> String {
    let name = format!("{target}-{:016x}", fingerprint(input));
    let path = folder("artifacts").join(name);
    let kept = fs::create_dir_all(folder("artifacts")).and_then(|()| fs::write(&path, input));
    match kept {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("nothing ({error})"),
    }
}

/// FNV-1a, for names of files.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The inputs on disk, in the order of their names. Modules may be there as text.
fn corpus(target: &str) -> Result<Vec<Vec<u8>>, String> {
    let folder = folder("corpus").join(target);
    let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(&folder).map_err(fault)?;
    let files: BTreeSet<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let read = |file: &PathBuf| {
        if file.extension().is_some_and(|extension| extension == "wat") {
            wat::parse_file(file).map_err(|error| error.to_string())
        } else {
            fs::read(file).map_err(fault)
        }
    };
    files.iter().map(read).collect()
}

/// Runs one input from a file.
pub(crate) fn replay(target: &str, file: &Path) -> Result<(), String> {
    let input = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    targets::new(target).ok_or("no such target")?.run(&input);
    println!("{target}: {} bytes, nothing found", input.len());
    Ok(())
}

/// Runs a target for as long as asked, the corpus first.
pub(crate) fn run(name: &str, settings: &Run) -> Result<(), String> {
    let mut target = targets::new(name).ok_or("no such target")?;
    let watched = Arc::new(Watched { target: name.to_owned(), current: Mutex::new(None) });
    let watcher = Arc::clone(&watched);
    // Ends with the process.
    thread::spawn(move || {
        loop {
            thread::sleep(WATCH_INTERVAL);
            watcher.look();
        }
    });
    let mut coverage = Coverage::new();
    let mut pool = corpus(name)?;
    let committed = pool.len();
    let mut random = Random::new(settings.seed);
    let (begin, mut executions, mut saved) = (Instant::now(), 0_u64, 0_u32);
    println!("{name}: seed {}, {committed} inputs in the corpus, {} edges", settings.seed, coverage.edges());
    for input in &pool {
        execute(&mut *target, input, &watched, &mut coverage)?;
        executions += 1;
    }
    while begin.elapsed() < settings.seconds {
        let mut input = pool.get(random.below(pool.len())).cloned().unwrap_or_default();
        let other = pool.get(random.below(pool.len())).cloned().unwrap_or_default();
        mutate(&mut input, &other, target.words(), &mut random);
        executions += 1;
        if execute(&mut *target, &input, &watched, &mut coverage)? && pool.len() < MAX_POOL {
            if settings.save {
                let path = folder("corpus").join(name).join(format!("{:016x}", fingerprint(&input)));
                fs::write(&path, &input).map_err(|error| format!("{}: {error}", path.display()))?;
                saved += 1;
            }
            pool.push(input);
        }
    }
    println!(
        "{name}: {executions} executions in {:.0?}, {} of {} edges, {} inputs new, {saved} saved; nothing found",
        begin.elapsed(),
        coverage.reached(),
        coverage.edges(),
        pool.len() - committed
    );
    Ok(())
}

/// Runs one input; whether it reached something new.
fn execute(
    target: &mut dyn Target,
    input: &[u8],
    watched: &Watched,
    coverage: &mut Coverage,
) -> Result<bool, String> {
    watched.set(Some(input.to_vec()));
    coverage.reset();
    let ended = catch_unwind(AssertUnwindSafe(|| target.run(input)));
    let new = coverage.take();
    watched.set(None);
    match ended {
        Ok(()) => Ok(new),
        Err(_) => {
            let kept = keep_artifact(&watched.target, input);
            Err(format!("{}: an input broke a rule (see above); kept as {kept}", watched.target))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounded slice: the committed corpus and some thousand mutations of it.
    #[test]
    fn the_corpus_and_mutations_of_it_find_nothing() {
        for (target, seconds) in [("pairs", 3), ("properties", 3), ("calls", 5), ("modules", 5)] {
            let settings = Run { seconds: Duration::from_secs(seconds), seed: 5, save: false };
            run(target, &settings).unwrap();
        }
    }
}
