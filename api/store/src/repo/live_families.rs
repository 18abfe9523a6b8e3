//! The logins of a user that are alive, and where each was last seen.

use uuid::Uuid;

use super::page::time_page;
use super::{AuthSessions, Client, Order, Page, TimeCursor, save};
use crate::error::StoreError;
use crate::keyspace::{TenantFamily, TenantScope};
use crate::records::TokenFamily;
use crate::transaction::Transaction;

impl AuthSessions<'_> {
    /// A page of a user's families that live at `now` (Unix seconds): those that end last first, which are the newest
    /// logins. A page may have fewer families than `limit` although there are more: those that were revoked are left
    /// out.
    pub async fn live_families(
        &self,
        tenant: Uuid,
        user: Uuid,
        after: Option<&TimeCursor>,
        limit: usize,
        now: i64,
    ) -> Result<Page<TokenFamily>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::FamiliesByUser, &(user,));
        self.context
            .run(|transaction| async move {
                let family = |place: &TimeCursor| scope.family(place.id);
                let order = Order::NewestFirst;
                let mut page: Page<TokenFamily> =
                    time_page(&transaction, index, after, order, limit, family).await?;
                if page.items.iter().any(|family| family.ends_at <= now) {
                    // Those after it have ended before it.
                    page.next = None;
                }
                page.items.retain(|family| family.ends_at > now && family.revoked_at.is_none());
                Ok(page)
            })
            .await
    }
}

/// Notes with a family that it was refreshed at `now` (Unix seconds), and by whom.
pub(super) fn note_refresh(
    transaction: &Transaction,
    scope: &TenantScope,
    family: &mut TokenFamily,
    now: i64,
    client: &Client,
) -> Result<(), StoreError> {
    family.refreshed_at = Some(now);
    family.user_agent.clone_from(&client.user_agent);
    family.address.clone_from(&client.address);
    save(transaction, scope.family(family.id), family)
}
