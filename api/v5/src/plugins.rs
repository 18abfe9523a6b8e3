//! Trying plugins out before they are kept or put to work. The host that runs them is none of this crate's business:
//! the edge hands a [`PluginValidator`] in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::places::Places;

/// How many plugins are tried out at a time. Each takes a core and the memory of its module, compiled and not.
pub const MAX_VALIDATIONS: usize = 2;
/// How many of them may be of one tenant.
const VALIDATIONS_PER_TENANT: usize = 1;
/// How long a plugin may take to be compiled and started. One that takes longer is refused, and holds its place until
/// the compiler, which nothing can interrupt, is done with it.
pub const VALIDATION_DEADLINE: Duration = Duration::from_secs(30);

/// A plugin to try out.
#[derive(Debug, Clone)]
pub struct PluginTrial {
    /// Its name, for the log.
    pub name: String,
    /// The module's bytes.
    pub module: Bytes,
    /// The root to start, where the module has several.
    pub root_id: String,
    /// The configuration to start it with; without one it is started and not configured.
    pub configuration: Option<Vec<u8>>,
}

/// What a module is that was tried out with success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFacts {
    /// The version of the Proxy-Wasm ABI it was written for, such as `0.2.1`.
    pub abi: String,
    /// The host functions it imports, as `module.name`, sorted.
    pub imports: Vec<String>,
}

/// Why a plugin was not found to work.
#[derive(Debug, thiserror::Error)]
pub enum PluginRefusal {
    /// It does not work here; the text says what is wrong with it, for its author.
    #[error("{0}")]
    Refused(String),
    /// It was not compiled and started in time.
    #[error("it was not compiled and started within {} s", VALIDATION_DEADLINE.as_secs())]
    TooSlow,
    /// As many as may be are being tried out, or the host has no room for one more.
    #[error("too many plugins are being tried out")]
    Busy,
    /// The trial itself failed.
    #[error("the plugin could not be tried out")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The host, as far as the API needs it.
pub trait PluginValidator: Send + Sync {
    /// Compiles a module, checks its ABI and imports, starts one instance of it, configures it where there is a
    /// configuration, and keeps nothing. What the module's own code may use is bounded.
    fn validate(&self, trial: PluginTrial) -> BoxFuture<'static, Result<ModuleFacts, PluginRefusal>>;
}

/// Tries plugins out, [`MAX_VALIDATIONS`] at a time, and of each tenant one.
pub struct PluginTrials {
    validator: Arc<dyn PluginValidator>,
    places: Places,
}

impl PluginTrials {
    /// Trials on a host.
    pub fn new(validator: Arc<dyn PluginValidator>) -> Self {
        Self { validator, places: Places::new(MAX_VALIDATIONS, VALIDATIONS_PER_TENANT) }
    }

    /// Waits a while for a place, fetches a tenant's plugin once it has one, and tries it out. A dropped call gives up on
    /// the answer; a trial that has begun goes on, and keeps its place.
    ///
    /// # Errors
    ///
    /// What `fetch` fails with, and every [`PluginRefusal`].
    pub(crate) async fn run<E: From<PluginRefusal>>(
        &self,
        tenant: Uuid,
        fetch: impl Future<Output = Result<PluginTrial, E>>,
    ) -> Result<ModuleFacts, E> {
        let place = self.places.take(tenant).await.ok_or(PluginRefusal::Busy)?;
        // What is fetched is in memory from here on, so that the places bound that too.
        let validating = self.validator.validate(fetch.await?);
        let task = tokio::spawn(async move {
            let outcome = validating.await;
            drop(place);
            outcome
        });
        match tokio::time::timeout(VALIDATION_DEADLINE, task).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(panicked)) => Err(PluginRefusal::Failed(Box::new(panicked)).into()),
            Err(_) => Err(PluginRefusal::TooSlow.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::Notify;

    use super::*;

    struct Slow(Arc<Notify>);

    impl PluginValidator for Slow {
        fn validate(&self, _: PluginTrial) -> BoxFuture<'static, Result<ModuleFacts, PluginRefusal>> {
            let done = Arc::clone(&self.0);
            async move {
                done.notified().await;
                Ok(ModuleFacts { abi: "0.2.1".into(), imports: Vec::new() })
            }
            .boxed()
        }
    }

    async fn fetch() -> Result<PluginTrial, PluginRefusal> {
        Ok(PluginTrial {
            name: "p".into(),
            module: Bytes::new(),
            root_id: String::new(),
            configuration: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_takes_too_long_is_answered_and_keeps_its_place() {
        let done = Arc::new(Notify::new());
        let trials = PluginTrials::new(Arc::new(Slow(Arc::clone(&done))));
        for number in 1..=MAX_VALIDATIONS as u128 {
            let slow = trials.run(Uuid::from_u128(number), fetch()).await;
            assert!(matches!(slow, Err(PluginRefusal::TooSlow)));
        }
        assert!(matches!(trials.run(Uuid::nil(), fetch()).await, Err(PluginRefusal::Busy)));
        done.notify_waiters();
        while trials.places.free() < MAX_VALIDATIONS {
            tokio::task::yield_now().await;
        }
        done.notify_one();
        assert!(trials.run(Uuid::nil(), fetch()).await.is_ok());
    }

    #[tokio::test]
    async fn who_does_not_wait_for_the_answer_does_not_give_the_place_back() {
        let done = Arc::new(Notify::new());
        let trials = PluginTrials::new(Arc::new(Slow(Arc::clone(&done))));
        assert!(trials.run(Uuid::nil(), fetch()).now_or_never().is_none());
        assert_eq!(trials.places.free(), MAX_VALIDATIONS - 1);
        done.notify_one();
        while trials.places.free() < MAX_VALIDATIONS {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_plugin_that_cannot_be_fetched_gives_its_place_back() {
        let trials = PluginTrials::new(Arc::new(Slow(Arc::default())));
        for _ in 0..=MAX_VALIDATIONS {
            let lost = async { Err::<PluginTrial, _>(PluginRefusal::Failed("lost".into())) };
            let fetched = trials.run(Uuid::nil(), lost).await;
            assert!(matches!(fetched, Err(PluginRefusal::Failed(_))));
        }
    }
}
