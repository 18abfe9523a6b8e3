//! What a front end keeps of a workspace, part by part.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Record;
use crate::blobs::BlobHash;

/// A part of a workspace's state. Each is written for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatePart {
    /// `editor_state`: layout, cursors, scroll positions.
    Editor,
    /// `active_files`: what is open.
    ActiveFiles,
    /// `terminal_state`: which terminals there are, and how they are laid out.
    Terminal,
    /// `session_memory`: what agents and extensions keep with the workspace.
    Memory,
}

impl StatePart {
    /// Every part.
    pub const ALL: [Self; 4] = [Self::Editor, Self::ActiveFiles, Self::Terminal, Self::Memory];

    /// Its name in paths and keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Editor => "editor",
            Self::ActiveFiles => "active-files",
            Self::Terminal => "terminal",
            Self::Memory => "memory",
        }
    }
}

/// A part of a workspace's state, but for its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionState {
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The workspace it belongs to.
    pub session_id: Uuid,
    /// Which part it is.
    pub part: StatePart,
    /// Counts the changes.
    pub version: u64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// How many bytes there are.
    pub size: u64,
    /// Their digest.
    pub sha256: BlobHash,
    /// In how many chunks they are kept.
    pub chunks: u32,
}

impl Record for SessionState {
    const FAMILY: &'static str = "session_states";
}
