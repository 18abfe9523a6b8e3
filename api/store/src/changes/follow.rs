//! Following the feed.

use std::time::Duration;

use super::position::{Position, stamp_in};
use super::{Recorded, change};
use crate::contract::{RangeRead, Watch};
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, Keyspace};
use crate::store::{RetryPolicy, Store};
use crate::transaction::Transaction;

/// How often a follower looks although its watch says nothing, since a watch may be lost.
pub const POLL: Duration = Duration::from_secs(10);
/// How long a follower waits before it looks again where no watch could be had.
const WITHOUT_WATCH: Duration = Duration::from_millis(250);
/// The most changes given out at once.
const PAGE_ROWS: usize = 500;

/// What a follower learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// Changes, in their order; at least one.
    Changes(Vec<Recorded>),
    /// The follower was away for longer than changes are kept, or its position is none of this store's: whatever it
    /// has cached must be read anew. It then goes on after the newest change.
    Reload,
}

/// One reader of the feed.
pub struct Follower {
    store: Store,
    keys: Keyspace,
    position: Position,
    poll: Duration,
}

/// What is to be seen from a position.
enum Seen {
    /// Something was learned; the position to go on from.
    News(Followed, Position),
    /// Nothing is new; the watch ends when something is. `None` if it could not be had.
    Nothing(Option<Watch>),
}

impl Follower {
    /// Follows from the newest change on. What is read from the store after this returned is as new as that.
    pub async fn from_now(store: Store, keys: Keyspace) -> Result<Self, StoreError> {
        let keys_ref = &keys;
        let head = store
            .run(&RetryPolicy::idempotent(), |transaction| async move { head(&transaction, keys_ref).await })
            .await?;
        Ok(Self::at(store, keys, head))
    }

    /// Follows from a position that was kept.
    pub fn at(store: Store, keys: Keyspace, position: Position) -> Self {
        Self { store, keys, position, poll: POLL }
    }

    /// The same follower, looking at least every `poll` although its watch says nothing.
    pub fn polling(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// The position up to which changes were given out. Keep it once they are dealt with.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Waits for what comes after the position.
    ///
    /// Cancel safe: a dropped call loses nothing.
    ///
    /// # Errors
    ///
    /// The store's; following may be gone on with, after a pause.
    pub async fn next(&mut self) -> Result<Followed, StoreError> {
        loop {
            let this = &*self;
            let look = |transaction| async move { this.look(&transaction).await };
            match self.store.run(&RetryPolicy::idempotent(), look).await? {
                Seen::News(followed, position) => {
                    self.position = position;
                    return Ok(followed);
                }
                Seen::Nothing(watch) => self.wait(watch).await?,
            }
        }
    }

    /// Waits until it is worth looking again.
    async fn wait(&self, watch: Option<Watch>) -> Result<(), StoreError> {
        let Some(watch) = watch else {
            tokio::time::sleep(WITHOUT_WATCH.min(self.poll)).await;
            return Ok(());
        };
        match tokio::time::timeout(self.poll, watch).await {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(StoreError::Closed)) => Err(StoreError::Closed),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the watch of the change feed was lost");
                tokio::time::sleep(WITHOUT_WATCH.min(self.poll)).await;
                Ok(())
            }
        }
    }

    async fn look(&self, transaction: &Transaction) -> Result<Seen, StoreError> {
        let (position, head) = (self.position, head(transaction, &self.keys).await?);
        if position == head {
            let watch = transaction.watch(self.keys.global(GlobalFamily::ChangesHead, &())).await;
            return match watch {
                Ok(watch) => Ok(Seen::Nothing(Some(watch))),
                Err(StoreError::TooManyWatches) => Ok(Seen::Nothing(None)),
                Err(error) => Err(error),
            };
        }
        let horizon = transaction.get_snapshot(self.keys.global(GlobalFamily::ChangesHorizon, &())).await?;
        let horizon = horizon.map(|value| stamp_in(GlobalFamily::ChangesHorizon, &value)).transpose()?;
        if position > head || horizon.is_some_and(|horizon| position < Position::after(horizon)) {
            return Ok(Seen::News(Followed::Reload, head));
        }
        let begin = position.next_key(&self.keys);
        let read = RangeRead::new(begin, head.next_key(&self.keys), PAGE_ROWS).snapshot();
        let page = transaction.range(read).await?;
        let changes: Vec<_> = page
            .rows
            .iter()
            .map(|row| Ok(change::decode(Position::of_key(&self.keys, &row.key)?, &row.value)))
            .collect::<Result<_, StoreError>>()?;
        // The end of what there is is the end of a transaction, which is how head and horizon are told.
        let next = if page.more { changes.last().map_or(head, |last| last.position) } else { head };
        Ok(match changes.is_empty() {
            // Only if somebody tampered with the feed.
            true => Seen::News(Followed::Reload, head),
            false => Seen::News(Followed::Changes(changes), next),
        })
    }
}

/// The position after the newest change.
async fn head(transaction: &Transaction, keys: &Keyspace) -> Result<Position, StoreError> {
    let value = transaction.get_snapshot(keys.global(GlobalFamily::ChangesHead, &())).await?;
    value
        .map_or(Ok(Position::START), |value| stamp_in(GlobalFamily::ChangesHead, &value).map(Position::after))
}
