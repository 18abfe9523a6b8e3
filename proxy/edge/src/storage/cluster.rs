//! Opening FoundationDB as the configuration says.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use coditect_config::FoundationDbConfig;
use coditect_store::contract::Backend;
use coditect_store::{FoundationDb, FoundationDbOptions, NetworkOptions, TlsOptions};
use secrecy::SecretString;

use super::connect::{self, RETRY_PAUSE};

/// The environment variable with the password of the TLS key: the client library's own name for it.
const TLS_PASSWORD: &str = "FDB_TLS_PASSWORD";

/// Opens the cluster and waits until it answers.
pub(super) async fn open(config: &FoundationDbConfig, file: &Path) -> anyhow::Result<Arc<dyn Backend>> {
    let options = FoundationDbOptions {
        cluster_file: file.to_owned(),
        transaction_timeout: config.transaction_timeout,
        network: NetworkOptions {
            trace_dir: config.trace_dir.clone(),
            tls: TlsOptions {
                cert: config.tls_cert.clone(),
                key: config.tls_key.clone(),
                ca: config.tls_ca.clone(),
                verify_peers: config.tls_verify_peers.clone(),
                password: tls_password()?,
            },
        },
    };
    let backend = FoundationDb::open(&options).context("FoundationDB cannot be opened")?;
    connect::until_it_answers(&backend, file, config.connect_timeout, RETRY_PAUSE).await?;
    Ok(Arc::new(backend))
}

fn tls_password() -> anyhow::Result<Option<SecretString>> {
    match std::env::var(TLS_PASSWORD) {
        Ok(password) if !password.is_empty() => Ok(Some(password.into())),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
        // The variable's content is no business of an error's.
        Err(std::env::VarError::NotUnicode(_)) => bail!("{TLS_PASSWORD} is not UTF-8"),
    }
}
