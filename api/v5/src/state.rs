//! What the handlers work with. The edge builds it once.

use std::sync::Arc;

use coditect_auth::{Clock, Entropy, Families, PasswordHasher, TokenIssuer};
use coditect_config::AuthConfig;
use coditect_store::{AuditLog, Repositories};

use crate::metrics::ApiMetrics;
use crate::transfers::Transfers;

/// Everything the API needs; nothing is global.
pub struct ApiState {
    /// Where everything is stored.
    pub repositories: Repositories,
    /// Where it is recorded who did what.
    pub audit: AuditLog,
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
    /// The contents of files on their way in and out.
    pub transfers: Transfers,
    /// What Prometheus learns.
    pub metrics: Arc<ApiMetrics>,
}
