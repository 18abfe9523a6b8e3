//! The repositories, each by its promises. Every check takes the data it works on, so that it can run on any
//! backend; here they run on the embedded one.

mod agents;
mod audit;
mod audit_damage;
mod conversations;
mod file_trees;
mod file_versions;
mod files;
pub(crate) mod home;
mod isolation;
mod logins;
mod members;
mod plugins;
mod pods;
mod removals;
mod requests;
mod session_life;
mod session_states;
mod settings;
mod suspension;
mod tickets;
mod usage;
mod users;
mod verify;
mod workspaces;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coditect_auth::{Entropy, ManualClock, SeededEntropy};
use coditect_store::keyspace::path::{from_path, to_path};
use coditect_store::verify::Report;
use coditect_store::{Keyspace, Repositories, RetryPolicy, Store, StoreError};
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::support::{Fixture, NOW};

/// What a check works on: an empty store and what is needed beside it.
#[derive(Clone)]
pub(crate) struct Data {
    pub(crate) store: Store,
    pub(crate) repositories: Repositories,
    pub(crate) keys: Keyspace,
    pub(crate) entropy: Arc<SeededEntropy>,
    /// Keeps a store in a temporary directory alive.
    _fixture: Option<Arc<Fixture>>,
}

/// A check by its name.
pub(crate) type Check = (&'static str, fn(Data) -> BoxFuture<'static, ()>);

/// Every check of the repositories, to be run on other backends.
pub(crate) fn all() -> Vec<Check> {
    [
        agents::ALL,
        audit::ALL,
        audit_damage::ALL,
        conversations::ALL,
        file_trees::ALL,
        file_versions::ALL,
        files::ALL,
        isolation::ALL,
        logins::ALL,
        members::ALL,
        plugins::ALL,
        pods::ALL,
        removals::ALL,
        requests::ALL,
        session_life::ALL,
        session_states::ALL,
        settings::ALL,
        suspension::ALL,
        tickets::ALL,
        usage::ALL,
        users::ALL,
        verify::ALL,
        workspaces::ALL,
    ]
    .concat()
}

/// Makes each check a test on the embedded backend, and lists them.
macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        /// The checks of this file.
        pub(crate) const ALL: &[crate::repositories::Check] =
            &[$((stringify!($name), |data| Box::pin($name(data)))),*];

        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(crate::repositories::Data::embedded()).await;
            })*
        }
    };
}
pub(crate) use checks;

impl Data {
    /// Data in a store on any backend. It must be empty below the root `test`.
    pub(crate) fn on(store: Store, entropy: Arc<SeededEntropy>) -> Self {
        let keys = Keyspace::new("test");
        let repositories = Repositories::new(
            store.clone(),
            keys.clone(),
            Arc::new(ManualClock::new(NOW)),
            Arc::clone(&entropy) as Arc<dyn Entropy>,
        );
        Self { store, repositories, keys, entropy, _fixture: None }
    }

    pub(crate) fn embedded() -> Self {
        let fixture = Arc::new(Fixture::new());
        let data = Self::on(fixture.store.clone(), Arc::clone(&fixture.entropy));
        Self { _fixture: Some(fixture), ..data }
    }

    pub(crate) fn id(&self) -> Uuid {
        self.entropy.uuid()
    }

    /// The repositories' keys, as paths, with their values: without the contents that files refer to, without what
    /// replicas were told, and without counters, which stay at zero.
    pub(crate) async fn dump(&self) -> BTreeMap<String, Bytes> {
        let mut rows = self.dump_all().await;
        rows.retain(|path, _| {
            !["/blobs/", "/blob_contents/", "/blob_uploads/", "/blob_garbage/", "/global/changes", "/usage/"]
                .iter()
                .any(|at| path.contains(at))
        });
        rows
    }

    /// All keys, as paths, with their values; without the markers of transactions.
    pub(crate) async fn dump_all(&self) -> BTreeMap<String, Bytes> {
        let rows = self.store.scan(self.keys.span()).rows().await.unwrap();
        let rows = rows.into_iter().map(|row| (to_path(&row.key), row.value));
        rows.filter(|(path, _)| !path.starts_with("/test/global/idempotency/")).collect()
    }

    pub(crate) async fn verify(&self) -> Report {
        self.store.verify(&self.keys, |_| ()).await.unwrap()
    }

    /// Fails if records and indexes disagree anywhere.
    pub(crate) async fn assert_clean(&self) {
        let report = self.verify().await;
        assert!(report.is_clean(), "{:#?}", report.problems);
    }

    /// Writes a value behind the repositories' back, or removes it.
    pub(crate) async fn plant(&self, path: &str, value: Option<&[u8]>) {
        let key = from_path(path).unwrap();
        let (key, value) = (&key, &value);
        let written: Result<(), StoreError> = self
            .store
            .run(&RetryPolicy::idempotent(), |transaction| async move {
                match value {
                    Some(value) => transaction.set(key.clone(), Bytes::copy_from_slice(value)),
                    None => transaction.clear(key.clone()),
                }
            })
            .await;
        written.unwrap();
    }
}

/// Milliseconds of the tests' present.
pub(crate) const NOW_MS: i64 = NOW * 1000;
