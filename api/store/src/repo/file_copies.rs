//! Copying the files of one workspace into another: their names and references, never their bytes.

use futures::future::try_join_all;
use uuid::Uuid;

use super::files::{by_path, file_id, key, write};
use super::{Context, UpdateError, sessions};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{TenantFamily, TenantScope};
use crate::records::{FIRST_VERSION, File, Record, SessionStatus};
use crate::transaction::Transaction;

/// The most files copied in one transaction.
const COPIED_FILES: usize = 200;
/// From this size on a transaction copies no further file. One file costs some 60 kB at most, where its path is as
/// long as a key allows: far below the rest.
const COPIED_BYTES: usize = 4_000_000;

impl Context {
    /// Copies some files of `from` into `to`, which is being forked from it, in the order of their paths from the one
    /// after `after` on, in one transaction. Returns the path of the last one, or `None` if there is none left.
    ///
    /// Each file is copied as it is at that moment; nobody who works in `from` is disturbed. A path that `to` has
    /// already is left as it is, so that copying may begin anew after a crash.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if either is gone.
    pub(super) async fn copy_some_files(
        &self,
        tenant: Uuid,
        from: Uuid,
        to: Uuid,
        after: Option<&str>,
        now: i64,
    ) -> Result<Option<String>, UpdateError> {
        let scope = &self.keys.tenant(tenant);
        self.once(|transaction| async move {
            let target = sessions::live(&transaction, scope, to).await?.ok_or(UpdateError::NotFound)?;
            if target.status != SessionStatus::Forking {
                // Somebody else has copied them all.
                return Ok(None);
            }
            sessions::at_snapshot(&transaction, scope, from).await?.ok_or(UpdateError::NotFound)?;
            let mut last = None;
            for file in source_files(&transaction, scope, from, after).await? {
                if transaction.size_bytes() >= COPIED_BYTES {
                    break;
                }
                if transaction.get(by_path(scope, to, &file.path)).await?.is_none() {
                    let copy = File {
                        id: self.entropy.uuid(),
                        session_id: to,
                        version: FIRST_VERSION,
                        ..file.clone()
                    };
                    write(&transaction, &self.keys, scope, None, Some(&copy), now).await?;
                }
                last = Some(file.path);
            }
            Ok(last)
        })
        .await
    }
}

/// The next files to copy, of one moment; checked at commit against nothing.
async fn source_files(
    transaction: &Transaction,
    scope: &TenantScope,
    from: Uuid,
    after: Option<&str>,
) -> Result<Vec<File>, StoreError> {
    let mut span = scope.span(TenantFamily::FilesByPath, &(from,));
    if let Some(after) = after {
        span = span.beyond(&by_path(scope, from, after), false);
    }
    let page = transaction.range(RangeRead::new(span.begin, span.end, COPIED_FILES).snapshot()).await?;
    let ids = page.rows.iter().map(|row| file_id(&row.value)).collect::<Result<Vec<_>, _>>()?;
    try_join_all(ids.into_iter().map(|id| async move {
        let stored = transaction.get_snapshot(key(scope, id)).await?;
        File::decode(&stored.ok_or(StoreError::Orphan { family: File::FAMILY })?)
    }))
    .await
}
