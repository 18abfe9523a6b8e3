//! What handlers tell the audit trail.

use coditect_auth::{AuthSession, Claims};
use coditect_store::records::AuditObject;
use coditect_store::{AuditAction, AuditEvent, Client};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::ApiError;
use crate::state::ApiState;

/// Something that was done, from where.
pub(crate) struct Deed<'a> {
    /// In whose trail it belongs.
    tenant: Uuid,
    actor: Option<Uuid>,
    client: &'a Client,
    details: Map<String, Value>,
}

impl<'a> Deed<'a> {
    /// A deed of a signed-in user.
    pub(crate) fn by(claims: &Claims, client: &'a Client) -> Self {
        Self { actor: Some(claims.sub), ..Self::by_nobody(claims.tenant_id, client) }
    }

    /// A deed of the user who has just logged in or refreshed.
    pub(crate) fn by_login(session: &AuthSession, client: &'a Client) -> Self {
        Self { actor: Some(session.user_id), ..Self::by_nobody(session.tenant_id, client) }
    }

    /// A deed of somebody who proved nothing.
    pub(crate) fn by_nobody(tenant: Uuid, client: &'a Client) -> Self {
        Self { tenant, actor: None, client, details: Map::new() }
    }

    /// Adds a detail.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Records that `action` was done to the object of this kind and id. Durable once it returns.
    ///
    /// # Errors
    /// What the store says: the deed was done, and the client that tries again leaves at worst one more entry.
    pub(crate) async fn record(
        self,
        state: &ApiState,
        action: AuditAction,
        kind: &str,
        id: impl ToString,
    ) -> Result<(), ApiError> {
        let event = AuditEvent {
            tenant: self.tenant,
            actor: self.actor,
            action,
            object: AuditObject { kind: kind.to_owned(), id: id.to_string() },
            address: self.client.address.clone(),
            details: self.details,
        };
        Ok(state.audit.record(event).await?)
    }
}
