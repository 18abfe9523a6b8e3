//! The files of workspaces: which paths there are, and which content each has. The content itself is kept by
//! its digest; a file holds on to it by a reference.

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, Versioned, change, expect, replace, unpack_value};
use super::page::{load_all, name_page};
use super::{Context, Page, UpdateError, load, sessions};
use crate::blobs::{BlobError, add_reference, remove_reference};
use crate::contract::{RangeRead, ReadMode};
use crate::error::StoreError;
use crate::keyspace::{Key, Keyspace, TenantFamily, TenantScope};
use crate::records::{Content, FIRST_VERSION, File};
use crate::transaction::Transaction;

/// The most files removed in one transaction with their workspace. Their entries come from one page of at most
/// about 1 MiB, and each costs the transaction some five times its entry's key: well below its limit.
const REMOVED_FILES: usize = 500;

/// The files of workspaces. That the workspace is the caller's is for the caller to know.
pub struct Files<'a> {
    context: &'a Context,
}

impl<'a> Files<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Creates the file at a path, or replaces its content, at `now` (Unix milliseconds). The file takes hold
    /// of the content, and lets go of what it held, in the same transaction.
    ///
    /// With `expected` 0 there must be no file at the path yet; with another number, one of that version.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if there is no such workspace; [`UpdateError::NoContent`] if the tenant has no blob
    /// with the content.
    pub async fn put(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        content: Content,
        expected: Option<u64>,
        now: i64,
    ) -> Result<File, UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        let id = self.context.entropy.uuid();
        self.context
            .once(|transaction| async move {
                sessions::writable(&transaction, scope, session).await?;
                let old = find(&transaction, scope, session, path).await?;
                let current = old.as_ref().map_or(0, |file| file.version);
                if expected.is_some_and(|expected| expected != current) {
                    return Err(UpdateError::VersionMismatch { current });
                }
                let Some(old) = old else {
                    let new = File {
                        id,
                        tenant_id: tenant,
                        session_id: session,
                        path: path.to_owned(),
                        content,
                        created_at: now,
                        updated_at: now,
                        version: FIRST_VERSION,
                    };
                    write(&transaction, keys, scope, None, Some(&new), now).await?;
                    return Ok(new);
                };
                let new = change(&transaction, keys, scope, &old, |file| {
                    if file.content != content {
                        file.content = content;
                        file.updated_at = now;
                    }
                })
                .await?;
                move_reference(&transaction, scope, Some(&old), Some(&new), now).await?;
                Ok(new)
            })
            .await
    }

    /// The file at a path.
    pub async fn get(&self, tenant: Uuid, session: Uuid, path: &str) -> Result<Option<File>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context.run(|transaction| async move { find(&transaction, scope, session, path).await }).await
    }

    /// A page of the files whose paths begin with `prefix`, in the order of their paths as bytes, from the one
    /// after the path `after` on.
    pub async fn list(
        &self,
        tenant: Uuid,
        session: Uuid,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<File, String>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::FilesByPath, &(session,));
        self.context
            .run(|transaction| async move {
                let names = index.span_of_text(prefix);
                name_page(&transaction, index, names, after, limit, |id| key(scope, id)).await
            })
            .await
    }

    /// Moves a file to another path of its workspace, at `now` (Unix milliseconds); it stays the same file.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Taken`] if there is a file at the new path, unless that shall be `replaced`.
    #[allow(clippy::too_many_arguments, reason = "one operation of the API, and each argument is its")]
    pub async fn rename(
        &self,
        tenant: Uuid,
        session: Uuid,
        from: &str,
        to: &str,
        replaced: bool,
        expected: Option<u64>,
        now: i64,
    ) -> Result<File, UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let old = find(&transaction, scope, session, from).await?.ok_or(UpdateError::NotFound)?;
                expect(&old, expected)?;
                if from == to {
                    return Ok(old);
                }
                if replaced && let Some(other) = find(&transaction, scope, session, to).await? {
                    write(&transaction, keys, scope, Some(&other), None, now).await?;
                }
                change(&transaction, keys, scope, &old, |file| {
                    to.clone_into(&mut file.path);
                    file.updated_at = now;
                })
                .await
            })
            .await
    }

    /// Removes the file at a path; returns it as it was.
    pub async fn delete(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        expected: Option<u64>,
    ) -> Result<File, UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        let now = self.context.clock.now_millis();
        self.context
            .once(|transaction| async move {
                let old = find(&transaction, scope, session, path).await?.ok_or(UpdateError::NotFound)?;
                expect(&old, expected)?;
                write(&transaction, keys, scope, Some(&old), None, now).await?;
                Ok(old)
            })
            .await
    }
}

impl Indexed for File {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        key(scope, self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        vec![IndexEntry::unique(
            by_path(scope, self.session_id, &self.path),
            foundationdb_tuple::pack(&(self.id,)),
        )]
    }

    fn references(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        vec![IndexEntry::plain(reference(scope, self))]
    }
}

impl Versioned for File {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.id = old.id;
        self.tenant_id = old.tenant_id;
        self.session_id = old.session_id;
        self.created_at = old.created_at;
    }
}

pub(super) fn key(scope: &TenantScope, id: Uuid) -> Key {
    scope.key(TenantFamily::Files, &(id,))
}

pub(super) fn by_path(scope: &TenantScope, session: Uuid, path: &str) -> Key {
    scope.key(TenantFamily::FilesByPath, &(session, path))
}

pub(super) fn file_id(value: &[u8]) -> Result<Uuid, StoreError> {
    unpack_value("files_by_path", value).map(|(id,): (Uuid,)| id)
}

fn reference(scope: &TenantScope, file: &File) -> Key {
    scope.key(TenantFamily::BlobReferences, &(file.content.sha256.0.as_slice(), file.id))
}

/// Lets a file hold on to its content, and let go of what it held before, at `now` (Unix milliseconds).
async fn move_reference(
    transaction: &Transaction,
    scope: &TenantScope,
    old: Option<&File>,
    new: Option<&File>,
    now: i64,
) -> Result<(), UpdateError> {
    let held = |file: &File| (file.content.sha256, file.id);
    let (old, new) = (old.map(held), new.map(held));
    if old == new {
        return Ok(());
    }
    if let Some((hash, file)) = new {
        add_reference(transaction, scope, &hash, file).await.map_err(|error| match error {
            BlobError::Store(error) => UpdateError::Store(error),
            _ => UpdateError::NoContent,
        })?;
    }
    if let Some((hash, file)) = old {
        remove_reference(transaction, scope, &hash, file, now).await?;
    }
    Ok(())
}

/// Puts `new` in the place of `old`, with index entry and reference.
pub(super) async fn write(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    old: Option<&File>,
    new: Option<&File>,
    now: i64,
) -> Result<(), UpdateError> {
    replace(transaction, keys, scope, old, new).await?;
    move_reference(transaction, scope, old, new, now).await
}

async fn find(
    transaction: &Transaction,
    scope: &TenantScope,
    session: Uuid,
    path: &str,
) -> Result<Option<File>, StoreError> {
    let Some(value) = transaction.get(by_path(scope, session, path)).await? else {
        return Ok(None);
    };
    let file = load(transaction, &key(scope, file_id(&value)?)).await?;
    file.map(Some).ok_or(StoreError::Orphan { family: "files_by_path" })
}

/// Removes some of a workspace's files; true if none is left.
pub(super) async fn remove_some(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    session: Uuid,
    now: i64,
) -> Result<bool, UpdateError> {
    let span = scope.span(TenantFamily::FilesByPath, &(session,));
    let read = RangeRead {
        begin: span.begin,
        end: span.end,
        limit: REMOVED_FILES,
        reverse: false,
        mode: ReadMode::Serializable,
    };
    let entries = transaction.range(read).await?;
    let ids = entries.rows.iter().map(|row| file_id(&row.value)).collect::<Result<Vec<_>, _>>()?;
    let files: Vec<File> = load_all(transaction, ids.iter().map(|id| key(scope, *id))).await?;
    for file in &files {
        write(transaction, keys, scope, Some(file), None, now).await?;
    }
    Ok(!entries.more)
}
