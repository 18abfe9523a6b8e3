//! Whose a workspace is, and the directory its shells work in.

use async_trait::async_trait;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Why a [`WorkspaceLookup`] could not answer.
#[derive(Debug, thiserror::Error)]
#[error("the workspace could not be looked up")]
pub struct LookupError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// Where it is known whose a workspace session is: the store.
#[async_trait]
pub trait WorkspaceLookup: Send + Sync {
    /// Whether the workspace `session` exists in `tenant` and belongs to `user`.
    ///
    /// Called for every terminal request, with a deadline of its own ([`crate::Timings::lookup`]).
    ///
    /// # Errors
    /// Where that cannot be determined; the request is then refused with 503.
    async fn owned(&self, tenant: Uuid, user: Uuid, session: Uuid) -> Result<bool, LookupError>;

    /// The same, for a terminal that is to be started, once more when it was, or attached to: a workspace that was paused is resumed by this, and
    /// one that cannot be used yet is not there.
    ///
    /// # Errors
    /// As [`Self::owned`].
    async fn open(&self, tenant: Uuid, user: Uuid, session: Uuid) -> Result<bool, LookupError> {
        self.owned(tenant, user, session).await
    }
}

/// The name of the temporary directory in a workspace.
pub(crate) const TEMPORARY: &str = ".tmp";

/// The directory of a workspace: `root/tenant/session`.
pub(crate) fn directory(root: &Path, tenant: Uuid, session: Uuid) -> io::Result<PathBuf> {
    let root = std::path::absolute(root)?;
    Ok(root.join(tenant.to_string()).join(session.to_string()))
}

/// Makes the directory of a workspace and what leads to it, each open to the edge's user only (0700).
///
/// Refuses a symbolic link in the place of the workspace's own directory: it would lead the shell elsewhere.
pub(crate) fn prepare(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if !fs::symlink_metadata(dir)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory but a symbolic link"));
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    match DirBuilder::new().mode(0o700).create(dir.join(TEMPORARY)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn directories_are_private_and_per_session() {
        let root = tempfile::tempdir().unwrap();
        let (tenant, one, two) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let first = directory(root.path(), tenant, one).unwrap();
        prepare(&first).unwrap();
        for dir in [first.as_path(), first.parent().unwrap()] {
            assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700, "{}", dir.display());
        }
        assert_ne!(first, directory(root.path(), tenant, two).unwrap());
    }

    #[test]
    fn a_directory_opened_to_others_is_closed_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = directory(root.path(), Uuid::from_u128(1), Uuid::from_u128(2)).unwrap();
        prepare(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        prepare(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let dir = directory(root.path(), Uuid::from_u128(1), Uuid::from_u128(2)).unwrap();
        fs::create_dir_all(dir.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &dir).unwrap();
        assert!(prepare(&dir).is_err());
    }
}
