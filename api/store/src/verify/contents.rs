//! The part of the walk that is about what records describe and do not hold, tenant by tenant: blobs (see
//! [`crate::blobs::verify_tenant`]) and the state of workspaces.

use super::{Disagreement, Problem, Report};
use crate::blobs::{Depth, verify_tenant};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::path::to_path;
use crate::keyspace::{Keyspace, TenantFamily, TenantScope};
use crate::repo::{removals, session_states};
use crate::store::{RetryPolicy, Store};

impl Store {
    /// Checks the blobs and workspaces' state of all tenants and adds what is wrong with them.
    pub(super) async fn verify_contents(
        &self,
        keys: &Keyspace,
        depth: Depth,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let mut after = None;
        while let Some(scope) = self.tenant_after(keys, after).await? {
            let path = to_path(scope.key(TenantFamily::Blobs, &()).as_ref());
            let mut problems = Vec::new();
            let counts = verify_tenant(self, &scope, depth, |fault| {
                let disagreement = Disagreement::Blob { reason: fault.kind.to_string() };
                problems.push(Problem { path: path.clone(), disagreement });
            });
            let leaving = self.is_removed(keys, &scope).await?;
            counts.await?;
            problems.extend(self.verify_states(&scope).await?);
            // What is on its way out goes in no particular order.
            if problems.is_empty() || !(leaving || self.is_removed(keys, &scope).await?) {
                report.add_problems(problems);
            }
            after = Some(scope);
        }
        Ok(())
    }

    /// What is wrong with the bytes of a tenant's workspaces' state, one part at a time.
    async fn verify_states(&self, scope: &TenantScope) -> Result<Vec<Problem>, StoreError> {
        let mut problems = Vec::new();
        let mut scan = self.scan(scope.span(TenantFamily::SessionStates, &()));
        while let Some(rows) = scan.next_page().await? {
            for key in rows.iter().map(|row| row.key.as_slice()) {
                let verify =
                    |transaction| async move { session_states::verify(&transaction, scope, key).await };
                if let Some(reason) = self.run(&RetryPolicy::idempotent(), verify).await? {
                    let disagreement = Disagreement::Content { reason };
                    problems.push(Problem { path: to_path(key), disagreement });
                }
            }
        }
        Ok(problems)
    }

    pub(super) async fn is_removed(&self, keys: &Keyspace, scope: &TenantScope) -> Result<bool, StoreError> {
        self.run(&RetryPolicy::idempotent(), |transaction| async move {
            removals::is_removed(&transaction, keys, scope).await
        })
        .await
    }

    /// The first tenant after another one that has any key.
    pub(crate) async fn tenant_after(
        &self,
        keys: &Keyspace,
        after: Option<TenantScope>,
    ) -> Result<Option<TenantScope>, StoreError> {
        let mut span = keys.tenants_after(after.map(|scope| scope.id()));
        loop {
            let rest = &span;
            let page = self
                .run(&RetryPolicy::idempotent(), |transaction| async move {
                    transaction
                        .range(RangeRead::new(rest.begin.clone(), rest.end.clone(), 1).snapshot())
                        .await
                })
                .await?;
            let Some(row) = page.rows.into_iter().next() else { return Ok(None) };
            if let Some(scope) = keys.tenant_of(&row.key) {
                return Ok(Some(scope));
            }
            // It belongs to no tenant, and was reported as what it is.
            span.begin = row.key;
            span.begin.push(0);
        }
    }
}
