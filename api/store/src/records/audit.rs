//! The audit trail.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Record;

/// Something that was done in a tenant. Never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The entry's id.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// When it was done, in Unix milliseconds.
    pub at: i64,
    /// The user who did it; absent if the program did.
    pub actor: Option<Uuid>,
    /// What was done, for example `session.delete`.
    pub action: String,
    /// What it was done to.
    pub object: AuditObject,
    /// The client's address.
    pub address: Option<String>,
    /// What else is worth knowing. Never secrets.
    pub details: Map<String, Value>,
}

/// What something was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditObject {
    /// Its kind, for example `session`.
    pub kind: String,
    /// Its id, among those of its kind.
    pub id: String,
}

impl Record for AuditEntry {
    const FAMILY: &'static str = "audit";
}
