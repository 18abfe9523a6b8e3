//! Conversations and their messages.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Record;

/// A conversation of one user, in a workspace or outside of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The conversation's id.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The user it belongs to.
    pub user_id: Uuid,
    /// The workspace it was begun in. It outlives the workspace.
    pub session_id: Option<Uuid>,
    /// What its user calls it.
    pub title: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds; messages do not change it.
    pub updated_at: i64,
    /// Counts the changes; messages do not.
    pub version: u64,
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageRole {
    /// The conversation's user.
    User,
    /// An agent or model.
    Assistant,
    /// Whoever set the conversation up.
    System,
    /// A tool that an agent called.
    Tool,
}

/// One message. Never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The message's id.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The conversation it belongs to.
    pub conversation_id: Uuid,
    /// Who speaks.
    pub role: MessageRole,
    /// What is said.
    pub content: String,
    /// What the client keeps with it: model, tool calls and the like.
    pub metadata: Map<String, Value>,
    /// Unix milliseconds; later than that of every message that was in the conversation before it.
    pub created_at: i64,
}

impl Record for Conversation {
    const FAMILY: &'static str = "conversations";
}

impl Record for Message {
    const FAMILY: &'static str = "messages";
}
