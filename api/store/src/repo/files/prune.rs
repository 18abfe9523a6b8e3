//! Forgets versions that are too old or too many, where no write does it: a few of all tenants' at a time.

use std::sync::Arc;

use uuid::Uuid;

use super::versions::Retention;
use super::work::Work;
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{KeySpan, TenantFamily, TenantScope};
use crate::records::{FileVersion, Record};
use crate::repo::{Context, load};

/// Versions read in one transaction.
const PAGE_ROWS: usize = 256;
/// Pages read in one call.
const PAGES_AT_ONCE: usize = 16;
/// Versions forgotten in one transaction.
const FORGOTTEN_AT_ONCE: usize = 50;
/// Tenants looked at in one call.
const TENANTS_AT_ONCE: usize = 256;

/// What a call of [`VersionPruner::prune`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Versions looked at.
    pub seen: usize,
    /// Versions forgotten.
    pub forgotten: usize,
    /// True if it came to the end of all tenants; the next call begins anew.
    pub complete: bool,
}

/// Goes through the versions of all tenants, round after round. Any number may run on one store.
pub struct VersionPruner {
    context: Arc<Context>,
    place: Place,
}

/// Where a pruner is: versions are read from the last to the first, so that the newest of a path come first.
#[derive(Default)]
struct Place {
    /// The tenant that was looked at last, or is being looked at.
    tenant: Option<Uuid>,
    /// What is left of that tenant's versions; absent if it is done.
    left: Option<KeySpan>,
    /// The path being looked at, and how many of its versions were seen.
    path: Option<(Uuid, String)>,
    newer: usize,
}

impl VersionPruner {
    pub(in crate::repo) fn new(context: Arc<Context>) -> Self {
        Self { context, place: Place::default() }
    }

    /// Goes on where the call before stopped, and does a bounded part of the work that is due at `now` (Unix
    /// milliseconds).
    ///
    /// Cancel safe: every step is a transaction of its own, and what was not done is found in the next round.
    ///
    /// # Errors
    ///
    /// The store's; the next call begins a new round.
    pub async fn prune(&mut self, now: i64) -> Result<Pruned, StoreError> {
        // Whatever cuts this off, the next call begins anew.
        let mut place = std::mem::take(&mut self.place);
        let mut done = Pruned::default();
        let (mut pages, mut tenants) = (0, 0);
        while pages < PAGES_AT_ONCE && tenants < TENANTS_AT_ONCE {
            let scope = match (place.tenant, &place.left) {
                (Some(tenant), Some(_)) => self.context.keys.tenant(tenant),
                (after, _) => {
                    tenants += 1;
                    let Some(scope) = self.tenant_after(after).await? else {
                        done.complete = true;
                        return Ok(done);
                    };
                    let left = Some(scope.span(TenantFamily::FileVersions, &()));
                    place = Place { tenant: Some(scope.id()), left, ..Place::default() };
                    scope
                }
            };
            pages += 1;
            self.page(&scope, &mut place, now, &mut done).await?;
        }
        self.place = place;
        Ok(done)
    }

    async fn tenant_after(&self, after: Option<Uuid>) -> Result<Option<TenantScope>, StoreError> {
        let span = &self.context.keys.tenants_after(after);
        let read = &RangeRead::new(span.begin.as_slice(), span.end.as_slice(), 1).snapshot();
        let rows =
            self.context.run(|transaction| async move { transaction.range(read.clone()).await }).await?.rows;
        Ok(rows.first().and_then(|row| self.context.keys.tenant_of(&row.key)))
    }

    /// Looks at one page of a tenant's versions and forgets those that are due.
    async fn page(
        &self,
        scope: &TenantScope,
        place: &mut Place,
        now: i64,
        done: &mut Pruned,
    ) -> Result<(), StoreError> {
        let Some(mut left) = place.left.take() else { return Ok(()) };
        let read =
            &RangeRead::new(left.begin.as_slice(), left.end.as_slice(), PAGE_ROWS).reversed().snapshot();
        let (retention, page) = self
            .context
            .run(|transaction| async move {
                let retention = Retention::load(&transaction, scope).await?;
                Ok::<_, StoreError>((retention, transaction.range(read.clone()).await?))
            })
            .await?;
        let mut due = Vec::new();
        for row in &page.rows {
            done.seen += 1;
            // What cannot be read is for `store verify` to tell.
            let Ok(version) = FileVersion::decode(&row.value) else { continue };
            let path = (version.session_id, version.path.clone());
            if place.path.as_ref() != Some(&path) {
                (place.path, place.newer) = (Some(path), 0);
            }
            if retention.is_over(&version, place.newer, now) {
                due.push(version);
            }
            place.newer += 1;
        }
        for some in due.chunks(FORGOTTEN_AT_ONCE) {
            done.forgotten += self.forget(scope, some, retention, now).await?;
        }
        if let Some(last) = page.rows.last().filter(|_| page.more) {
            left.end.clone_from(&last.key);
            place.left = Some(left);
        }
        Ok(())
    }

    /// Forgets versions, those that are still there. Returns how many were.
    async fn forget(
        &self,
        scope: &TenantScope,
        due: &[FileVersion],
        retention: Retention,
        now: i64,
    ) -> Result<usize, StoreError> {
        let context = &*self.context;
        let forgotten = context.once(|transaction| async move {
            let session = Uuid::nil();
            let mut work = Work::of_any(context, &transaction, scope, session, now, retention);
            let mut gone = 0;
            for version in due {
                let key =
                    super::entry::version_key(scope, version.session_id, &version.path, version.version);
                let stored: Option<FileVersion> = load(&transaction, &key).await?;
                if let Some(stored) = stored.filter(|stored| stored == version) {
                    work.forget(&stored).await?;
                    gone += 1;
                }
            }
            work.settle().await?;
            Ok::<_, super::FileError>(gone)
        });
        forgotten.await.map_err(super::FileError::into_store_error)
    }
}
