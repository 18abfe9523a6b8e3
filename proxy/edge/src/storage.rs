//! Opening the store that the configuration and the environment name.

#[cfg(feature = "foundationdb")]
mod cluster;
#[cfg(any(test, feature = "foundationdb"))]
mod connect;

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use coditect_auth::Entropy;
use coditect_config::Config;
use coditect_store::contract::Backend;
use coditect_store::{Embedded, EmbeddedOptions, Keyspace, Store, SystemMonotonicClock, claim};

/// An open store, and where in it the edge's keys lie.
pub(crate) struct Storage {
    pub(crate) store: Store,
    pub(crate) keys: Keyspace,
    /// What it is and where, for people.
    pub(crate) description: String,
}

impl Storage {
    /// Makes sure that the keys under the root are the edge's, before anything is written there.
    pub(crate) async fn claim(&self) -> anyhow::Result<()> {
        Ok(claim(&self.store, &self.keys).await?)
    }
}

/// Opens the store, FoundationDB where a cluster file is named, the embedded file otherwise. Waits for a cluster
/// to answer, as long as the configuration says.
///
/// Cancellation safe: dropped, it leaves nothing behind.
pub(crate) async fn open(config: &Config, entropy: Arc<dyn Entropy>) -> anyhow::Result<Storage> {
    check(config)?;
    let root = &config.store.root;
    let (backend, description) = match &config.store.foundationdb.cluster_file {
        Some(file) => (
            open_cluster(config, file).await?,
            format!("{} (FoundationDB, keys under \"{root}\")", file.display()),
        ),
        None => (open_embedded(config)?, format!("{} (embedded)", config.store.path.display())),
    };
    let (store, keys) = (Store::new(backend, entropy), Keyspace::new(root));
    Ok(Storage { store, keys, description })
}

/// Whether the store is a FoundationDB cluster and no file.
pub(crate) fn names_cluster(config: &Config) -> bool {
    config.store.foundationdb.cluster_file.is_some()
}

/// Whether this build has the store that a configuration asks for.
///
/// # Errors
///
/// It asks for FoundationDB and the build has none. What to do is in the message.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    match &config.store.foundationdb.cluster_file {
        Some(file) if cfg!(not(feature = "foundationdb")) => bail!(
            "the store shall be FoundationDB ({}, from FDB_CLUSTER_FILE or [store.foundationdb] cluster_file), but \
             this build has no FoundationDB: build with `cargo build --features foundationdb`, or unset both to use \
             the embedded store at {}",
            file.display(),
            config.store.path.display()
        ),
        _ => Ok(()),
    }
}

/// Ends what a store needs beyond its closing. The process must call it last; a store cannot be opened after.
pub(crate) fn release() {
    #[cfg(feature = "foundationdb")]
    coditect_store::FoundationDb::stop_network();
}

fn open_embedded(config: &Config) -> anyhow::Result<Arc<dyn Backend>> {
    let options = EmbeddedOptions::from(&config.store);
    Ok(Arc::new(Embedded::open(&options, Arc::new(SystemMonotonicClock::new()))?))
}

#[cfg(feature = "foundationdb")]
async fn open_cluster(config: &Config, file: &Path) -> anyhow::Result<Arc<dyn Backend>> {
    cluster::open(&config.store.foundationdb, file).await
}

#[cfg(not(feature = "foundationdb"))]
async fn open_cluster(config: &Config, _: &Path) -> anyhow::Result<Arc<dyn Backend>> {
    check(config)?;
    bail!("this build has no FoundationDB")
}
