//! What a starting edge signs tokens with: the key set, or else `JWT_SECRET`, or else the key file.

use super::watch::KeyWatcher;
use anyhow::{Context, bail};
use coditect_auth::{Clock, Entropy, KeySetFile, SigningSecret, TokenKeys};
use coditect_config::AuthConfig;
use secrecy::SecretString;
use std::env::VarError;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;

/// The keys of a running edge.
pub(crate) struct TokenSigning {
    pub(crate) keys: Arc<TokenKeys>,
    /// Keeps them as the key set's file has them.
    pub(crate) watcher: Option<KeyWatcher>,
    /// What signs, for people.
    pub(crate) told: String,
}

/// Reads the keys. Where there is a key set, a secret only verifies, and none is made. `asked` has the set read again.
pub(crate) fn token_signing(
    config: &AuthConfig,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
    asked: &Arc<Notify>,
) -> anyhow::Result<TokenSigning> {
    let secret = secret_of_environment()?;
    match &config.key_set {
        Some(path) => with_set(path, secret, config, clock, asked),
        None => with_secret(secret, config, entropy),
    }
}

fn with_set(
    path: &Path,
    secret: Option<SigningSecret>,
    config: &AuthConfig,
    clock: &Arc<dyn Clock>,
    asked: &Arc<Notify>,
) -> anyhow::Result<TokenSigning> {
    let (former, name) = match secret {
        Some(secret) => (Some(secret), "JWT_SECRET".to_owned()),
        None => (SigningSecret::load_if_there(&config.key_file)?, config.key_file.display().to_string()),
    };
    let file = KeySetFile::new(path);
    let (set, seen) = KeyWatcher::first(&file)?;
    let mut told = format!("signed with {} (key {})", path.display(), set.signing(clock.now()).kid());
    if former.is_some() {
        told += &format!("; what {name} has signed is still good");
    }
    let keys = Arc::new(TokenKeys::set(set, former.as_ref(), Arc::clone(clock)));
    let watcher = KeyWatcher::new(file, seen, Arc::clone(&keys), Arc::clone(asked));
    Ok(TokenSigning { keys, watcher: Some(watcher), told })
}

fn with_secret(
    secret: Option<SigningSecret>,
    config: &AuthConfig,
    entropy: &dyn Entropy,
) -> anyhow::Result<TokenSigning> {
    let (secret, told) = match secret {
        Some(secret) => (secret, "signed with JWT_SECRET".to_owned()),
        None => {
            let (secret, made) = SigningSecret::load_or_create(&config.key_file, entropy)?;
            let made = if made { " (made now; keep it)" } else { "" };
            (secret, format!("signed with {}{made}", config.key_file.display()))
        }
    };
    Ok(TokenSigning { keys: Arc::new(TokenKeys::secret(&secret)), watcher: None, told })
}

fn secret_of_environment() -> anyhow::Result<Option<SigningSecret>> {
    match std::env::var("JWT_SECRET") {
        Ok(secret) => SigningSecret::new(SecretString::from(secret)).map(Some).context("JWT_SECRET"),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => bail!("JWT_SECRET: {error}"),
    }
}
