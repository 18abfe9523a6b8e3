//! AI agents that a tenant has defined.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Record;

/// An AI agent of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// The agent's id.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// What people call it. In the form [`normalise_name`] gives it, no other agent of the tenant has it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How it is set up: model, instructions, tools.
    pub settings: Map<String, Value>,
    /// Who made it.
    pub created_by: Uuid,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Counts the changes.
    pub version: u64,
}

impl Record for Agent {
    const FAMILY: &'static str = "agents";
}

/// The form in which agents' names are compared: lower case, each run of white space one space, none around.
pub fn normalise_name(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
