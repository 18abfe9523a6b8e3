//! The records in the store. A stored value is one format byte, then JSON; an older format stays readable for
//! as long as its byte is known here.
//!
//! Times are Unix milliseconds, but for [`TokenFamily`], which counts seconds as tokens do.

use bytes::Bytes;
use coditect_auth::AuthSession;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::StoreError;

/// The format byte of records written now.
const FORMAT: u8 = 1;

/// Something that is stored under a key of its own.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The key family, for error messages.
    const FAMILY: &'static str;

    /// The stored form.
    fn encode(&self) -> Result<Bytes, StoreError> {
        let mut bytes = vec![FORMAT];
        serde_json::to_writer(&mut bytes, self).map_err(|error| StoreError::Record {
            family: Self::FAMILY,
            reason: format!("it cannot be encoded: {error}"),
        })?;
        Ok(bytes.into())
    }

    /// Reads a stored form.
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let record = |reason| StoreError::Record { family: Self::FAMILY, reason };
        match bytes.split_first() {
            Some((&FORMAT, json)) => serde_json::from_slice(json).map_err(|error| record(error.to_string())),
            Some((found, _)) => {
                Err(record(format!("it has format {found}, this program knows format {FORMAT}")))
            }
            None => Err(record("it is empty".into())),
        }
    }
}

/// A customer. Registering creates one for the user alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The tenant's id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// Unix milliseconds.
    pub created_at: i64,
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
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
}

/// One login, from which all its auth sessions descend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFamily {
    /// The family's id.
    pub id: Uuid,
    /// Who logged in.
    pub user_id: Uuid,
    /// The user's tenant.
    pub tenant_id: Uuid,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; nothing of the family is valid from here on.
    pub ends_at: i64,
    /// Unix seconds; set when it was revoked.
    pub revoked_at: Option<i64>,
}

/// What a workspace is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionType {
    /// A plain workspace.
    #[default]
    Workspace,
    /// A workspace for AI agents.
    AiStudio,
    /// A workspace opened in Theia.
    Theia,
}

/// Where a workspace is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// It can be opened.
    #[default]
    Active,
}

/// A workspace of one user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The workspace's id.
    pub id: Uuid,
    /// What its user calls it.
    pub name: String,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The user it belongs to.
    pub user_id: Uuid,
    /// Where its files are, as the client named it.
    pub workspace_path: Option<String>,
    /// What it is for.
    pub r#type: SessionType,
    /// The client's own settings.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// The conversation that belongs to it.
    pub conversation_id: Option<Uuid>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Unix milliseconds.
    pub last_accessed_at: i64,
}

impl Record for Tenant {
    const FAMILY: &'static str = "tenant";
}

impl Record for User {
    const FAMILY: &'static str = "users";
}

impl Record for AuthSession {
    const FAMILY: &'static str = "auth_sessions";
}

impl Record for TokenFamily {
    const FAMILY: &'static str = "families";
}

impl Record for Session {
    const FAMILY: &'static str = "sessions";
}

/// The form in which e-mail addresses are compared and stored: without surrounding space, lower case.
pub fn normalise_email(email: &str) -> String {
    email.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn tenant() -> Tenant {
        Tenant { id: Uuid::from_u128(1), name: "Ann".into(), created_at: 2 }
    }

    #[test]
    fn the_stored_form_is_stable() {
        let bytes = tenant().encode().unwrap();
        let expected =
            b"\x01{\"id\":\"00000000-0000-0000-0000-000000000001\",\"name\":\"Ann\",\"created_at\":2}";
        assert_eq!(bytes.as_ref(), expected.as_slice());
        assert_eq!(Tenant::decode(&bytes).unwrap(), tenant());
    }

    #[test]
    fn what_cannot_be_read_names_the_family_and_the_format() {
        let error = Tenant::decode(b"\x02{}").unwrap_err().to_string();
        assert_eq!(
            error,
            "the stored tenant record cannot be read: it has format 2, this program knows format 1"
        );
        assert!(Tenant::decode(b"").is_err());
        assert!(Tenant::decode(b"\x01{\"id\":").is_err());
    }
}
