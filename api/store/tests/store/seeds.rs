//! Which seeds a randomised test runs. `STORE_SEED=<n>` runs one, `STORE_SEEDS=<n>` the first n.

/// The seeds to run, from the environment or `default` of them.
pub(crate) fn seeds(default: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|n| n.parse().unwrap());
    match (number("STORE_SEED"), number("STORE_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, seeds) => (0..seeds.unwrap_or(default)).collect(),
    }
}

/// What to say when something is wrong.
pub(crate) fn reproduce(seed: u64, test: &str) -> String {
    format!("seed {seed}; again with: STORE_SEED={seed} cargo test -p coditect-store --test store {test}")
}
