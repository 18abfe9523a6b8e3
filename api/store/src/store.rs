//! The store handle and its retry loop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use coditect_auth::Entropy;
use tokio::time::Instant;

use crate::contract::{Backend, SnapshotRows};
use crate::error::{Retry, StoreError, TransactionError};
use crate::transaction::Transaction;

/// How often, how long and how fast [`Store::run`] tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts, at least 1.
    pub max_attempts: u32,
    /// No new attempt begins after this time.
    pub max_time: Duration,
    /// The first pause is random between zero and this; it doubles with each attempt.
    pub first_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// Run again after a commit whose result is unknown. Only for closures whose second run has no effect
    /// beyond the first; others want [`Store::run_once`].
    pub retry_unknown: bool,
}

impl Default for RetryPolicy {
    /// 50 attempts in 5 s, pauses from 1 ms to 100 ms, no retry of unknown results.
    fn default() -> Self {
        Self {
            max_attempts: 50,
            max_time: Duration::from_secs(5),
            first_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(100),
            retry_unknown: false,
        }
    }
}

impl RetryPolicy {
    /// The default policy for closures that may safely run twice.
    pub fn idempotent() -> Self {
        Self { retry_unknown: true, ..Self::default() }
    }
}

/// A store on some backend. Clones share it.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    entropy: Arc<dyn Entropy>,
}

impl Store {
    /// A store on `backend`; `entropy` spreads the pauses between attempts.
    pub fn new(backend: Arc<dyn Backend>, entropy: Arc<dyn Entropy>) -> Self {
        Self { backend, entropy }
    }

    /// Starts a transaction that the caller commits and retries itself.
    pub fn begin(&self) -> Transaction {
        Transaction::new(self.backend.begin())
    }

    /// Runs `attempt` in a transaction and commits it, again and again while that can help.
    ///
    /// The closure gets a fresh transaction each time and must not keep it. It may return an error of its
    /// own to stop: then nothing is committed.
    ///
    /// # Errors
    ///
    /// The closure's own error; [`StoreError::Unknown`] if the commit may have happened (unless the policy
    /// says to retry that); [`StoreError::Exhausted`] when attempts or time ran out.
    ///
    /// Not cancel safe: a dropped call may or may not have committed.
    pub async fn run<T, E, F, Fut>(&self, policy: &RetryPolicy, mut attempt: F) -> Result<T, E>
    where
        E: TransactionError,
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut retries = Retries::new(policy);
        loop {
            let transaction = self.begin();
            let error = match attempt(transaction.clone()).await {
                Ok(value) => match transaction.commit().await {
                    Ok(_) => return Ok(value),
                    Err(error) => E::from(error),
                },
                Err(error) => error,
            };
            self.pause(&mut retries, error).await?;
        }
    }

    /// Waits before the next attempt, or gives the error back if there shall be none.
    pub(crate) async fn pause<E: TransactionError>(
        &self,
        retries: &mut Retries<'_>,
        error: E,
    ) -> Result<(), E> {
        let Some(cause) = error.store_error() else {
            return Err(error);
        };
        let retry = match cause.retry() {
            Retry::Safe => true,
            Retry::IfIdempotent => retries.policy.retry_unknown,
            Retry::No => false,
        };
        if !retry {
            return Err(error);
        }
        match retries.next(&*self.entropy) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            // An unknown result must stay visible as one.
            None if cause.maybe_committed() => Err(error),
            None => Err(E::from(StoreError::Exhausted {
                attempts: retries.attempts,
                last: Box::new(cause.clone()),
            })),
        }
    }

    /// What the backend is, in one word: `embedded` or `foundationdb`.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// The newest state for as long as it is held, where the backend can: see [`Backend::long_snapshot`].
    pub fn long_snapshot(&self) -> Result<Option<Box<dyn SnapshotRows>>, StoreError> {
        self.backend.long_snapshot()
    }

    /// Whether the store can read and commit, as far as is known without writing; for readiness probes.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.backend.ping().await
    }

    /// Lets queued commits finish and releases the backend. Later use fails with [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.backend.close().await
    }
}

/// The state of a retry loop.
pub(crate) struct Retries<'a> {
    policy: &'a RetryPolicy,
    attempts: u32,
    started: Instant,
    ceiling: Duration,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy) -> Self {
        Self { policy, attempts: 0, started: Instant::now(), ceiling: policy.first_backoff }
    }

    /// Counts an attempt that failed; returns the pause before the next one, if there is one.
    fn next(&mut self, entropy: &dyn Entropy) -> Option<Duration> {
        self.attempts += 1;
        if self.attempts >= self.policy.max_attempts || self.started.elapsed() >= self.policy.max_time {
            return None;
        }
        let mut random = [0; 4];
        entropy.fill(&mut random);
        let fraction = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        let pause = self.ceiling.mul_f64(fraction);
        self.ceiling = (self.ceiling * 2).min(self.policy.max_backoff);
        Some(pause)
    }
}
