//! Workspaces, which the API calls sessions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{FIRST_VERSION, Record};

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
    /// It can be worked in.
    #[default]
    Active,
    /// Nothing of it runs; opening it resumes it where it was.
    Paused,
    /// It is being copied from another one, and cannot be opened before that is done.
    Forking,
    /// It is being removed. To everybody it is gone already.
    Deleting,
}

impl SessionStatus {
    /// Whether something is under way that must be brought to its end.
    pub fn is_unsettled(self) -> bool {
        matches!(self, Self::Forking | Self::Deleting)
    }
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
    /// Where its files are, as the client named it. Several workspaces may name the same.
    pub workspace_path: Option<String>,
    /// What it is for.
    pub r#type: SessionType,
    /// The client's own settings.
    pub settings: Map<String, Value>,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// The conversation that belongs to it.
    pub conversation_id: Option<Uuid>,
    /// The workspace it is, or was, copied from.
    pub forked_from: Option<Uuid>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Unix milliseconds; in the stored record, of its creation or (in older records) of an access then. Accesses
    /// since are noted in a key of their own, so that they are no changes; the repository reads both.
    pub last_accessed_at: i64,
    /// Counts the changes.
    pub version: u64,
}

impl Record for Session {
    const FAMILY: &'static str = "sessions";
    const FORMAT: u8 = 3;

    fn upgrade(from: u8, fields: &mut Map<String, Value>) -> Result<(), String> {
        match from {
            1 => {
                fields.insert("version".into(), FIRST_VERSION.into());
                Ok(())
            }
            2 => {
                fields.insert("forked_from".into(), Value::Null);
                Ok(())
            }
            _ => Err(format!("there never was a format {from}")),
        }
    }
}
