//! The files of workspaces: which paths there are, and which content each has and had. The content itself is kept by
//! its digest; a file, or a version of one, holds on to it by a reference.
//!
//! That the workspace is the caller's is for the caller to know. Nobody else may be told its id.

mod condition;
mod entry;
mod error;
mod list;
mod prune;
mod trees;
mod versions;
mod work;

use uuid::Uuid;

pub use self::condition::Condition;
pub(crate) use self::entry::{Referrer, file_key};
pub use self::error::FileError;
pub use self::list::DirectoryEntry;
pub use self::prune::{Pruned, VersionPruner};
pub(super) use self::trees::remove_some;
pub use self::trees::{Move, Part};
pub use self::versions::{MAX_KEPT_VERSIONS, MAX_VERSION_DAYS, RETENTION_SETTING, Retention};
use self::work::Work;
use super::{Context, usage};
use crate::blobs::Upload;
use crate::error::StoreError;
use crate::file_path;
use crate::keyspace::TenantScope;
use crate::records::{Content, File};

/// The files of workspaces.
pub struct Files<'a> {
    context: &'a Context,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As it is now.
    pub file: File,
    /// Whether there was none at its path.
    pub created: bool,
}

/// What a caller may know before the content of a file has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// What is at the path.
    pub file: Option<File>,
    /// How many bytes the content may have for all that is known now.
    pub room: u64,
    /// The tenant's quota of bytes.
    pub quota: u64,
}

impl Admission {
    /// Why a content that is larger than [`Admission::room`] is refused.
    pub fn exceeded(&self) -> FileError {
        usage::bytes_exceeded(self.quota)
    }
}

impl<'a> Files<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Says whether a content may be written to a path, before any of it has come. What it says can have changed
    /// once it has: [`Files::finish`] decides.
    ///
    /// # Errors
    ///
    /// As [`Files::finish`].
    pub async fn admit(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        condition: &Condition,
    ) -> Result<Admission, FileError> {
        file_path::check(path)?;
        let scope = &self.scope(tenant);
        self.context
            .run(|transaction| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, 0).await?;
                let file = work.find(path).await?;
                condition.check(file.as_ref())?;
                if file.is_none() {
                    work.check_place(path).await?;
                }
                let quota = usage::quota(&transaction, scope, self.context.quota).await?;
                let (bytes, files) = usage::room(&usage::used(&transaction, scope, false).await?, quota);
                if files == 0 && file.is_none() {
                    return Err(FileError::QuotaExceeded { limit: quota.files, what: "files" });
                }
                // What is replaced without a version makes room.
                let freed =
                    file.as_ref().filter(|_| !work.keeps_versions()).map_or(0, |file| file.content.size);
                Ok(Admission { file, room: bytes.saturating_add(freed), quota: quota.bytes })
            })
            .await
    }

    /// Creates the file at a path, or replaces its content, with what was uploaded, at `now` (Unix milliseconds).
    /// Without `executable` it stays as executable as it is. What it held becomes a version. All of it happens in
    /// the transaction that makes the content visible.
    ///
    /// # Errors
    ///
    /// [`FileError::NoWorkspace`], [`FileError::Path`], [`FileError::Precondition`], [`FileError::Occupied`],
    /// [`FileError::QuotaExceeded`], and the upload's own.
    ///
    /// Not cancel safe: a dropped call may or may not have written the file.
    #[allow(clippy::too_many_arguments, reason = "one operation of the API, and each argument is its")]
    pub async fn finish(
        &self,
        upload: Upload,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        executable: Option<bool>,
        condition: &Condition,
        now: i64,
    ) -> Result<Written, FileError> {
        file_path::check(path)?;
        let scope = &self.scope(tenant);
        upload
            .finish_with(|transaction, blob| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, now).await?;
                let old = work.find(path).await?;
                condition.check(old.as_ref())?;
                let was = old.as_ref().is_some_and(|old| old.content.executable);
                let executable = executable.unwrap_or(was);
                let content = Content { sha256: blob.hash, size: blob.size, executable };
                let file = work.put(path, old.as_ref(), content).await?;
                work.settle().await?;
                Ok(Written { file, created: old.is_none() })
            })
            .await
    }

    /// As [`Files::finish`], with a content that the tenant has already.
    ///
    /// # Errors
    ///
    /// Also [`FileError::Blob`] if it does not.
    pub async fn put(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        content: Content,
        condition: &Condition,
        now: i64,
    ) -> Result<Written, FileError> {
        file_path::check(path)?;
        let scope = &self.scope(tenant);
        self.context
            .once(|transaction| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, now).await?;
                let old = work.find(path).await?;
                condition.check(old.as_ref())?;
                let file = work.put(path, old.as_ref(), content).await?;
                work.settle().await?;
                Ok(Written { file, created: old.is_none() })
            })
            .await
    }

    /// The file at a path.
    pub async fn get(&self, tenant: Uuid, session: Uuid, path: &str) -> Result<Option<File>, StoreError> {
        let scope = &self.scope(tenant);
        self.context
            .run(|transaction| async move { entry::find(&transaction, scope, session, path).await })
            .await
    }

    /// Removes the file at a path at `now` (Unix milliseconds); returns it as it was. It becomes a version.
    ///
    /// # Errors
    ///
    /// [`FileError::NotFound`] if there is none, [`FileError::Precondition`] if it is another one than expected.
    pub async fn delete(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        condition: &Condition,
        now: i64,
    ) -> Result<File, FileError> {
        let scope = &self.scope(tenant);
        self.context
            .once(|transaction| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, now).await?;
                let old = work.find(path).await?;
                condition.check(old.as_ref())?;
                let old = old.ok_or(FileError::NotFound)?;
                work.remove(&old).await?;
                work.settle().await?;
                Ok(old)
            })
            .await
    }

    fn scope(&self, tenant: Uuid) -> TenantScope {
        self.context.keys.tenant(tenant)
    }
}
