//! Opening the store that the configuration and the environment name.

use std::sync::Arc;

use anyhow::bail;
use coditect_auth::Entropy;
use coditect_config::Config;
use coditect_store::{Embedded, EmbeddedOptions, Keyspace, Store, SystemMonotonicClock};

/// All keys of the edge start with this, in whatever store.
const KEY_ROOT: &str = "coditect";

/// An open store, and where in it the edge's keys lie.
pub(crate) struct Storage {
    pub(crate) store: Store,
    pub(crate) keys: Keyspace,
    /// What it is and where, for people.
    pub(crate) description: String,
}

/// Opens the store: FoundationDB where a cluster file is named, the embedded file otherwise.
pub(crate) async fn open(config: &Config, entropy: Arc<dyn Entropy>) -> anyhow::Result<Storage> {
    if std::env::var_os("FDB_CLUSTER_FILE").is_some_and(|file| !file.is_empty()) {
        bail!(
            "FDB_CLUSTER_FILE is set, but this build has no FoundationDB backend yet. \
             Unset it to use the embedded store at {}",
            config.store.path.display()
        );
    }
    let options = EmbeddedOptions::from(&config.store);
    let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new()))?;
    Ok(Storage {
        store: Store::new(Arc::new(backend), entropy),
        keys: Keyspace::new(KEY_ROOT),
        description: format!("{} (embedded)", config.store.path.display()),
    })
}
