//! Which one-use tickets were used, over all tenants. An entry is kept until well after its ticket has expired.

use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::{LedgerError, TicketLedger};
use uuid::Uuid;

use super::{Context, Repositories, keys_in};
use crate::contract::ReadMode;
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, KeySpan, Keyspace};

/// Seconds in a minute: entries lie in the order of the minutes in which their tickets end.
const MINUTE: i64 = 60;
/// How many minutes an entry is kept after that of its ticket's end: more than the clocks of replicas may differ, since
/// one that is behind would still take a ticket whose entry is gone.
const KEPT_MINUTES: i64 = 5;
/// Old entries that one redemption removes: more than the one it adds, so that they cannot pile up.
const CLEARED: usize = 8;

/// The tickets that were used.
pub struct Tickets<'a> {
    context: &'a Context,
}

impl<'a> Tickets<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Marks a ticket as used that ends at `exp` (Unix seconds); false if it was before. Of any number of callers, on
    /// any replicas, one gets true; none does if the store could not say what became of its commit.
    pub async fn redeem(&self, ticket: Uuid, exp: i64) -> Result<bool, StoreError> {
        let keys = &self.context.keys;
        let key = &keys.global(GlobalFamily::TicketsUsed, &(exp.div_euclid(MINUTE), ticket));
        let expired = &expired(keys, self.context.clock.now());
        self.context
            .once(|transaction| async move {
                if transaction.get(key).await?.is_some() {
                    return Ok(false);
                }
                // Not counted as read: several may remove the same ones, and none has to wait for it.
                for old in keys_in(&transaction, expired.clone(), CLEARED, false, ReadMode::Snapshot).await? {
                    transaction.clear(old)?;
                }
                transaction.set(key.clone(), Bytes::new())?;
                Ok(true)
            })
            .await
    }
}

/// The entries that are needed no longer at `now` (Unix seconds).
fn expired(keys: &Keyspace, now: i64) -> KeySpan {
    let tickets = keys.branch(GlobalFamily::TicketsUsed, &());
    let minute = now.div_euclid(MINUTE).saturating_sub(KEPT_MINUTES);
    KeySpan { begin: tickets.span().begin, end: tickets.key(&(minute,)).into() }
}

#[async_trait]
impl TicketLedger for Repositories {
    async fn redeem(&self, jti: Uuid, exp: i64) -> Result<bool, LedgerError> {
        self.tickets().redeem(jti, exp).await.map_err(|error| LedgerError(Box::new(error)))
    }
}
