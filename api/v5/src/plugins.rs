//! Trying plugins out before they are kept or put to work. The host that runs them is none of this crate's business:
//! the edge hands a [`PluginValidator`] in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

/// How many plugins are tried out at a time. Each takes a core and the memory of its module, compiled and not.
pub const MAX_VALIDATIONS: usize = 2;
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

/// Tries plugins out, [`MAX_VALIDATIONS`] at a time.
pub struct PluginTrials {
    validator: Arc<dyn PluginValidator>,
    places: Arc<Semaphore>,
}

impl PluginTrials {
    /// Trials on a host.
    pub fn new(validator: Arc<dyn PluginValidator>) -> Self {
        Self { validator, places: Arc::new(Semaphore::new(MAX_VALIDATIONS)) }
    }

    /// Fetches a plugin once there is a place for it, and tries it out. A dropped call gives up on the answer, not on
    /// the place.
    ///
    /// # Errors
    ///
    /// What `fetch` fails with, and every [`PluginRefusal`].
    pub(crate) async fn run<E: From<PluginRefusal>>(
        &self,
        fetch: impl Future<Output = Result<PluginTrial, E>>,
    ) -> Result<ModuleFacts, E> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PluginRefusal::Busy)?;
        // Before this nothing of the module is in memory, so that the places bound that too.
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
        for _ in 0..MAX_VALIDATIONS {
            assert!(matches!(trials.run(fetch()).await, Err(PluginRefusal::TooSlow)));
        }
        assert!(matches!(trials.run(fetch()).await, Err(PluginRefusal::Busy)));
        done.notify_waiters();
        while trials.places.available_permits() < MAX_VALIDATIONS {
            tokio::task::yield_now().await;
        }
        done.notify_one();
        assert!(trials.run(fetch()).await.is_ok());
    }

    #[tokio::test]
    async fn a_plugin_that_cannot_be_fetched_gives_its_place_back() {
        let trials = PluginTrials::new(Arc::new(Slow(Arc::default())));
        for _ in 0..=MAX_VALIDATIONS {
            let fetched = trials.run(async { Err::<PluginTrial, _>(PluginRefusal::Failed("lost".into())) });
            assert!(matches!(fetched.await, Err(PluginRefusal::Failed(_))));
        }
    }
}
