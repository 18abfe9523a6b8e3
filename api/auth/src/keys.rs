//! The secret that signs tokens.

use crate::Entropy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The fewest bytes a secret may have: HMAC-SHA-256 wants as many as its output (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// How many random bytes a generated secret holds.
const GENERATED_BYTES: usize = 48;
/// More than this in the key file is not a key of ours.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// Why there is no usable signing secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The secret is too short to be safe.
    #[error(
        "the signing secret has {0} bytes; HS256 needs at least {MIN_SECRET_BYTES} (RFC 7518, 3.2). Make one with `openssl rand -base64 48`"
    )]
    TooShort(usize),
    /// The key file can be read by others.
    #[error(
        "{path} has mode {mode:o}; a signing key must be readable by its owner only. Run `chmod 600 {path}`"
    )]
    Readable {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file holds something else.
    #[error("{0} is not a signing key: expected one line of text, at most {MAX_FILE_BYTES} bytes")]
    NotAKey(PathBuf),
    /// The file system refused.
    #[error("cannot {what} the signing key {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The key file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// An HS256 secret. Its bytes are wiped on drop and never printed.
#[derive(Clone)]
pub struct SigningSecret(SecretString);

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}

impl SigningSecret {
    /// Takes a secret from the configuration (`JWT_SECRET`), its bytes as they stand.
    ///
    /// # Errors
    /// [`KeyError::TooShort`] below 32 bytes.
    pub fn new(secret: SecretString) -> Result<Self, KeyError> {
        let length = secret.expose_secret().len();
        if length < MIN_SECRET_BYTES {
            return Err(KeyError::TooShort(length));
        }
        Ok(Self(secret))
    }

    /// Reads the secret at `path`, or makes one there, readable by its owner only, where there is none.
    ///
    /// The second value tells whether it was made.
    ///
    /// # Errors
    /// A file that others can read, that is empty or too short, or a file system that refuses. An existing file is
    /// never overwritten.
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<(Self, bool), KeyError> {
        match Self::load(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Self::create(path, entropy)?;
                Self::load(path).map(|secret| (secret, true))
            }
            loaded => loaded.map(|secret| (secret, false)),
        }
    }

    /// Reads the secret at `path`; `None` where there is none.
    ///
    /// # Errors
    /// As [`load_or_create`](Self::load_or_create).
    pub fn load_if_there(path: &Path) -> Result<Option<Self>, KeyError> {
        match Self::load(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            loaded => loaded.map(Some),
        }
    }

    fn load(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { what: "read", path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(io)?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned(), mode });
        }
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err(KeyError::NotAKey(path.to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|source| match source.kind() {
            ErrorKind::InvalidData => KeyError::NotAKey(path.to_owned()),
            _ => io(source),
        })?;
        Self::new(SecretString::from(text.trim_end().to_owned()))
    }

    /// Writes a new secret under another name first, so that no half-written key is ever found at `path`.
    fn create(path: &Path, entropy: &dyn Entropy) -> Result<(), KeyError> {
        let io = |source| KeyError::Io { what: "create", path: path.to_owned(), source };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io)?;
        }
        let mut bytes = zeroize::Zeroizing::new([0u8; GENERATED_BYTES]);
        entropy.fill(&mut *bytes);
        let text = zeroize::Zeroizing::new(STANDARD_NO_PAD.encode(*bytes) + "\n");

        let temporary = path.with_extension(format!("{}.tmp", entropy.uuid()));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            // A hard link fails where the name exists: another process that was faster keeps its key.
            .and_then(|()| match fs::hard_link(&temporary, path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            });
        let removed = fs::remove_file(&temporary);
        written.and(removed).map_err(io)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::SystemEntropy;

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_then_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/signing.key");
        let (first, made) = SigningSecret::load_or_create(&path, &SystemEntropy).unwrap();
        assert!(made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (second, made) = SigningSecret::load_or_create(&path, &SystemEntropy).unwrap();
        assert!(!made);
        assert_eq!(first.bytes(), second.bytes());
        assert_eq!(fs::read_dir(dir.path().join("state")).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_key_others_can_read_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signing.key");
        fs::write(&path, "x".repeat(48)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = SigningSecret::load_or_create(&path, &SystemEntropy).unwrap_err();
        assert!(matches!(refused, KeyError::Readable { mode: 0o644, .. }), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "x".repeat(48));
    }

    #[test]
    fn a_short_secret_is_refused() {
        let refused = SigningSecret::new(SecretString::from("x".repeat(31))).unwrap_err();
        assert!(matches!(refused, KeyError::TooShort(31)));
        SigningSecret::new(SecretString::from("x".repeat(32))).unwrap();
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = SigningSecret::new(SecretString::from("s3cret".repeat(8))).unwrap();
        assert!(!format!("{secret:?}").contains("s3cret"));
    }
}
