//! The part of the walk that is about blobs, tenant by tenant: see [`crate::blobs::verify_tenant`].

use super::{Disagreement, Problem, Report};
use crate::blobs::{Depth, verify_tenant};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::path::to_path;
use crate::keyspace::{Keyspace, TenantFamily, TenantScope};
use crate::store::{RetryPolicy, Store};

impl Store {
    /// Checks the blobs of all tenants and adds what is wrong with them.
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
            counts.await?;
            report.add_problems(problems);
            after = Some(scope);
        }
        Ok(())
    }

    /// The first tenant after another one that has any key.
    pub(super) async fn tenant_after(
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
