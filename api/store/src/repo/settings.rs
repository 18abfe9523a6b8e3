//! Settings of users and of tenants.

use serde_json::Value;
use uuid::Uuid;

use super::indexed::{Indexed, Versioned, change, insert};
use super::page::record_page;
use super::{Context, Page, UpdateError, load};
use crate::error::StoreError;
use crate::keyspace::{Branch, Key, TenantFamily, TenantScope};
use crate::records::{FIRST_VERSION, Setting, SettingScope};

/// Whose settings are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingOwner {
    /// One user's.
    User(Uuid),
    /// The tenant's.
    Tenant,
}

/// Settings of users and tenants.
pub struct Settings<'a> {
    context: &'a Context,
}

impl<'a> Settings<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Sets a setting at `now` (Unix milliseconds) and returns it as it is now.
    ///
    /// With `expected` 0 it must not be set yet; with another number, it must have that version.
    pub async fn put(
        &self,
        tenant: Uuid,
        owner: SettingOwner,
        key: &str,
        value: &Value,
        expected: Option<u64>,
        now: i64,
    ) -> Result<Setting, UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        let place = &of(scope, owner).key(&(key,));
        self.context
            .once(|transaction| async move {
                let old: Option<Setting> = load(&transaction, place).await?;
                let current = old.as_ref().map_or(0, |setting| setting.version);
                if expected.is_some_and(|expected| expected != current) {
                    return Err(UpdateError::VersionMismatch { current });
                }
                let Some(old) = old else {
                    let (kind, owner) = parts(scope, owner);
                    let new = Setting {
                        tenant_id: tenant,
                        scope: kind,
                        owner,
                        key: key.to_owned(),
                        value: value.clone(),
                        created_at: now,
                        updated_at: now,
                        version: FIRST_VERSION,
                    };
                    insert(&transaction, keys, scope, &new).await?;
                    return Ok(new);
                };
                change(&transaction, keys, scope, &old, |setting| {
                    if setting.value != *value {
                        setting.value = value.clone();
                        setting.updated_at = now;
                    }
                })
                .await
            })
            .await
    }

    /// A setting.
    pub async fn get(
        &self,
        tenant: Uuid,
        owner: SettingOwner,
        key: &str,
    ) -> Result<Option<Setting>, StoreError> {
        let place = &of(&self.context.keys.tenant(tenant), owner).key(&(key,));
        self.context.run(|transaction| async move { load(&transaction, place).await }).await
    }

    /// A page of an owner's settings in the order of their names, from the one after the name `after` on. A
    /// page ends before it grows beyond about 1 MiB.
    pub async fn list(
        &self,
        tenant: Uuid,
        owner: SettingOwner,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Setting, String>, StoreError> {
        let settings = &of(&self.context.keys.tenant(tenant), owner);
        self.context
            .run(|transaction| async move { record_page(&transaction, settings, after, limit).await })
            .await
    }

    /// Removes a setting; returns it as it was.
    pub async fn delete(
        &self,
        tenant: Uuid,
        owner: SettingOwner,
        key: &str,
        expected: Option<u64>,
    ) -> Result<Setting, UpdateError> {
        let scope = self.context.keys.tenant(tenant);
        let place = of(&scope, owner).key(&(key,));
        self.context.remove(&scope, &place, expected, |_| true).await
    }
}

impl Indexed for Setting {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        scope.key(TenantFamily::Settings, &(self.scope.name(), self.owner, self.key.as_str()))
    }
}

impl Versioned for Setting {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.tenant_id = old.tenant_id;
        self.scope = old.scope;
        self.owner = old.owner;
        self.key.clone_from(&old.key);
        self.created_at = old.created_at;
    }
}

fn parts(scope: &TenantScope, owner: SettingOwner) -> (SettingScope, Uuid) {
    match owner {
        SettingOwner::User(user) => (SettingScope::User, user),
        SettingOwner::Tenant => (SettingScope::Tenant, scope.id()),
    }
}

fn of(scope: &TenantScope, owner: SettingOwner) -> Branch {
    let (kind, owner) = parts(scope, owner);
    scope.branch(TenantFamily::Settings, &(kind.name(), owner))
}
