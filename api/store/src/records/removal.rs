//! Removals of whole tenants and users: what is to go, until all of it is gone.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Record;

/// A tenant or a user that is being removed. To everybody they are gone already; this says that their data must go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The tenant, or the user's tenant.
    pub tenant_id: Uuid,
    /// The user; absent if the whole tenant goes.
    pub user_id: Option<Uuid>,
    /// What people called the tenant; the user's e-mail address.
    pub name: String,
    /// Whether the tenant's audit trail goes too.
    pub with_audit: bool,
    /// When it began, in Unix milliseconds.
    pub began_at: i64,
}

impl Record for Removal {
    const FAMILY: &'static str = "removals";
}
