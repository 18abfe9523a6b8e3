//! What the handlers work with. The edge builds it once.

use std::sync::Arc;

use coditect_auth::{Clock, Entropy, Families, PasswordHasher, TokenIssuer};
use coditect_config::{AuthConfig, LimitsConfig};
use coditect_store::{Accesses, AuditLog, Repositories};

use crate::metrics::ApiMetrics;
use crate::places::Places;
use crate::plugins::PluginTrials;
use crate::throttle::Throttle;
use crate::transfers::Transfers;

/// Everything the API needs; nothing is global.
pub struct ApiState {
    /// Where everything is stored.
    pub repositories: Repositories,
    /// Where it is recorded who did what.
    pub audit: AuditLog,
    /// Where accesses of workspaces are noted.
    pub accesses: Accesses,
    /// Mints tokens from stored auth sessions.
    pub issuer: Arc<TokenIssuer>,
    /// The index of live families, shared with the gate, so that a logout takes effect at once.
    pub families: Arc<Families>,
    /// The bounded Argon2 pool.
    pub passwords: Arc<PasswordHasher>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// How long families live and how long a lost refresh may be retried.
    pub auth: AuthConfig,
    /// What tries uploaded plugins out.
    pub plugins: PluginTrials,
    /// How much there may be of what users make.
    pub limits: LimitsConfig,
    /// Places for workspaces that are being copied by this process.
    pub forks: ForkPlaces,
    /// How often passwords and tokens may be tried.
    pub throttle: Throttle,
    /// The contents of files on their way in and out.
    pub transfers: Transfers,
    /// What Prometheus learns.
    pub metrics: Arc<ApiMetrics>,
}

/// How many workspaces one process copies at a time.
const FORKS_AT_ONCE: usize = 16;
/// How many of them may be of one tenant.
const FORKS_PER_TENANT: usize = 4;

/// Places for workspaces that are being copied.
#[derive(Debug, Clone)]
pub struct ForkPlaces(pub(crate) Places);

impl Default for ForkPlaces {
    fn default() -> Self {
        Self(Places::new(FORKS_AT_ONCE, FORKS_PER_TENANT))
    }
}
