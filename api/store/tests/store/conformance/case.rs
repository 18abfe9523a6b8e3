//! What a case is given, and the stores it is run on.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coditect_auth::SeededEntropy;
use coditect_store::contract::RangeRead;
use coditect_store::{
    Embedded, EmbeddedOptions, KeySpan, RetryPolicy, Store, StoreError, SystemMonotonicClock, Transaction,
};
use futures::FutureExt;
use futures::future::BoxFuture;

pub(crate) use crate::support::{assert_conflict, text};

/// The longest a case may take; the ones that wait for a transaction to age take 6 s.
const CASE_DEADLINE: Duration = Duration::from_secs(120);
/// The longest a store may take to show what it has promised.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// The first part of every key, in a cluster that may hold other data.
const ROOT: &str = "conformance";

/// A store with a part of its key space that no other case uses. It is empty when the case begins.
pub(crate) struct Case {
    pub(crate) store: Store,
    prefix: Vec<u8>,
}

impl Case {
    /// A key of this case.
    pub(crate) fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        [self.prefix.as_slice(), name.as_ref()].concat()
    }

    /// All keys of this case.
    pub(crate) fn span(&self) -> KeySpan {
        span(&self.prefix)
    }

    pub(crate) fn begin(&self) -> Transaction {
        self.store.begin()
    }

    /// A range between two keys of this case.
    pub(crate) fn range(&self, begin: &str, end: &str, limit: usize) -> RangeRead {
        RangeRead::new(self.key(begin), self.key(end), limit)
    }

    /// Commits one key, without ever conflicting.
    pub(crate) async fn put(&self, name: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        let (key, value) = (&self.key(name), &value.into());
        self.write(|t| t.set(key.clone(), value.clone())).await;
    }

    /// Commits what `write` does, which must not read.
    pub(crate) async fn write(&self, write: impl Fn(&Transaction) -> Result<(), StoreError>) {
        let write = &write;
        let done: Result<(), StoreError> =
            self.store.run(&RetryPolicy::idempotent(), |t| async move { write(&t) }).await;
        done.unwrap();
    }

    /// The bytes of one key, in a transaction of its own.
    pub(crate) async fn bytes(&self, name: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.begin().get(self.key(name)).await.unwrap().map(|value| value.to_vec())
    }

    /// The text of one key, in a transaction of its own.
    pub(crate) async fn value(&self, name: impl AsRef<[u8]>) -> Option<String> {
        text(self.begin().get(self.key(name)).await.unwrap())
    }

    /// The keys of a range, without this case's prefix. The range must fit one page.
    pub(crate) async fn names(&self, transaction: &Transaction, read: RangeRead) -> Vec<String> {
        let rows = transaction.range(read).await.unwrap().rows;
        rows.iter().map(|row| self.name(&row.key)).collect()
    }

    /// A key without this case's prefix.
    pub(crate) fn name(&self, key: &[u8]) -> String {
        String::from_utf8(key[self.prefix.len()..].to_vec()).unwrap()
    }
}

/// The keys below a prefix that ends with `/`.
fn span(prefix: &[u8]) -> KeySpan {
    let (_, directory) = prefix.split_last().unwrap();
    KeySpan { begin: prefix.to_vec(), end: [directory, b"0"].concat() }
}

/// Waits for what the store has promised to do.
pub(crate) async fn within<T>(promised: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(ANSWER_DEADLINE, promised).await;
    answer.unwrap_or_else(|_| panic!("the store did nothing for {ANSWER_DEADLINE:?}"))
}

/// Asks again and again until the answer is there.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    const PAUSE: Duration = Duration::from_millis(20);
    within(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}

/// A store for one case, and what must live as long.
pub(crate) struct Opened {
    store: Store,
    _dir: Option<tempfile::TempDir>,
}

/// A new file on the real clock.
pub(crate) fn embedded() -> Option<Opened> {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::new(dir.path().join("conformance.redb"));
    let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
    Some(Opened { store, _dir: Some(dir) })
}

/// A handle to the cluster named by `FDB_CLUSTER_FILE`; `None` if that is not set.
#[cfg(feature = "foundationdb")]
pub(crate) fn foundationdb() -> Option<Opened> {
    use coditect_store::{FoundationDb, FoundationDbOptions};
    let path = std::env::var_os("FDB_CLUSTER_FILE")?;
    let backend = FoundationDb::open(&FoundationDbOptions::new(path)).unwrap();
    let store = Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)));
    Some(Opened { store, _dir: None })
}

/// Runs a case on a store, and leaves nothing of it behind. Without a store it does nothing:
/// `foundationdb_half` has said so.
pub(crate) fn run(
    open: impl Fn() -> Option<Opened>,
    name: &str,
    case: impl FnOnce(Case) -> BoxFuture<'static, ()>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let opened = open()?;
        let prefix = format!("{ROOT}/{name}/").into_bytes();
        clear(&opened.store, &prefix).await.unwrap();
        let ran = case(Case { store: opened.store.clone(), prefix: prefix.clone() });
        let ran = AssertUnwindSafe(tokio::time::timeout(CASE_DEADLINE, ran)).catch_unwind().await;
        let cleared = match clear(&opened.store, &prefix).await {
            // The case was about closing.
            Err(StoreError::Closed) => match opened._dir {
                Some(_) => Ok(()),
                None => clear(&open()?.store, &prefix).await,
            },
            cleared => cleared,
        };
        Some((ran, cleared))
    });
    let Some((ran, cleared)) = outcome else { return };
    match ran {
        Ok(Ok(())) => cleared.unwrap(),
        Ok(Err(_)) => panic!("{name} did not end within {CASE_DEADLINE:?}"),
        Err(panic) => resume_unwind(panic as Box<dyn Any + Send>),
    }
}

async fn clear(store: &Store, prefix: &[u8]) -> Result<(), StoreError> {
    let KeySpan { begin, end } = &span(prefix);
    store.run(&RetryPolicy::idempotent(), |t| async move { t.clear_range(begin.clone(), end.clone()) }).await
}
