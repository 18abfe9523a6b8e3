//! The cookies of a browser that has opened a workspace.

use crate::Claims;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the workspace cookie says: it opens one workspace, for as long as the token family lives.
///
/// It stands for the auth session, not for an access token, and is accepted nowhere but under that workspace's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspacePass {
    /// Who opened it; `exp` is the end of the family.
    #[serde(flatten)]
    pub claims: Claims,
    /// The workspace session it opens.
    pub workspace: Uuid,
}

/// Which workspace a browser opened last, and for whom. It grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWorkspace {
    /// Who opened it; `exp` is the end of the family.
    #[serde(flatten)]
    pub claims: Claims,
    /// The workspace session it points at.
    pub workspace: Uuid,
}
