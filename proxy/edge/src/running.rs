//! What runs in workspaces on this replica: terminals, and sockets into their IDEs. It ends when its workspace is paused
//! or removed, here or on another replica.

use async_trait::async_trait;
use coditect_proxy::WorkspaceEnds;
use coditect_store::{Repositories, StoreError};
use coditect_terminal::TerminalService;
use std::collections::HashSet;
use uuid::Uuid;

/// What runs in workspaces here.
#[async_trait]
pub(crate) trait Running: Send + Sync {
    /// Ends what runs in a workspace that is not active any more. One that was resumed meanwhile is left alone.
    ///
    /// # Errors
    /// Where it cannot be found out whether it is active; nothing is ended then.
    async fn recheck(&self, tenant: Uuid, workspace: Uuid) -> Result<(), StoreError>;

    /// The same for all workspaces in which anything runs.
    ///
    /// # Errors
    /// As [`Self::recheck`], with the first that fails.
    async fn recheck_all(&self) -> Result<(), StoreError>;
}

/// The terminals and sockets of this replica.
#[derive(Clone)]
pub(crate) struct TerminalsAndSockets {
    pub(crate) repositories: Repositories,
    pub(crate) terminals: TerminalService,
    pub(crate) sockets: WorkspaceEnds,
}

impl TerminalsAndSockets {
    /// Ends what runs in a workspace of which the API has just said that it is paused or gone.
    pub(crate) async fn ended(&self, tenant: Uuid, workspace: Uuid) {
        if let Err(error) = self.recheck(tenant, workspace).await {
            tracing::warn!(%error, "whether a workspace was resumed is not known; what runs in it ends");
            self.end(tenant, workspace);
        }
    }

    fn end(&self, tenant: Uuid, workspace: Uuid) {
        let terminals = self.terminals.close_session(tenant, workspace);
        self.sockets.end(tenant, workspace);
        tracing::debug!(%workspace, terminals, "what ran in a workspace ends");
    }
}

#[async_trait]
impl Running for TerminalsAndSockets {
    async fn recheck(&self, tenant: Uuid, workspace: Uuid) -> Result<(), StoreError> {
        if !self.repositories.sessions().is_active(tenant, workspace).await? {
            self.end(tenant, workspace);
        }
        Ok(())
    }

    async fn recheck_all(&self) -> Result<(), StoreError> {
        let mut places: HashSet<_> = self.terminals.workspaces().into_iter().collect();
        places.extend(self.sockets.with_sockets());
        for (tenant, workspace) in places {
            self.recheck(tenant, workspace).await?;
        }
        Ok(())
    }
}
