//! What files held before: listed, brought back, and forgotten once there are too many or they are too old.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::entry::{number, version_key};
use super::work::Work;
use super::{Condition, FileError, Files, Written};
use crate::contract::{RangeRead, Row};
use crate::error::StoreError;
use crate::file_path;
use crate::keyspace::{KeySpan, TenantFamily, TenantScope};
use crate::records::{FileVersion, Record, Setting, SettingScope};
use crate::repo::page::page_size;
use crate::repo::{Page, load};
use crate::transaction::Transaction;

/// The tenant's setting that says which versions are kept.
pub const RETENTION_SETTING: &str = "files.versions";
/// The most versions that are kept of one path, whatever the setting says: all of them are looked at with each write.
pub const MAX_KEPT_VERSIONS: u32 = 100;
/// The longest time for which versions are kept, in days.
pub const MAX_VERSION_DAYS: u32 = 3650;
/// The most versions that a write forgets of its path.
const FORGOTTEN_BY_WRITE: usize = 8;
/// The most versions forgotten in one transaction.
const FORGOTTEN_AT_ONCE: usize = 100;
/// The milliseconds of a day.
const DAY: i64 = Duration::from_secs(24 * 60 * 60).as_millis() as i64;

/// Which versions are kept: the newest ones of each path, and none for longer than some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How many of each path; at most [`MAX_KEPT_VERSIONS`]. With 0 none is kept.
    pub keep: u32,
    /// For how many days after it was replaced; at most [`MAX_VERSION_DAYS`].
    pub days: u32,
}

impl Default for Retention {
    /// 20 of each path, for 30 days.
    fn default() -> Self {
        Self { keep: 20, days: 30 }
    }
}

impl Retention {
    /// Reads the value of the setting [`RETENTION_SETTING`].
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let read = Self::deserialize(value).map_err(|error| error.to_string())?;
        if read.keep > MAX_KEPT_VERSIONS || read.days > MAX_VERSION_DAYS {
            return Err(format!("keep is at most {MAX_KEPT_VERSIONS}, days at most {MAX_VERSION_DAYS}"));
        }
        Ok(read)
    }

    /// What the tenant has set; the default where it has set nothing, or nothing that can be read.
    pub(super) async fn load(transaction: &Transaction, scope: &TenantScope) -> Result<Self, StoreError> {
        let place = (SettingScope::Tenant.name(), scope.id(), RETENTION_SETTING);
        let stored = transaction.get_snapshot(scope.key(TenantFamily::Settings, &place)).await?;
        let setting = stored.map(|stored| Setting::decode(&stored)).transpose()?;
        Ok(setting.and_then(|setting| Self::parse(&setting.value).ok()).unwrap_or_default())
    }

    /// Whether a version is to be forgotten at `now` (Unix milliseconds), `newer` being how many newer ones its
    /// path has.
    pub(super) fn is_over(&self, version: &FileVersion, newer: usize, now: i64) -> bool {
        let ends_at = version.replaced_at.saturating_add(i64::from(self.days).saturating_mul(DAY));
        newer >= usize::try_from(self.keep).unwrap_or(usize::MAX) || ends_at <= now
    }
}

impl Files<'_> {
    /// A page of what a path held before, newest first, from the one before the version `after` on.
    pub async fn versions(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page<FileVersion, u64>, StoreError> {
        let branch = &self.scope(tenant).branch(TenantFamily::FileVersions, &(session, path));
        self.context
            .run(|transaction| async move {
                let mut span = branch.span();
                if let Some(after) = after {
                    span = span.beyond(&branch.key(&(number(after),)), true);
                }
                let read = RangeRead::new(span.begin, span.end, page_size(limit)).reversed().snapshot();
                let page = transaction.range(read).await?;
                let items = decode(&page.rows)?;
                let next = items.last().map(|version| version.version).filter(|_| page.more);
                Ok(Page { items, next })
            })
            .await
    }

    /// A page of what everything below a directory (`""` is the whole workspace) held before, by path and version,
    /// from the one after `after` on.
    pub async fn versions_below(
        &self,
        tenant: Uuid,
        session: Uuid,
        directory: &str,
        after: Option<(String, u64)>,
        limit: usize,
    ) -> Result<Page<FileVersion, (String, u64)>, StoreError> {
        let branch = &self.scope(tenant).branch(TenantFamily::FileVersions, &(session,));
        let after = &after;
        self.context
            .run(|transaction| async move {
                let mut span = branch.span_of_text(&file_path::prefix(directory));
                if let Some((path, version)) = after {
                    span = span.beyond(&branch.key(&(path.as_str(), number(*version))), false);
                }
                let read = RangeRead::new(span.begin, span.end, page_size(limit)).snapshot();
                let page = transaction.range(read).await?;
                let items = decode(&page.rows)?;
                let last = items.last().map(|version| (version.path.clone(), version.version));
                Ok(Page { items, next: last.filter(|_| page.more) })
            })
            .await
    }

    /// One version of a path.
    pub async fn version(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        version: u64,
    ) -> Result<Option<FileVersion>, StoreError> {
        let key = &version_key(&self.scope(tenant), session, path, version);
        self.context.run(|transaction| async move { load(&transaction, key).await }).await
    }

    /// Brings a version back at `now` (Unix milliseconds): the path holds its content again. It stays a version, and
    /// what the path held becomes one.
    ///
    /// # Errors
    ///
    /// [`FileError::NotFound`] if there is no such version.
    pub async fn restore(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        version: u64,
        condition: &Condition,
        now: i64,
    ) -> Result<Written, FileError> {
        let scope = &self.scope(tenant);
        self.context
            .once(|transaction| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, now).await?;
                let old = work.find(path).await?;
                condition.check(old.as_ref())?;
                let key = version_key(scope, session, path, version);
                let version: FileVersion = load(&transaction, &key).await?.ok_or(FileError::NotFound)?;
                let file = work.put(path, old.as_ref(), version.content).await?;
                work.settle().await?;
                Ok(Written { file, created: old.is_none() })
            })
            .await
    }

    /// Forgets some versions of a path, or of everything below it as well. Returns how many went, and whether more
    /// are left: then call it again.
    pub async fn forget_some(
        &self,
        tenant: Uuid,
        session: Uuid,
        path: &str,
        recursive: bool,
        now: i64,
    ) -> Result<(usize, bool), FileError> {
        let scope = &self.scope(tenant);
        let own = scope.span(TenantFamily::FileVersions, &(session, path));
        let all = scope.branch(TenantFamily::FileVersions, &(session,));
        let below = recursive.then(|| all.span_of_text(&file_path::prefix(path)));
        let spans = &[Some(own).filter(|_| !path.is_empty()), below];
        self.context
            .once(|transaction| async move {
                let mut work = Work::begin(self.context, &transaction, scope, session, now).await?;
                let (mut gone, mut more) = (0, false);
                for span in spans.iter().flatten() {
                    let (some, left) = forget(&transaction, &mut work, span).await?;
                    (gone, more) = (gone + some, more || left);
                }
                work.settle().await?;
                Ok((gone, more))
            })
            .await
    }
}

/// Forgets the first versions of a span. Returns how many, and whether there are more.
pub(super) async fn forget(
    transaction: &Transaction,
    work: &mut Work<'_>,
    span: &KeySpan,
) -> Result<(usize, bool), FileError> {
    let read = RangeRead::new(span.begin.as_slice(), span.end.as_slice(), FORGOTTEN_AT_ONCE);
    let page = transaction.range(read).await?;
    let mut gone = 0;
    for version in decode(&page.rows)? {
        if work.is_full() {
            return Ok((gone, true));
        }
        work.forget(&version).await?;
        gone += 1;
    }
    Ok((gone, page.more))
}

/// The versions of a path that are not to be kept any longer; checked at commit, at most [`FORGOTTEN_BY_WRITE`].
pub(super) async fn overdue(
    transaction: &Transaction,
    scope: &TenantScope,
    retention: &Retention,
    session: Uuid,
    path: &str,
    now: i64,
) -> Result<Vec<FileVersion>, StoreError> {
    let span = scope.span(TenantFamily::FileVersions, &(session, path));
    let kept = usize::try_from(retention.keep).unwrap_or(usize::MAX);
    let read = RangeRead::new(span.begin, span.end, kept.saturating_add(FORGOTTEN_BY_WRITE));
    let rows = transaction.range(read.reversed().snapshot()).await?.rows;
    let mut due = Vec::new();
    for (newer, row) in rows.iter().enumerate() {
        let version = FileVersion::decode(&row.value)?;
        if due.len() == FORGOTTEN_BY_WRITE || !retention.is_over(&version, newer, now) {
            continue;
        }
        // Another one may be forgetting it: one of the two must not count it.
        if let Some(stored) = transaction.get(&row.key).await? {
            due.push(FileVersion::decode(&stored)?);
        }
    }
    Ok(due)
}

/// The number of the newest version of a path, 0 if there is none; checked at commit.
pub(super) async fn last_number(
    transaction: &Transaction,
    scope: &TenantScope,
    session: Uuid,
    path: &str,
) -> Result<u64, StoreError> {
    let span = scope.span(TenantFamily::FileVersions, &(session, path));
    let page = transaction.range(RangeRead::new(span.begin, span.end, 1).reversed()).await?;
    let last = page.rows.first().map(|row| FileVersion::decode(&row.value)).transpose()?;
    Ok(last.map_or(0, |version| version.version))
}

fn decode(rows: &[Row]) -> Result<Vec<FileVersion>, StoreError> {
    rows.iter().map(|row| FileVersion::decode(&row.value)).collect()
}
