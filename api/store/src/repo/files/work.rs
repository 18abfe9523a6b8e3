//! What one transaction does to the files of a workspace: every change goes through [`Work`], which keeps versions,
//! references to contents and the tenant's counters in step with the files.

use std::collections::HashSet;

use uuid::Uuid;

use super::FileError;
use super::entry::{by_path, find};
use super::versions::{Retention, last_number, overdue};
use crate::blobs::{BlobError, BlobHash, add_reference, add_reference_from, remove_reference};
use crate::contract::RangeRead;
use crate::file_path::{self, ancestors};
use crate::keyspace::{TenantFamily, TenantScope};
use crate::records::{Content, FIRST_VERSION, File, FileVersion, SessionStatus};
use crate::repo::indexed::{change, replace};
use crate::repo::usage::{self, Delta};
use crate::repo::{Context, sessions};
use crate::transaction::Transaction;

/// Where a transaction that commits in parts stops, in bytes: well below its limit, with room for one file more.
const FULL_BYTES: usize = 4 << 20;

/// One transaction's changes to the files of one workspace. Must not happen twice. Nothing counts before
/// [`Work::settle`].
pub(super) struct Work<'a> {
    context: &'a Context,
    transaction: &'a Transaction,
    scope: &'a TenantScope,
    session: Uuid,
    /// Unix milliseconds.
    now: i64,
    retention: Retention,
    delta: Delta,
    /// Directories of which it is known that no file is in their place.
    directories: HashSet<String>,
}

impl<'a> Work<'a> {
    /// Begins to work on a workspace.
    ///
    /// # Errors
    ///
    /// [`FileError::NoWorkspace`] if there is none, or it is being removed; [`FileError::Forking`] while it is still being
    /// copied.
    pub(super) async fn begin(
        context: &'a Context,
        transaction: &'a Transaction,
        scope: &'a TenantScope,
        session: Uuid,
        now: i64,
    ) -> Result<Self, FileError> {
        let workspace = sessions::live(transaction, scope, session).await?.ok_or(FileError::NoWorkspace)?;
        if workspace.status == SessionStatus::Forking {
            return Err(FileError::Forking);
        }
        let retention = Retention::load(transaction, scope).await?;
        Ok(Self::of_any(context, transaction, scope, session, now, retention))
    }

    /// Begins to work on a workspace that may be being removed.
    pub(super) fn of_any(
        context: &'a Context,
        transaction: &'a Transaction,
        scope: &'a TenantScope,
        session: Uuid,
        now: i64,
        retention: Retention,
    ) -> Self {
        let (delta, directories) = (Delta::default(), HashSet::new());
        Self { context, transaction, scope, session, now, retention, delta, directories }
    }

    /// Whether the transaction has become so large that the rest should be left to another one.
    pub(super) fn is_full(&self) -> bool {
        self.transaction.size_bytes() >= FULL_BYTES
    }

    /// Whether what is replaced becomes a version.
    pub(super) fn keeps_versions(&self) -> bool {
        self.retention.keep > 0
    }

    /// The file at a path.
    pub(super) async fn find(&self, path: &str) -> Result<Option<File>, FileError> {
        Ok(find(self.transaction, self.scope, self.session, path).await?)
    }

    /// Writes a content to a path, where `old` is.
    pub(super) async fn put(
        &mut self,
        path: &str,
        old: Option<&File>,
        content: Content,
    ) -> Result<File, FileError> {
        match old {
            Some(old) => self.replace(old, content).await,
            None => self.create(path, content).await,
        }
    }

    /// Creates a file where there is none.
    pub(super) async fn create(&mut self, path: &str, content: Content) -> Result<File, FileError> {
        self.check_place(path).await?;
        let new = File {
            id: self.context.entropy.uuid(),
            tenant_id: self.scope.id(),
            session_id: self.session,
            path: path.to_owned(),
            content,
            created_at: self.now,
            updated_at: self.now,
            version: self.next_version(path, 0).await?,
        };
        self.hold(&content.sha256, new.id).await?;
        replace(self.transaction, &self.context.keys, self.scope, None, Some(&new)).await?;
        self.delta.files += 1;
        self.delta.file_bytes += signed(content.size);
        Ok(new)
    }

    /// Replaces a file's content; what it held becomes a version. The same content again is no change.
    async fn replace(&mut self, old: &File, content: Content) -> Result<File, FileError> {
        let now = self.now;
        let new = change(self.transaction, &self.context.keys, self.scope, old, |file| {
            if file.content != content {
                file.content = content;
                file.updated_at = now;
            }
        })
        .await?;
        if new.content.sha256 != old.content.sha256 {
            self.hold(&content.sha256, new.id).await?;
            self.keep(old).await?;
            self.let_go(&old.content.sha256, old.id).await?;
            self.delta.file_bytes += signed(content.size) - signed(old.content.size);
        }
        Ok(new)
    }

    /// Removes a file; what it held becomes a version.
    pub(super) async fn remove(&mut self, old: &File) -> Result<(), FileError> {
        self.keep(old).await?;
        self.erase(old).await
    }

    /// Removes a file and leaves nothing.
    pub(super) async fn erase(&mut self, old: &File) -> Result<(), FileError> {
        replace(self.transaction, &self.context.keys, self.scope, Some(old), None).await?;
        self.let_go(&old.content.sha256, old.id).await?;
        self.delta.files -= 1;
        self.delta.file_bytes -= signed(old.content.size);
        Ok(())
    }

    /// Moves a file to another path; what is there is replaced if it may be. Versions stay with their paths.
    pub(super) async fn relocate(&mut self, old: &File, to: &str, replaced: bool) -> Result<File, FileError> {
        match self.find(to).await? {
            Some(other) if other.id == old.id => return Ok(other),
            Some(_) if !replaced => return Err(FileError::Taken { path: to.to_owned() }),
            Some(other) => self.remove(&other).await?,
            None => self.check_place(to).await?,
        }
        // `change` counts one up.
        let before = self.next_version(to, old.version + 1).await? - 1;
        let now = self.now;
        let old = File { version: before, ..old.clone() };
        Ok(change(self.transaction, &self.context.keys, self.scope, &old, |file| {
            to.clone_into(&mut file.path);
            file.updated_at = now;
        })
        .await?)
    }

    /// Removes a version.
    pub(super) async fn forget(&mut self, version: &FileVersion) -> Result<(), FileError> {
        replace(self.transaction, &self.context.keys, self.scope, Some(version), None).await?;
        self.let_go(&version.content.sha256, version.id).await?;
        self.delta.version_bytes -= signed(version.content.size);
        Ok(())
    }

    /// Counts what was done.
    ///
    /// # Errors
    ///
    /// [`FileError::QuotaExceeded`] if it is more than the tenant may have.
    pub(super) async fn settle(self) -> Result<(), FileError> {
        usage::count(self.transaction, self.scope, self.context.quota, self.delta).await
    }

    /// Keeps what a file holds as a version, and forgets those beyond what is to be kept.
    async fn keep(&mut self, old: &File) -> Result<(), FileError> {
        if self.retention.keep > 0 {
            let version = FileVersion {
                id: self.context.entropy.uuid(),
                tenant_id: old.tenant_id,
                session_id: old.session_id,
                path: old.path.clone(),
                version: old.version,
                content: old.content,
                updated_at: old.updated_at,
                replaced_at: self.now,
            };
            let hash = &version.content.sha256;
            match add_reference_from(self.transaction, self.scope, hash, version.id, version.place()).await {
                Ok(_) => {
                    replace(self.transaction, &self.context.keys, self.scope, None, Some(&version)).await?;
                    self.delta.version_bytes += signed(version.content.size);
                }
                // Its content is lost: that must not keep the file from being replaced.
                Err(BlobError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for due in
            overdue(self.transaction, self.scope, &self.retention, self.session, &old.path, self.now).await?
        {
            self.forget(&due).await?;
        }
        Ok(())
    }

    /// A number above that of every version kept of a path, and at least `least`.
    async fn next_version(&self, path: &str, least: u64) -> Result<u64, FileError> {
        let last = last_number(self.transaction, self.scope, self.session, path).await?;
        Ok(last.saturating_add(1).max(least).max(FIRST_VERSION))
    }

    /// Whether a file can be created at a path. What is read here is checked at commit: of two who would make a
    /// file and a directory of the same name at once, one tries again and is refused.
    pub(super) async fn check_place(&mut self, path: &str) -> Result<(), FileError> {
        file_path::check(path)?;
        for directory in ancestors(path) {
            if self.directories.contains(directory) {
                break;
            }
            if self.transaction.get(by_path(self.scope, self.session, directory)).await?.is_some() {
                return Err(FileError::Occupied { path: directory.to_owned(), is_file: true });
            }
            self.directories.insert(directory.to_owned());
        }
        let below = self
            .scope
            .branch(TenantFamily::FilesByPath, &(self.session,))
            .span_of_text(&file_path::prefix(path));
        let first = self.transaction.range(RangeRead::new(below.begin, below.end, 1)).await?;
        if first.rows.is_empty() {
            Ok(())
        } else {
            Err(FileError::Occupied { path: path.to_owned(), is_file: false })
        }
    }

    async fn hold(&self, hash: &BlobHash, owner: Uuid) -> Result<(), FileError> {
        add_reference(self.transaction, self.scope, hash, owner).await?;
        Ok(())
    }

    async fn let_go(&self, hash: &BlobHash, owner: Uuid) -> Result<(), FileError> {
        remove_reference(self.transaction, self.scope, hash, owner, self.now).await?;
        Ok(())
    }
}

/// A size as a change of a counter; no blob is nearly so large.
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
