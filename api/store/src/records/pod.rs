//! Which workspace has which pod. Outside all tenants: a pool of pods serves them all.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Record;

/// A pod that belongs to a workspace for the time being.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodAllocation {
    /// The pool the pod is in.
    pub pool: String,
    /// The pod, unique in its pool.
    pub pod: String,
    /// The workspace's tenant.
    pub tenant_id: Uuid,
    /// The workspace's user.
    pub user_id: Uuid,
    /// The workspace.
    pub session_id: Uuid,
    /// Unix milliseconds.
    pub since: i64,
}

impl Record for PodAllocation {
    const FAMILY: &'static str = "pod_allocations";
}
