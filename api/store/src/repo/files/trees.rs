//! Work on many files at once: in parts, each of which is a transaction. Between two of them every file is where it
//! was or where it shall be, and a call that was cut off is gone on with by calling again.

use uuid::Uuid;

use super::entry::{file_id, file_key};
use super::versions::{Retention, forget};
use super::work::Work;
use super::{Condition, FileError, Files};
use crate::contract::{RangeRead, ReadMode};
use crate::error::StoreError;
use crate::file_path;
use crate::keyspace::{KeySpan, TenantFamily, TenantScope};
use crate::records::{File, SessionStatus};
use crate::repo::page::load_all;
use crate::repo::{Context, sessions};
use crate::transaction::Transaction;

/// The most files changed in one transaction; fewer where their paths are long.
const FILES_AT_ONCE: usize = 200;

/// From where to where something is moved.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    /// The file or directory.
    pub from: &'a str,
    /// Its new path.
    pub to: &'a str,
    /// Whether files at the new path are replaced.
    pub replace: bool,
}

/// A part of a larger work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How many files it was about.
    pub files: usize,
    /// Where the next part begins; absent if this was the last.
    pub next: Option<String>,
}

impl Files<'_> {
    /// Moves a file to another path of its workspace at `now` (Unix milliseconds), in one transaction; it stays the
    /// same file. What it replaces becomes a version.
    ///
    /// # Errors
    ///
    /// [`FileError::NotFound`] if there is no file at the old path, [`FileError::Taken`] if there is one at the new
    /// path that may not be replaced, [`FileError::Occupied`] if that cannot be a file's.
    pub async fn move_file(
        &self,
        tenant: Uuid,
        session: Uuid,
        how: Move<'_>,
        condition: &Condition,
        now: i64,
    ) -> Result<File, FileError> {
        let scope = &self.scope(tenant);
        file_path::check(how.to)?;
        self.context
            .once(|transaction| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, now).await?;
                let old = work.find(how.from).await?;
                condition.check(old.as_ref())?;
                let old = old.ok_or(FileError::NotFound)?;
                if file_path::is_below(how.to, how.from) {
                    return Err(FileError::Nested);
                }
                let file = work.relocate(&old, how.to, how.replace).await?;
                work.settle().await?;
                Ok(file)
            })
            .await
    }

    /// Moves some of what lies below a directory, at `now` (Unix milliseconds), from the path after `after` on.
    /// What is at the new place already stays, unless a file of the same path replaces it.
    ///
    /// # Errors
    ///
    /// As [`Files::move_file`]; what earlier parts have moved stays moved.
    pub async fn move_some(
        &self,
        tenant: Uuid,
        session: Uuid,
        how: Move<'_>,
        after: Option<&str>,
        now: i64,
    ) -> Result<Part, FileError> {
        let scope = &self.scope(tenant);
        for (path, other) in [(how.from, how.to), (how.to, how.from)] {
            file_path::check(path)?;
            if path == other || file_path::is_below(path, other) {
                return Err(FileError::Nested);
            }
        }
        self.context
            .once(|transaction| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, now).await?;
                let (files, mut more) = files(&transaction, scope, session, how.from, after).await?;
                let mut done = Part { files: 0, next: None };
                let mut last = None;
                for file in files {
                    if work.is_full() {
                        more = true;
                        break;
                    }
                    let rest = file.path.strip_prefix(how.from).unwrap_or_default();
                    work.relocate(&file, &format!("{}{rest}", how.to), how.replace).await?;
                    done.files += 1;
                    last = Some(file.path);
                }
                work.settle().await?;
                done.next = last.filter(|_| more);
                Ok(done)
            })
            .await
    }

    /// Removes some of what lies below a directory (`""` is the whole workspace), at `now` (Unix milliseconds). Each
    /// file becomes a version.
    pub async fn delete_some(
        &self,
        tenant: Uuid,
        session: Uuid,
        directory: &str,
        after: Option<&str>,
        now: i64,
    ) -> Result<Part, FileError> {
        let scope = &self.scope(tenant);
        self.context
            .once(|transaction| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, now).await?;
                let (files, mut more) = files(&transaction, scope, session, directory, after).await?;
                let mut done = Part { files: 0, next: None };
                let mut last = None;
                for file in files {
                    if work.is_full() {
                        more = true;
                        break;
                    }
                    work.remove(&file).await?;
                    done.files += 1;
                    last = Some(file.path);
                }
                work.settle().await?;
                done.next = last.filter(|_| more);
                Ok(done)
            })
            .await
    }

    /// Copies some of a workspace's files to another workspace of the tenant at `now` (Unix milliseconds), from the
    /// path after `after` on; returns where to go on, `None` once all are copied. The contents are shared, versions
    /// stay behind. A path that the other workspace has already is left as it is there, so that a part may be
    /// copied twice.
    ///
    /// # Errors
    ///
    /// [`FileError::NoWorkspace`] if either is missing, [`FileError::QuotaExceeded`] if the tenant may not have so
    /// much: then this part was not copied.
    pub async fn copy_some(
        &self,
        tenant: Uuid,
        from: Uuid,
        to: Uuid,
        after: Option<&str>,
        now: i64,
    ) -> Result<Option<String>, FileError> {
        self.copy_part(tenant, from, to, after, now, false).await
    }

    /// As [`Self::copy_some`], into a workspace that is being forked from the other one. Once it is no more, somebody
    /// else has copied all: then this does nothing.
    pub(in crate::repo) async fn fork_some(
        &self,
        tenant: Uuid,
        from: Uuid,
        to: Uuid,
        after: Option<&str>,
        now: i64,
    ) -> Result<Option<String>, FileError> {
        self.copy_part(tenant, from, to, after, now, true).await
    }

    async fn copy_part(
        &self,
        tenant: Uuid,
        from: Uuid,
        to: Uuid,
        after: Option<&str>,
        now: i64,
        forking: bool,
    ) -> Result<Option<String>, FileError> {
        let scope = &self.scope(tenant);
        self.context
            .once(|transaction| async move {
                // That the source is there is checked too: it must not be removed meanwhile.
                sessions::live(&transaction, scope, from).await?.ok_or(FileError::NoWorkspace)?;
                let target = sessions::live(&transaction, scope, to).await?.ok_or(FileError::NoWorkspace)?;
                match (target.status == SessionStatus::Forking, forking) {
                    (true, true) | (false, false) => {}
                    (false, true) => return Ok(None),
                    (true, false) => return Err(FileError::Forking),
                }
                let retention = Retention::load(&transaction, scope).await?;
                let mut work = Work::of_any(self.context, &transaction, scope, to, now, retention);
                let (files, mut more) = files(&transaction, scope, from, "", after).await?;
                let mut last = None;
                for file in files {
                    if work.is_full() {
                        more = true;
                        break;
                    }
                    if work.find(&file.path).await?.is_none() {
                        work.create(&file.path, file.content).await?;
                    }
                    last = Some(file.path);
                }
                work.settle().await?;
                Ok(last.filter(|_| more))
            })
            .await
    }
}

/// The first files below a directory after a path, and whether there are more; checked at commit.
async fn files(
    transaction: &Transaction,
    scope: &TenantScope,
    session: Uuid,
    directory: &str,
    after: Option<&str>,
) -> Result<(Vec<File>, bool), StoreError> {
    let index = scope.branch(TenantFamily::FilesByPath, &(session,));
    let mut span = index.span_of_text(&file_path::prefix(directory));
    if let Some(after) = after {
        span = span.beyond(&index.key(&(after,)), false);
    }
    in_span(transaction, scope, span).await
}

async fn in_span(
    transaction: &Transaction,
    scope: &TenantScope,
    span: KeySpan,
) -> Result<(Vec<File>, bool), StoreError> {
    let KeySpan { begin, end } = span;
    let read = RangeRead { begin, end, limit: FILES_AT_ONCE, reverse: false, mode: ReadMode::Serializable };
    let page = transaction.range(read).await?;
    let ids = page.rows.iter().map(|row| file_id(&row.value)).collect::<Result<Vec<_>, _>>()?;
    let files = load_all(transaction, ids.iter().map(|id| file_key(scope, *id))).await?;
    Ok((files, page.more))
}

/// Removes some of a workspace's files, then of their versions; true if none is left. The workspace is being removed
/// already, so nobody adds any.
pub(in crate::repo) async fn remove_some(
    context: &Context,
    transaction: &Transaction,
    scope: &TenantScope,
    session: Uuid,
    now: i64,
) -> Result<bool, FileError> {
    let retention = Retention { keep: 0, days: 0 };
    let mut work = Work::of_any(context, transaction, scope, session, now, retention);
    let span = scope.span(TenantFamily::FilesByPath, &(session,));
    let (files, mut more) = in_span(transaction, scope, span).await?;
    let any = !files.is_empty();
    for file in &files {
        if work.is_full() {
            more = true;
            break;
        }
        work.erase(file).await?;
    }
    if !any {
        let versions = scope.span(TenantFamily::FileVersions, &(session,));
        more = forget(transaction, &mut work, &versions).await?.1;
    }
    work.settle().await?;
    Ok(!any && !more)
}
