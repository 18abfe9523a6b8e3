//! AI agents. No two agents of a tenant have the same name, however it is spelt.

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, Versioned, insert, unpack_value};
use super::page::name_page;
use super::{Context, Page, UpdateError, load};
use crate::error::StoreError;
use crate::keyspace::{Key, TenantFamily, TenantScope};
use crate::records::{Agent, normalise_name};

/// AI agents.
pub struct Agents<'a> {
    context: &'a Context,
}

impl<'a> Agents<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Stores a new agent; its id must be fresh.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Taken`] if another agent of the tenant has the name.
    pub async fn create(&self, agent: &Agent) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(agent.tenant_id);
        self.context.run(|transaction| async move { insert(&transaction, keys, scope, agent).await }).await
    }

    /// An agent of a tenant.
    pub async fn get(&self, tenant: Uuid, id: Uuid) -> Result<Option<Agent>, StoreError> {
        let key = &key(&self.context.keys.tenant(tenant), id);
        self.context.run(|transaction| async move { load(&transaction, key).await }).await
    }

    /// The agent of a name, however it is spelt.
    pub async fn by_name(&self, tenant: Uuid, name: &str) -> Result<Option<Agent>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                let Some(value) = transaction.get(by_name(scope, name)).await? else {
                    return Ok(None);
                };
                let agent = load(&transaction, &key(scope, agent_id(&value)?)).await?;
                agent.map(Some).ok_or(StoreError::Orphan { family: "agents_by_name" })
            })
            .await
    }

    /// A page of a tenant's agents in the order of their names as [`normalise_name`] gives them, from the one
    /// after the name `after` on.
    pub async fn list(
        &self,
        tenant: Uuid,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Agent, String>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::AgentsByName, &());
        let after = after.map(normalise_name);
        let after = after.as_deref();
        self.context
            .run(|transaction| async move {
                let names = index.span();
                name_page(&transaction, index, names, after, limit, |id| key(scope, id)).await
            })
            .await
    }

    /// Changes an agent and returns it as it is now. Ids, maker and creation time stay as they are.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Taken`] if another agent of the tenant has the new name.
    pub async fn update(
        &self,
        tenant: Uuid,
        id: Uuid,
        expected: Option<u64>,
        change: impl Fn(&mut Agent) + Send + Sync,
    ) -> Result<Agent, UpdateError> {
        let scope = self.context.keys.tenant(tenant);
        self.context.update(&scope, &key(&scope, id), expected, |_| true, change).await
    }

    /// Removes an agent; returns it as it was.
    pub async fn delete(&self, tenant: Uuid, id: Uuid, expected: Option<u64>) -> Result<Agent, UpdateError> {
        let scope = self.context.keys.tenant(tenant);
        self.context.remove(&scope, &key(&scope, id), expected, |_| true).await
    }
}

impl Indexed for Agent {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        key(scope, self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let value = foundationdb_tuple::pack(&(self.id,));
        vec![IndexEntry::unique(by_name(scope, &self.name), value)]
    }
}

impl Versioned for Agent {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.id = old.id;
        self.tenant_id = old.tenant_id;
        self.created_by = old.created_by;
        self.created_at = old.created_at;
    }
}

fn key(scope: &TenantScope, id: Uuid) -> Key {
    scope.key(TenantFamily::Agents, &(id,))
}

fn by_name(scope: &TenantScope, name: &str) -> Key {
    scope.key(TenantFamily::AgentsByName, &(normalise_name(name),))
}

fn agent_id(value: &[u8]) -> Result<Uuid, StoreError> {
    unpack_value("agents_by_name", value).map(|(id,): (Uuid,)| id)
}
