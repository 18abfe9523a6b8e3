//! Tenants and their members.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{FIRST_VERSION, Record};

/// A customer. Registering creates one for the user alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The tenant's id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Whether its members may do anything.
    pub status: TenantStatus,
    /// Since when it is suspended, in Unix milliseconds.
    pub suspended_at: Option<i64>,
    /// Why, in an operator's words.
    pub reason: Option<String>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Counts the changes.
    pub version: u64,
}

/// Whether a tenant's members may do anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// They may.
    #[default]
    Active,
    /// They may not, until an operator lets them. Their data and logins stay.
    Suspended,
}

/// What a user may do in the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, also ending the tenant.
    Owner,
    /// Manages members.
    Admin,
    /// Works in own workspaces.
    Member,
}

/// Whether a user may log in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// The user may.
    #[default]
    Active,
    /// The user may not, but keeps the e-mail address and all data.
    Disabled,
}

/// A person who can log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's id.
    pub id: Uuid,
    /// The tenant the user belongs to.
    pub tenant_id: Uuid,
    /// The address, in the form [`normalise_email`] gives it.
    pub email: String,
    /// Argon2id, PHC string.
    pub password_hash: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may log in.
    pub status: UserStatus,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Counts the changes.
    pub version: u64,
}

impl Record for Tenant {
    const FAMILY: &'static str = "tenant";
    const FORMAT: u8 = 3;

    fn upgrade(from: u8, fields: &mut Map<String, Value>) -> Result<(), String> {
        match from {
            1 => {
                let created_at = fields.get("created_at").cloned().ok_or("missing field `created_at`")?;
                fields.insert("updated_at".into(), created_at);
                fields.insert("version".into(), FIRST_VERSION.into());
                Ok(())
            }
            2 => {
                fields.insert("status".into(), "active".into());
                fields.insert("suspended_at".into(), Value::Null);
                fields.insert("reason".into(), Value::Null);
                Ok(())
            }
            _ => Err(format!("there never was a format {from}")),
        }
    }
}

impl Record for User {
    const FAMILY: &'static str = "users";
    const FORMAT: u8 = 2;

    fn upgrade(from: u8, fields: &mut Map<String, Value>) -> Result<(), String> {
        match from {
            1 => {
                fields.insert("status".into(), "active".into());
                fields.insert("version".into(), FIRST_VERSION.into());
                Ok(())
            }
            _ => Err(format!("there never was a format {from}")),
        }
    }
}

/// The form in which e-mail addresses are compared and stored: without surrounding space, lower case.
pub fn normalise_email(email: &str) -> String {
    email.trim().to_lowercase()
}
