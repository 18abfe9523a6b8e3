//! The compiled modules of an engine: each is compiled once, one at a time, and shared by its plugins.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module, Store};

use crate::cache::{CacheCounts, ModuleCache};
use crate::error::LoadReason;
use crate::module::{CompiledModule, Linkers};
use crate::state::HostState;

/// How long a module waits for others to be compiled. Beyond it, it is refused with [`LoadReason::Busy`].
const COMPILE_WAIT: Duration = Duration::from_secs(60);

/// What becomes of a module after it was compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It goes to the cache on disk, where there is one.
    OnDisk,
    /// It was only looked at. Uploads that nobody activates must not drive out what runs.
    No,
}

pub(crate) struct Modules {
    alive: Mutex<HashMap<[u8; 32], Weak<CompiledModule>>>,
    turn: Turn,
    cache: Option<ModuleCache>,
    compiled: AtomicU64,
}

impl Modules {
    pub(crate) fn new(cache: Option<ModuleCache>) -> Self {
        Self { alive: Mutex::default(), turn: Turn::default(), cache, compiled: AtomicU64::new(0) }
    }

    /// The module with these bytes: the one alive, else the one on disk, else a newly compiled one.
    pub(crate) fn get(
        &self,
        linkers: &Linkers,
        wasm: &[u8],
        probe: Store<HostState>,
        keep: Keep,
    ) -> Result<Arc<CompiledModule>, LoadReason> {
        let hash: [u8; 32] = Sha256::digest(wasm).into();
        if let Some(module) = self.alive(&hash) {
            return Ok(module);
        }
        let _turn = self.turn.take(keep, COMPILE_WAIT).ok_or(LoadReason::Busy { waited: COMPILE_WAIT })?;
        // Whoever had the turn before may have wanted the same module.
        if let Some(module) = self.alive(&hash) {
            return Ok(module);
        }
        let module = match self.cached(probe.engine(), &hash) {
            Some(module) => CompiledModule::fit(linkers, module, probe)?,
            None => self.compile(linkers, wasm, &hash, probe, keep)?,
        };
        let mut alive = self.lock();
        alive.retain(|_, module| module.strong_count() > 0);
        alive.insert(hash, Arc::downgrade(&module));
        Ok(module)
    }

    fn compile(
        &self,
        linkers: &Linkers,
        wasm: &[u8],
        hash: &[u8; 32],
        probe: Store<HostState>,
        keep: Keep,
    ) -> Result<Arc<CompiledModule>, LoadReason> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        // `from_binary`: the text format is for tests, and never from outside.
        let module = Module::from_binary(probe.engine(), wasm)
            .map_err(|error| LoadReason::Compile(format!("{error:#}")))?;
        let module = CompiledModule::fit(linkers, module, probe)?;
        if let (Keep::OnDisk, Some(cache)) = (keep, &self.cache) {
            cache.store(hash, module.pre.module());
        }
        Ok(module)
    }

    fn cached(&self, runtime: &Engine, hash: &[u8; 32]) -> Option<Module> {
        self.cache.as_ref()?.load(runtime, hash)
    }

    fn alive(&self, hash: &[u8; 32]) -> Option<Arc<CompiledModule>> {
        self.lock().get(hash)?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Weak<CompiledModule>>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Modules alive now.
    pub(crate) fn live(&self) -> usize {
        self.lock().values().filter(|module| module.strong_count() > 0).count()
    }

    /// Modules compiled so far, those that did not compile included.
    pub(crate) fn compiled(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    /// What the cache on disk did so far.
    pub(crate) fn cache_counts(&self) -> CacheCounts {
        self.cache.as_ref().map(ModuleCache::counts).unwrap_or_default()
    }
}

/// One compilation at a time: it takes a core for seconds, and the others are for requests. Modules to be run go before
/// those to be looked at, so that uploads cannot keep a configuration from being loaded.
#[derive(Default)]
struct Turn {
    queue: Mutex<Queue>,
    given_back: Condvar,
}

#[derive(Default)]
struct Queue {
    taken: bool,
    /// Modules to be run that wait.
    first: usize,
}

/// The turn, until it is dropped.
struct Taken<'a>(&'a Turn);

impl Turn {
    /// Waits on the calling thread, for at most `most`.
    fn take(&self, keep: Keep, most: Duration) -> Option<Taken<'_>> {
        let first = usize::from(keep == Keep::OnDisk);
        self.queue().first += first;
        let mut queue = self.wait(keep, most);
        queue.first -= first;
        let free = !queue.taken && (keep == Keep::OnDisk || queue.first == 0);
        queue.taken |= free;
        drop(queue);
        if free {
            return Some(Taken(self));
        }
        // Who waits behind this one need not any longer.
        self.given_back.notify_all();
        None
    }

    fn wait(&self, keep: Keep, most: Duration) -> MutexGuard<'_, Queue> {
        let waits = |queue: &mut Queue| queue.taken || (keep == Keep::No && queue.first > 0);
        let waited = self.given_back.wait_timeout_while(self.queue(), most, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.queue().taken = false;
        self.0.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_turn_is_one_s_alone() {
        let (turn, inside) = (Turn::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for keep in [Keep::OnDisk, Keep::No, Keep::OnDisk, Keep::No] {
                let (turn, inside) = (&turn, &inside);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _taken = turn.take(keep, LONG).expect("a turn");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two had the turn");
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(turn.queue().first, 0);
    }

    #[test]
    fn who_waits_too_long_goes_away() {
        let turn = Turn::default();
        for keep in [Keep::OnDisk, Keep::No] {
            let taken = turn.take(keep, Duration::ZERO).expect("it is free");
            assert!(turn.take(Keep::OnDisk, Duration::from_millis(1)).is_none());
            assert!(turn.take(Keep::No, Duration::from_millis(1)).is_none());
            drop(taken);
        }
        assert!(turn.take(Keep::No, Duration::ZERO).is_some());
    }

    #[test]
    fn what_is_to_run_goes_before_what_is_only_looked_at() {
        let (turn, order) = (Turn::default(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let taken = turn.take(Keep::No, LONG).expect("it is free");
            let wait = |keep: Keep| {
                let _taken = turn.take(keep, LONG).expect("a turn");
                order.lock().unwrap().push(keep);
            };
            scope.spawn(move || wait(Keep::No));
            scope.spawn(move || wait(Keep::OnDisk));
            let end = Instant::now() + LONG;
            while turn.queue().first == 0 {
                assert!(Instant::now() < end, "nobody waits");
                thread::yield_now();
            }
            drop(taken);
        });
        assert_eq!(*order.lock().unwrap(), [Keep::OnDisk, Keep::No]);
    }
}
