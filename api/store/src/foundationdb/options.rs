//! How to reach a FoundationDB cluster.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// How long a transaction may take when nothing else is said: as long as FoundationDB keeps its snapshot.
const DEFAULT_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);

/// How to open FoundationDB.
#[derive(Debug, Clone)]
pub struct FoundationDbOptions {
    /// The cluster file, which names the cluster's coordinators. The client library rewrites it when they change.
    pub cluster_file: PathBuf,
    /// How long a transaction may take, from its first read on, or else for its commit; at least 1 ms. It fails
    /// with [`crate::StoreError::TimedOut`] then, or with [`crate::StoreError::Unknown`] if it was committing.
    pub transaction_timeout: Duration,
    /// Settings of the whole process.
    pub network: NetworkOptions,
}

/// What holds for every FoundationDB of the process: its client library is set up once.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    /// Where the client library writes its trace files (JSON, at most 10 files of 10 MiB); nowhere if `None`.
    /// Made if it is not there.
    pub trace_dir: Option<PathBuf>,
    /// TLS to the cluster, if its addresses in the cluster file end in `:tls`.
    pub tls: TlsOptions,
}

/// TLS to the cluster. What is `None` the client library takes from its own environment variables and defaults
/// (`FDB_TLS_CERTIFICATE_FILE` and so on).
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Our certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The certificates of the authorities that are trusted, PEM.
    pub ca: Option<PathBuf>,
    /// What the servers' certificates must say, such as `Check.Valid=1,S.CN=fdb.example`; see "Peer
    /// verification" in FoundationDB's TLS guide.
    pub verify_peers: Option<String>,
    /// The password of the private key.
    pub password: Option<SecretString>,
}

impl FoundationDbOptions {
    /// The cluster of a cluster file, without TLS or traces of its own.
    pub fn new(cluster_file: impl Into<PathBuf>) -> Self {
        Self {
            cluster_file: cluster_file.into(),
            transaction_timeout: DEFAULT_TRANSACTION_TIMEOUT,
            network: NetworkOptions::default(),
        }
    }
}

impl PartialEq for NetworkOptions {
    fn eq(&self, other: &Self) -> bool {
        self.trace_dir == other.trace_dir && self.tls == other.tls
    }
}

impl PartialEq for TlsOptions {
    fn eq(&self, other: &Self) -> bool {
        let password = |tls: &Self| tls.password.as_ref().map(|secret| secret.expose_secret().to_owned());
        self.cert == other.cert
            && self.key == other.key
            && self.ca == other.ca
            && self.verify_peers == other.verify_peers
            && password(self) == password(other)
    }
}
