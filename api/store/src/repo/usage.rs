//! How much of the store each tenant uses, and how much it may.
//!
//! The counters change by atomic additions in the transactions that change files, so they are exact and make no two
//! writers wait for each other. `store verify` compares them with the files.

use bytes::Bytes;
use uuid::Uuid;

use super::{Context, FileError};
use crate::error::StoreError;
use crate::keyspace::{Key, TenantFamily, TenantScope};
use crate::transaction::Transaction;

/// So many writers of the same size may at once find that there is room for all of them. Only a write that leaves
/// less room than that has its commit checked against others': until then they do not disturb each other.
const AT_ONCE: u64 = 16;

/// How much a tenant may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of files and of their versions, each counted in full, also where several share a content.
    pub bytes: u64,
    /// Files, without their versions.
    pub files: u64,
}

impl Default for Quota {
    /// 10 GiB in a million files.
    fn default() -> Self {
        Self { bytes: 10 << 30, files: 1_000_000 }
    }
}

/// How much a tenant has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files.
    pub files: u64,
    /// Bytes of files.
    pub file_bytes: u64,
    /// Bytes of versions of files.
    pub version_bytes: u64,
}

impl Usage {
    /// What the quota of bytes is about.
    pub fn bytes(&self) -> u64 {
        self.file_bytes.saturating_add(self.version_bytes)
    }
}

/// How much tenants use and may use.
pub struct Usages<'a> {
    context: &'a Context,
}

/// What is counted, by its key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counter {
    Files,
    FileBytes,
    VersionBytes,
    /// How often the others changed, so that a reader can tell whether they did.
    Changes,
    /// A tenant's own limits, where it has any.
    QuotaBytes,
    QuotaFiles,
}

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::FileBytes => "file_bytes",
            Self::VersionBytes => "version_bytes",
            Self::Changes => "changes",
            Self::QuotaBytes => "quota_bytes",
            Self::QuotaFiles => "quota_files",
        }
    }

    pub(crate) fn key(self, scope: &TenantScope) -> Key {
        scope.key(TenantFamily::Usage, &(self.name(),))
    }
}

/// How the counters shall change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) files: i64,
    pub(super) file_bytes: i64,
    pub(super) version_bytes: i64,
}

impl<'a> Usages<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// What a tenant has.
    pub async fn get(&self, tenant: Uuid) -> Result<Usage, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context.run(|transaction| async move { used(&transaction, scope, false).await }).await
    }

    /// What a tenant may have.
    pub async fn quota(&self, tenant: Uuid) -> Result<Quota, StoreError> {
        let (scope, default) = (&self.context.keys.tenant(tenant), self.context.quota);
        self.context.run(|transaction| async move { quota(&transaction, scope, default).await }).await
    }

    /// Gives a tenant limits of its own, or with `None` those that all tenants have. What it has beyond them stays.
    pub async fn set_quota(
        &self,
        tenant: Uuid,
        bytes: Option<u64>,
        files: Option<u64>,
    ) -> Result<(), StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                for (counter, limit) in [(Counter::QuotaBytes, bytes), (Counter::QuotaFiles, files)] {
                    match limit {
                        Some(limit) => transaction
                            .set(counter.key(scope), Bytes::copy_from_slice(&limit.to_le_bytes()))?,
                        None => transaction.clear(counter.key(scope))?,
                    }
                }
                Ok(())
            })
            .await
    }
}

/// Changes the counters, if the tenant may have that much. Takes part in the transaction of what is counted.
///
/// # Errors
///
/// [`FileError::QuotaExceeded`]; never where `delta` makes nothing more.
pub(super) async fn count(
    transaction: &Transaction,
    scope: &TenantScope,
    default: Quota,
    delta: Delta,
) -> Result<(), FileError> {
    if delta == Delta::default() {
        return Ok(());
    }
    let more_bytes = positive(delta.file_bytes.saturating_add(delta.version_bytes));
    let more_files = positive(delta.files);
    if more_bytes > 0 || more_files > 0 {
        let quota = quota(transaction, scope, default).await?;
        let (bytes, files) = room(&used(transaction, scope, false).await?, quota);
        if more_bytes.saturating_mul(AT_ONCE) > bytes || more_files.saturating_mul(AT_ONCE) > files {
            let (bytes, files) = room(&used(transaction, scope, true).await?, quota);
            if more_bytes > bytes {
                return Err(bytes_exceeded(quota.bytes));
            }
            if more_files > files {
                return Err(FileError::QuotaExceeded { limit: quota.files, what: "files" });
            }
        }
    }
    for (counter, by) in [
        (Counter::Files, delta.files),
        (Counter::FileBytes, delta.file_bytes),
        (Counter::VersionBytes, delta.version_bytes),
        (Counter::Changes, 1),
    ] {
        if by != 0 {
            transaction.add(counter.key(scope), by)?;
        }
    }
    Ok(())
}

pub(super) fn bytes_exceeded(limit: u64) -> FileError {
    FileError::QuotaExceeded {
        limit,
        what: "bytes of files and their versions (what is deleted or replaced is one until DELETE …/versions)",
    }
}

/// How many bytes and files a tenant may still add.
pub(super) fn room(used: &Usage, quota: Quota) -> (u64, u64) {
    (quota.bytes.saturating_sub(used.bytes()), quota.files.saturating_sub(used.files))
}

/// What a tenant has; `checked` at commit or not.
pub(super) async fn used(
    transaction: &Transaction,
    scope: &TenantScope,
    checked: bool,
) -> Result<Usage, StoreError> {
    let read = |counter: Counter| async move {
        let key = counter.key(scope);
        let value = match checked {
            true => transaction.get(key).await?,
            false => transaction.get_snapshot(key).await?,
        };
        let count = value.map_or(Ok(0), |value| number(&value))?;
        // Below zero, as it can only be in a store that is damaged, counts as nothing.
        Ok::<_, StoreError>(if count > i64::MAX.unsigned_abs() { 0 } else { count })
    };
    let (files, file_bytes, version_bytes) =
        futures::try_join!(read(Counter::Files), read(Counter::FileBytes), read(Counter::VersionBytes))?;
    Ok(Usage { files, file_bytes, version_bytes })
}

/// What a tenant may have: its own limits, or those of all.
pub(super) async fn quota(
    transaction: &Transaction,
    scope: &TenantScope,
    default: Quota,
) -> Result<Quota, StoreError> {
    let read = |counter: Counter, default| async move {
        let value = transaction.get_snapshot(counter.key(scope)).await?;
        value.map_or(Ok(default), |value| number(&value))
    };
    let (bytes, files) = futures::try_join!(
        read(Counter::QuotaBytes, default.bytes),
        read(Counter::QuotaFiles, default.files)
    )?;
    Ok(Quota { bytes, files })
}

/// A stored number.
pub(crate) fn number(value: &[u8]) -> Result<u64, StoreError> {
    value.try_into().map(u64::from_le_bytes).map_err(|_| StoreError::Record {
        family: TenantFamily::Usage.name(),
        reason: format!("{} bytes instead of 8", value.len()),
    })
}

fn positive(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
