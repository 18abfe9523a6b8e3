//! Compiled modules kept on disk, so that a restart compiles nothing.
//!
//! One file for each module. Its name is a key: the SHA-256 of the wasm and of all that decides what the compiler makes
//! of it; what another release compiled is not found, and goes when room is needed. What is found there is used only if [`artifact`] trusts it; whatever goes wrong with the cache costs a
//! compilation and a line in the log, and never a plugin.

mod artifact;
mod directory;

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module};

use self::directory::Directory;
use crate::exchange::Environment;

/// The release of wasmtime that compiles. A code generator is mended in patch releases, and what the broken one made
/// must not live on, so the compatibility that wasmtime itself checks, its major version, is not enough. A test
/// compares this with Cargo.lock.
pub(crate) const WASMTIME_VERSION: &str = "48.0.8";

/// Ends the name of every file of the cache.
const SUFFIX: &str = ".cwasm";

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("cannot {action}: {source}")]
    Io { action: &'static str, source: io::Error },
    #[error("the {what} belongs to user {owner}; what user {user} is to run must be its own")]
    Owner { what: &'static str, owner: u32, user: u32 },
    #[error("others than its owner can write the {what} (mode {mode:o})")]
    Mode { what: &'static str, mode: u32 },
    #[error("it is no regular file with one name")]
    Kind,
    #[error("it has {actual} bytes; at most {limit} are allowed")]
    TooLarge { actual: u64, limit: u64 },
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error("wasmtime refused it: {0}")]
    Refused(String),
}

impl CacheError {
    fn io(action: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io { action, source: errno.into() }
    }
}

/// The cache of one engine.
pub(crate) struct ModuleCache {
    path: PathBuf,
    /// Bytes of all files together.
    limit: u64,
    /// All that decides about compiled code besides the wasm.
    compiler: [u8; 32],
    environment: Arc<dyn Environment>,
    hits: AtomicU64,
    rejected: AtomicU64,
    failures: AtomicU64,
}

/// Counters of the cache.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CacheCounts {
    pub(crate) hits: u64,
    pub(crate) rejected: u64,
    pub(crate) failures: u64,
}

impl ModuleCache {
    pub(crate) fn new(
        path: PathBuf,
        limit: u64,
        runtime: &Engine,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let mut digest = Sha256Hasher(Sha256::new());
        runtime.precompile_compatibility_hash().hash(&mut digest);
        WASMTIME_VERSION.hash(&mut digest);
        Self {
            path,
            limit,
            compiler: digest.0.finalize().into(),
            environment,
            hits: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The module with this SHA-256, if it is there and trusted. A file that is not is removed.
    pub(crate) fn load(&self, runtime: &Engine, wasm: &[u8; 32]) -> Option<Module> {
        let key = self.key(wasm);
        let name = file_name(&key);
        let directory = self.directory()?;
        match artifact::load(&directory, runtime, &name, &key, self.limit) {
            Ok(Some(module)) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Some(module)
            }
            Ok(None) => None,
            Err(error @ CacheError::Io { .. }) => {
                self.failed(&error);
                None
            }
            Err(error) => {
                self.rejected.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(path = %self.path.display(), file = name, %error, "compiled module removed");
                directory.remove(&name).map_err(|error| self.failed(&error)).ok();
                None
            }
        }
    }

    /// Keeps a module, at the cost of those that were not used for longest where the limit is reached.
    pub(crate) fn store(&self, wasm: &[u8; 32], module: &Module) {
        let key = self.key(wasm);
        let name = file_name(&key);
        let Some(directory) = self.directory() else { return };
        let stored = artifact::store(&directory, module, &name, &key, self.limit, &self.temporary_name())
            .and_then(|()| directory.shrink(&name, self.limit));
        if let Err(error) = stored {
            self.failed(&error);
        }
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        CacheCounts {
            hits: self.hits.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    fn directory(&self) -> Option<Directory> {
        Directory::open(&self.path).map_err(|error| self.failed(&error)).ok()
    }

    fn failed(&self, error: &CacheError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(path = %self.path.display(), %error, "the cache of compiled modules cannot be used");
    }

    fn key(&self, wasm: &[u8; 32]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.compiler);
        digest.update(wasm);
        digest.finalize().into()
    }

    /// Random, so that processes that share the folder, and one that was killed while it wrote, are in nobody's way.
    fn temporary_name(&self) -> String {
        let mut random = [0; 16];
        self.environment.random(&mut random);
        format!("{}{}", hex(&random), directory::TEMPORARY)
    }
}

fn file_name(key: &[u8; 32]) -> String {
    format!("{}{SUFFIX}", hex(key))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

/// Feeds what wasmtime hashes to SHA-256.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Asked for by nobody; the digest is taken from the inside.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_version_in_the_key_is_the_one_that_is_linked() {
        let lock = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock"));
        let expected = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&expected), "set WASMTIME_VERSION to the version of wasmtime in Cargo.lock");
    }
}
