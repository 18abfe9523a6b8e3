//! Which workspace has which pod, over all tenants.

use uuid::Uuid;

use super::page::record_page;
use super::{Context, Page, UpdateError, load, save};
use crate::error::StoreError;
use crate::keyspace::GlobalFamily;
use crate::records::PodAllocation;

/// Which workspace has which pod.
pub struct Pods<'a> {
    context: &'a Context,
}

impl<'a> Pods<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Gives a free pod to a workspace. Giving it to the workspace that has it changes nothing.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Taken`] if another workspace has the pod.
    pub async fn allocate(&self, allocation: &PodAllocation) -> Result<(), UpdateError> {
        let names = (allocation.pool.as_str(), allocation.pod.as_str());
        let key = &self.context.keys.global(GlobalFamily::PodAllocations, &names);
        self.context
            .run(|transaction| async move {
                match load::<PodAllocation>(&transaction, key).await? {
                    Some(holder) if is_of(&holder, allocation.tenant_id, allocation.session_id) => Ok(()),
                    Some(_) => Err(UpdateError::Taken),
                    None => Ok(save(&transaction, key.clone(), allocation)?),
                }
            })
            .await
    }

    /// Who has a pod.
    pub async fn get(&self, pool: &str, pod: &str) -> Result<Option<PodAllocation>, StoreError> {
        let key = &self.context.keys.global(GlobalFamily::PodAllocations, &(pool, pod));
        self.context.run(|transaction| async move { load(&transaction, key).await }).await
    }

    /// A page of the pods of a pool that some workspace has, in the order of their names, from the one after
    /// the name `after` on.
    pub async fn list(
        &self,
        pool: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<PodAllocation, String>, StoreError> {
        let pods = &self.context.keys.branch(GlobalFamily::PodAllocations, &(pool,));
        self.context
            .run(|transaction| async move { record_page(&transaction, pods, after, limit).await })
            .await
    }

    /// Takes a pod from the workspace that has it; false, and nothing changes, if this one does not have it.
    pub async fn release(
        &self,
        pool: &str,
        pod: &str,
        tenant: Uuid,
        session: Uuid,
    ) -> Result<bool, StoreError> {
        let key = &self.context.keys.global(GlobalFamily::PodAllocations, &(pool, pod));
        self.context
            .once(|transaction| async move {
                let holder: Option<PodAllocation> = load(&transaction, key).await?;
                let held = holder.is_some_and(|holder| is_of(&holder, tenant, session));
                if held {
                    transaction.clear(key.clone())?;
                }
                Ok(held)
            })
            .await
    }
}

fn is_of(allocation: &PodAllocation, tenant: Uuid, session: Uuid) -> bool {
    (allocation.tenant_id, allocation.session_id) == (tenant, session)
}
