//! Password hashing, bounded in memory and in waiting callers.
//!
//! Argon2id (RFC 9106) costs tens of megabytes and tens of milliseconds by design. At most `workers` run at once, on
//! the runtime's blocking threads; at most `queue` callers wait; the rest are refused at once and should answer 503
//! with `Retry-After`.

use crate::Entropy;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a caller waits for a worker before it is refused.
const QUEUE_DEADLINE: Duration = Duration::from_secs(10);
/// Length of a fresh salt in bytes (RFC 9106, 3.1).
const SALT_BYTES: usize = 16;

/// The cost of a hash and how many may be computed at once.
#[derive(Debug, Clone, Copy)]
pub struct PasswordSettings {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes computed at once; memory is bounded by this times `memory_kib`.
    pub workers: usize,
    /// Callers that may wait for a worker.
    pub queue: usize,
}

/// Why a password was neither hashed nor verified.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// All workers are taken and the queue is full, or the wait was too long. Trying later can help.
    #[error("too many sign-ins at once, try again in a moment")]
    Busy,
    /// The settings are not valid for Argon2.
    #[error("the Argon2 settings are not valid: {0}")]
    Settings(String),
    /// The stored hash cannot be read.
    #[error("the stored password hash cannot be read: {0}")]
    StoredHash(String),
    /// The worker failed; no input can cause it.
    #[error("hashing failed: {0}")]
    Failed(String),
}

/// The bounded pool. Shared behind an [`Arc`].
pub struct PasswordHasher {
    argon2: Argon2<'static>,
    workers: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    entropy: Arc<dyn Entropy>,
    /// Verified in place of an unknown account's hash, so that both cost the same.
    decoy: Arc<str>,
}

impl PasswordHasher {
    /// A pool with these settings. Computes one hash.
    ///
    /// # Errors
    /// [`PasswordError::Settings`] where Argon2 does not take them.
    pub fn new(settings: PasswordSettings, entropy: Arc<dyn Entropy>) -> Result<Self, PasswordError> {
        let params = Params::new(settings.memory_kib, settings.iterations, settings.parallelism, None)
            .map_err(|e| PasswordError::Settings(e.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut unknown = [0u8; 32];
        entropy.fill(&mut unknown);
        let decoy = hash_now(&argon2, &unknown, &*entropy)?;
        Ok(Self {
            argon2,
            workers: Arc::new(Semaphore::new(settings.workers)),
            waiting: AtomicUsize::new(0),
            queue: settings.queue,
            entropy,
            decoy: decoy.into(),
        })
    }

    /// Hashes a password into a PHC string.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] under load.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        let argon2 = self.argon2.clone();
        let entropy = Arc::clone(&self.entropy);
        self.on_worker(move || hash_now(&argon2, password.expose_secret().as_bytes(), &*entropy)).await
    }

    /// Whether `password` is the one behind `stored`. `None` (no such account) is `false` and costs the same.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] under load, [`PasswordError::StoredHash`] where `stored` is no PHC string.
    pub async fn verify(&self, password: SecretString, stored: Option<&str>) -> Result<bool, PasswordError> {
        let argon2 = self.argon2.clone();
        let known = stored.is_some();
        let hash: Arc<str> = stored.map_or_else(|| Arc::clone(&self.decoy), Into::into);
        // One made before the cost was raised would fail sooner than the decoy, and so tell that it is there.
        let decoy = stored.filter(|stored| self.needs_rehash(stored)).map(|_| Arc::clone(&self.decoy));
        self.on_worker(move || {
            let password = password.expose_secret().as_bytes();
            let matches = |hash: &str| {
                let parsed = PasswordHash::new(hash).map_err(|e| PasswordError::StoredHash(e.to_string()))?;
                Ok(argon2.verify_password(password, &parsed).is_ok())
            };
            let right = matches(&hash)? && known;
            if let Some(decoy) = decoy.filter(|_| !right) {
                matches(&decoy)?;
            }
            Ok(right)
        })
        .await
    }

    /// Whether a stored hash is weaker than a new one would be: of another algorithm or version, or made with less memory
    /// or fewer passes. Who knows the password (at a login) should then store a new hash. A hash that cost more than is
    /// configured is left alone.
    pub fn needs_rehash(&self, stored: &str) -> bool {
        let Ok(hash) = PasswordHash::new(stored) else { return true };
        let Ok(made_with) = Params::try_from(&hash) else { return true };
        let wanted = self.argon2.params();
        hash.algorithm != Algorithm::Argon2id.ident()
            || hash.version != Some(Version::V0x13.into())
            || made_with.m_cost() < wanted.m_cost()
            || made_with.t_cost() < wanted.t_cost()
    }

    async fn on_worker<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let permit = {
            let _place = self.queue_up()?;
            tokio::time::timeout(QUEUE_DEADLINE, Arc::clone(&self.workers).acquire_owned())
                .await
                .map_err(|_| PasswordError::Busy)?
                .map_err(|e| PasswordError::Failed(e.to_string()))?
        };
        // The permit goes with the work: a caller that leaves does not make room for a second hash.
        let worked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        worked.await.map_err(|e| PasswordError::Failed(e.to_string()))?
    }

    fn queue_up(&self) -> Result<Place<'_>, PasswordError> {
        let place = Place(&self.waiting);
        // A caller that finds a free worker passes through the queue without waiting in it.
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        if before >= self.queue.saturating_add(self.workers.available_permits()) {
            return Err(PasswordError::Busy);
        }
        Ok(place)
    }
}

/// A caller's place in the queue, given up on drop.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn hash_now(argon2: &Argon2<'_>, password: &[u8], entropy: &dyn Entropy) -> Result<String, PasswordError> {
    let mut salt = [0u8; SALT_BYTES];
    entropy.fill(&mut salt);
    let hash: PasswordHash =
        argon2.hash_password_with_salt(password, &salt).map_err(|e| PasswordError::Failed(e.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::SeededEntropy;

    fn pool(workers: usize, queue: usize) -> Arc<PasswordHasher> {
        let settings = PasswordSettings { memory_kib: 64, iterations: 1, parallelism: 1, workers, queue };
        Arc::new(PasswordHasher::new(settings, Arc::new(SeededEntropy::new(7))).unwrap())
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let pool = pool(1, 4);
        let hash = pool.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert!(pool.verify("correct horse".into(), Some(&hash)).await.unwrap());
        assert!(!pool.verify("wrong horse".into(), Some(&hash)).await.unwrap());
        assert!(!pool.verify("correct horse".into(), None).await.unwrap());
        assert_ne!(hash, pool.hash("correct horse".into()).await.unwrap(), "salts differ");
    }

    #[tokio::test]
    async fn a_hash_that_is_weaker_than_configured_is_to_be_made_anew() {
        let of = |memory_kib, iterations| {
            let settings = PasswordSettings { memory_kib, iterations, parallelism: 1, workers: 1, queue: 1 };
            PasswordHasher::new(settings, Arc::new(SeededEntropy::new(7))).unwrap()
        };
        let configured = of(64, 2);
        let hashed_by = async |hasher: &PasswordHasher| hasher.hash("correct horse".into()).await.unwrap();
        for (memory_kib, iterations, weaker) in
            [(64, 2, false), (63, 2, true), (64, 1, true), (128, 1, true), (128, 3, false)]
        {
            let hash = hashed_by(&of(memory_kib, iterations)).await;
            assert_eq!(configured.needs_rehash(&hash), weaker, "{hash}");
        }
        let hash = hashed_by(&configured).await;
        for other in [hash.replace("argon2id", "argon2i"), hash.replace("v=19", "v=16"), "nonsense".into()] {
            assert!(configured.needs_rehash(&other), "{other}");
        }
    }

    #[tokio::test]
    async fn beyond_workers_and_queue_callers_are_refused_at_once() {
        let pool = pool(1, 1);
        let taken = Arc::clone(&pool.workers).acquire_owned().await.unwrap();
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.hash("a".into()).await }
        });
        while pool.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(pool.hash("b".into()).await, Err(PasswordError::Busy)));
        drop(taken);
        waiting.await.unwrap().unwrap();
        pool.hash("c".into()).await.unwrap();
    }
}
