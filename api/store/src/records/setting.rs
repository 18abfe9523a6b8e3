//! Settings of users and tenants.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Record;

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingScope {
    /// One user's; the owner is the user.
    User,
    /// All users' of the tenant; the owner is the tenant.
    Tenant,
}

impl SettingScope {
    /// Its name in keys.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tenant => "tenant",
        }
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// Whether it is a user's or the tenant's.
    pub scope: SettingScope,
    /// The user, or the tenant.
    pub owner: Uuid,
    /// Its name.
    pub key: String,
    /// What it is set to.
    pub value: Value,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Counts the changes.
    pub version: u64,
}

impl Record for Setting {
    const FAMILY: &'static str = "settings";
}
