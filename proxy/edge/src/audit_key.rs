//! The key that signs the heads of audit trails: Ed25519 (RFC 8032), in a file of its own, used for nothing else.

use anyhow::{Context, bail};
use coditect_auth::Entropy;
use ed25519_dalek::{SECRET_KEY_LENGTH, Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// More than this in the key file is not a key of ours, in bytes.
const MAX_FILE_BYTES: u64 = 1024;
/// Hexadecimal digits of a key's id.
const ID_DIGITS: usize = 16;

/// The private key. Its bytes are wiped on drop and never printed.
pub(crate) struct AuditKey(SigningKey);

/// The public key, with which anybody can check heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditPublicKey(VerifyingKey);

impl AuditKey {
    /// Reads the key, or makes one, readable by its owner only, where there is none. The second value tells whether it
    /// was made.
    ///
    /// # Errors
    /// A file that others can read or that is no such key, or a file system that refuses. An existing file is never
    /// overwritten.
    pub(crate) fn load_or_create(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<(Self, bool)> {
        let made = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, entropy)
                .with_context(|| format!("cannot make the audit key {}", path.display()))?,
            _ => false,
        };
        Self::load(path).map(|key| (key, made))
    }

    /// Reads the key.
    ///
    /// # Errors
    /// As [`Self::load_or_create`], and that there is none.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let read = || format!("cannot read the audit key {}", path.display());
        let metadata = fs::metadata(path).with_context(read)?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!(
                "{path} has mode {mode:o}; the audit key must be readable by its owner only. Run `chmod 600 {path}`",
                path = path.display()
            );
        }
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            bail!("{} is no audit key: expected one line of 64 hexadecimal digits", path.display());
        }
        let text = Zeroizing::new(fs::read_to_string(path).with_context(read)?);
        let mut secret = Zeroizing::new([0; SECRET_KEY_LENGTH]);
        hex::decode_to_slice(text.trim_end(), &mut *secret).map_err(|_| {
            anyhow::anyhow!("{} is no audit key: expected one line of 64 hexadecimal digits", path.display())
        })?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Signs a message; the signature as hexadecimal digits.
    pub(crate) fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.0.sign(message).to_bytes())
    }

    /// Its public half.
    pub(crate) fn public(&self) -> AuditPublicKey {
        AuditPublicKey(self.0.verifying_key())
    }
}

impl AuditPublicKey {
    /// Reads a key that was printed.
    ///
    /// # Errors
    /// It is no Ed25519 public key.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut bytes = [0; 32];
        let wrong = "a public audit key has 64 hexadecimal digits, as `coditect-edge audit key` prints it";
        hex::decode_to_slice(text.trim(), &mut bytes).ok().context(wrong)?;
        Ok(Self(VerifyingKey::from_bytes(&bytes).context(wrong)?))
    }

    /// As hexadecimal digits.
    pub(crate) fn text(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// A short name for it: the first digits of its SHA-256.
    pub(crate) fn id(&self) -> String {
        let mut digits = hex::encode(Sha256::digest(self.0.as_bytes()));
        digits.truncate(ID_DIGITS);
        digits
    }

    /// Whether the signature, as hexadecimal digits, is this key's of the message.
    pub(crate) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let mut bytes = [0; 64];
        hex::decode_to_slice(signature, &mut bytes).is_ok()
            && self.0.verify_strict(message, &Signature::from_bytes(&bytes)).is_ok()
    }
}

/// Writes a new key under another name first, so that no half-written key is ever found; false if another process was
/// faster.
fn create(path: &Path, entropy: &dyn Entropy) -> io::Result<bool> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut secret = Zeroizing::new([0; SECRET_KEY_LENGTH]);
    entropy.fill(&mut *secret);
    let text = Zeroizing::new(hex::encode(*secret) + "\n");
    let temporary = path.with_extension(format!("{}.tmp", entropy.uuid()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        // Unlike a rename, a link replaces nothing.
        .and_then(|()| fs::hard_link(&temporary, path));
    drop(fs::remove_file(&temporary));
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        written => written.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use coditect_auth::SeededEntropy;

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_signs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/audit.key");
        let entropy = SeededEntropy::new(3);
        assert!(AuditKey::load(&path).is_err());
        let (made, is_new) = AuditKey::load_or_create(&path, &entropy).unwrap();
        let (again, is_new_again) = AuditKey::load_or_create(&path, &entropy).unwrap();
        assert!(is_new && !is_new_again);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");

        let public = AuditPublicKey::parse(&again.public().text()).unwrap();
        assert_eq!((&public, public.id().len()), (&made.public(), ID_DIGITS));
        let signature = made.sign(b"heads");
        assert!(public.verifies(b"heads", &signature));
        assert!(!public.verifies(b"Heads", &signature) && !public.verifies(b"heads", ""));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(AuditKey::load(&path).err().unwrap().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "nonsense").unwrap();
        assert!(AuditKey::load_or_create(&path, &entropy).is_err(), "what is there is not overwritten");
    }
}
