//! Logins. The auth session itself is [`coditect_auth::AuthSession`]: claims are made from it there.

use coditect_auth::AuthSession;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Record;

/// One login, from which all its auth sessions descend. Changes when it is refreshed and when it is revoked.
///
/// What older programs did not know is optional and not a format of its own, so that they can read what is written now
/// while both run.
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
    /// Unix seconds; when it was last refreshed.
    #[serde(default)]
    pub refreshed_at: Option<i64>,
    /// The `User-Agent` of the client that logged in or refreshed last.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// That client's address.
    #[serde(default)]
    pub address: Option<String>,
}

impl Record for AuthSession {
    const FAMILY: &'static str = "auth_sessions";
}

impl Record for TokenFamily {
    const FAMILY: &'static str = "families";
}
