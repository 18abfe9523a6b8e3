//! Files of a workspace: their names and what they hold, now and before. The bytes are kept by content, once per
//! tenant.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Record;
use crate::blobs::BlobHash;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The digest of its bytes, which is also where they are kept.
    pub sha256: BlobHash,
    /// How many bytes there are.
    pub size: u64,
    /// Whether it may be executed.
    pub executable: bool,
}

/// A file of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The file's id; it stays when the file is moved or its content replaced.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The workspace it belongs to.
    pub session_id: Uuid,
    /// Its path in the workspace, as [`crate::file_path`] allows it. One file of a workspace has it.
    pub path: String,
    /// What it holds.
    pub content: Content,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Counts the changes. Above the number of every version that is kept of the path.
    pub version: u64,
}

/// What was at a path before it was replaced or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileVersion {
    /// Holds on to the content.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// The workspace it belongs to.
    pub session_id: Uuid,
    /// The path. Versions stay with it when a file is moved away.
    pub path: String,
    /// The version that the file had.
    pub version: u64,
    /// What it held.
    pub content: Content,
    /// When the file came to hold that, or to this path. Unix milliseconds.
    pub updated_at: i64,
    /// When it was replaced or removed. Unix milliseconds.
    pub replaced_at: i64,
}

impl Record for File {
    const FAMILY: &'static str = "files";
}

impl Record for FileVersion {
    const FAMILY: &'static str = "file_versions";
}
