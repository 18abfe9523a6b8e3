//! What the commands about people ask of an open store.

use super::args::RoleName;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A user to add.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct NewUser {
    pub(super) email: String,
    pub(super) first_name: String,
    pub(super) last_name: String,
    /// The tenant to join; none makes one.
    pub(super) tenant: Option<Uuid>,
    pub(super) role: RoleName,
    pub(super) password_hash: String,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser").field("email", &self.email).finish_non_exhaustive()
    }
}

/// What can be asked for. A user is named by e-mail address or as TENANT/USER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::store) enum PeopleRequest {
    UserAdd(NewUser),
    UserList { tenant: Option<Uuid>, limit: u64 },
    UserShow { user: String },
    UserDisable { user: String },
    UserEnable { user: String },
    UserSetPassword { user: String, password_hash: String },
    TenantList { limit: u64 },
    TenantShow { tenant: Uuid },
    TenantSuspend { tenant: Uuid, reason: Option<String> },
    TenantResume { tenant: Uuid },
    TenantExport { tenant: Uuid },
    TenantDelete { tenant: Uuid, with_audit: bool },
}

impl PeopleRequest {
    /// What is asked for, without names.
    pub(in crate::store) fn name(&self) -> &'static str {
        match self {
            Self::UserAdd(_) => "user add",
            Self::UserList { .. } => "user list",
            Self::UserShow { .. } => "user show",
            Self::UserDisable { .. } => "user disable",
            Self::UserEnable { .. } => "user enable",
            Self::UserSetPassword { .. } => "user set-password",
            Self::TenantList { .. } => "tenant list",
            Self::TenantShow { .. } => "tenant show",
            Self::TenantSuspend { .. } => "tenant suspend",
            Self::TenantResume { .. } => "tenant resume",
            Self::TenantExport { .. } => "tenant export",
            Self::TenantDelete { .. } => "tenant delete",
        }
    }
}
