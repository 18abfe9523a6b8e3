//! The part of the walk that is about what tenants use: the counters against the files and versions there are.

use super::{Disagreement, Problem, Report};
use crate::error::StoreError;
use crate::keyspace::path::to_path;
use crate::keyspace::{Keyspace, TenantFamily, TenantScope};
use crate::records::{File, FileVersion, Record};
use crate::repo::usage::{Counter, number};
use crate::store::{RetryPolicy, Store};

/// How often a tenant's files are added up before it is let go because they change all the time.
const ATTEMPTS: usize = 3;
/// What is added up.
const COUNTED: [Counter; 3] = [Counter::Files, Counter::FileBytes, Counter::VersionBytes];

impl Store {
    /// Adds up the files of all tenants and reports counters that say another thing. A tenant whose files change
    /// while they are added up, three times, is passed over.
    pub(super) async fn verify_usage(&self, keys: &Keyspace, report: &mut Report) -> Result<(), StoreError> {
        let mut after = None;
        while let Some(scope) = self.tenant_after(keys, after).await? {
            for _ in 0..ATTEMPTS {
                let (Some(before), Some(found)) = (self.counters(&scope).await?, self.add_up(&scope).await?)
                else {
                    // What cannot be read was reported as that.
                    break;
                };
                if self.counters(&scope).await? == Some(before) {
                    // What is on its way out goes in no particular order.
                    if !self.is_removed(keys, &scope).await? {
                        report.add_problems(compare(&scope, &before.1, &found));
                    }
                    break;
                }
            }
            after = Some(scope);
        }
        Ok(())
    }

    /// How often the counters changed, and what they say; `None` if that cannot be read.
    async fn counters(&self, scope: &TenantScope) -> Result<Option<(u64, [u64; 3])>, StoreError> {
        let read = self
            .run(&RetryPolicy::idempotent(), |transaction| async move {
                let changes = transaction.get_snapshot(Counter::Changes.key(scope)).await?;
                let mut counted = [0; 3];
                for (counter, count) in COUNTED.iter().zip(&mut counted) {
                    let value = transaction.get_snapshot(counter.key(scope)).await?;
                    *count = value.map_or(Ok(0), |value| number(&value))?;
                }
                Ok((changes.map_or(Ok(0), |value| number(&value))?, counted))
            })
            .await;
        match read {
            Ok(read) => Ok(Some(read)),
            Err(StoreError::Record { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What there is; `None` if some of it cannot be read.
    async fn add_up(&self, scope: &TenantScope) -> Result<Option<[u64; 3]>, StoreError> {
        let [mut files, mut file_bytes, mut version_bytes] = [0_u64; 3];
        let mut scan = self.scan(scope.span(TenantFamily::Files, &()));
        while let Some(page) = scan.next_page().await? {
            for row in page {
                let Ok(file) = File::decode(&row.value) else { return Ok(None) };
                files += 1;
                file_bytes = file_bytes.saturating_add(file.content.size);
            }
        }
        let mut scan = self.scan(scope.span(TenantFamily::FileVersions, &()));
        while let Some(page) = scan.next_page().await? {
            for row in page {
                let Ok(version) = FileVersion::decode(&row.value) else { return Ok(None) };
                version_bytes = version_bytes.saturating_add(version.content.size);
            }
        }
        Ok(Some([files, file_bytes, version_bytes]))
    }
}

fn compare(scope: &TenantScope, counted: &[u64; 3], found: &[u64; 3]) -> Vec<Problem> {
    let all = COUNTED.iter().zip(counted.iter().zip(found));
    all.filter(|(_, (counted, found))| counted != found)
        .map(|(counter, (counted, found))| Problem {
            path: to_path(counter.key(scope).as_ref()),
            disagreement: Disagreement::Usage { counted: *counted, found: *found },
        })
        .collect()
}
