//! The compiled modules of an engine: each is compiled once, one at a time, and shared by its plugins.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

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
        let _turn = self.turn.take(COMPILE_WAIT).ok_or(LoadReason::Busy { waited: COMPILE_WAIT })?;
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

/// One compilation at a time: it takes a core for seconds, and the others are for requests.
#[derive(Default)]
struct Turn {
    taken: Mutex<bool>,
    given_back: Condvar,
}

/// The turn, until it is dropped.
struct Taken<'a>(&'a Turn);

impl Turn {
    /// Waits on the calling thread, for at most `most`.
    fn take(&self, most: Duration) -> Option<Taken<'_>> {
        let end = Instant::now().checked_add(most)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken {
            let left = end.checked_duration_since(Instant::now())?;
            let woken = self.given_back.wait_timeout(taken, left);
            (taken, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Some(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    #[test]
    fn the_turn_is_one_s_alone() {
        let (turn, inside) = (Turn::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _taken = turn.take(Duration::from_secs(60)).expect("a turn");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two had the turn");
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn who_waits_too_long_goes_away() {
        let turn = Turn::default();
        let taken = turn.take(Duration::ZERO).expect("it is free");
        assert!(turn.take(Duration::from_millis(1)).is_none());
        drop(taken);
        assert!(turn.take(Duration::ZERO).is_some());
    }
}
