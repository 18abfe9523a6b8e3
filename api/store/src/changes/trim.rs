//! Removing old changes.

use super::position::{Position, stamp_in};
use super::{RETAINED, Recorded, change};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, Keyspace};
use crate::store::{RetryPolicy, Store};
use crate::transaction::Transaction;

/// Changes looked at, and removed, in one transaction.
const PAGE_ROWS: usize = 1000;

/// Removes changes older than [`RETAINED`] at `now` (Unix milliseconds), in several transactions if there are many;
/// each moves the horizon as well. Returns about how many went: those that shared a transaction with the last of a page
/// go uncounted. Any number of replicas may do this.
///
/// Cancel safe: what was not removed goes the next time.
pub async fn trim(store: &Store, keys: &Keyspace, now: i64) -> Result<usize, StoreError> {
    let mut removed = 0;
    loop {
        let page = store
            .run(
                &RetryPolicy::idempotent(),
                |transaction| async move { trim_page(&transaction, keys, now).await },
            )
            .await?;
        removed += page;
        if page < PAGE_ROWS {
            return Ok(removed);
        }
    }
}

/// Removes the old ones among the oldest changes.
async fn trim_page(transaction: &Transaction, keys: &Keyspace, now: i64) -> Result<usize, StoreError> {
    let key = keys.global(GlobalFamily::ChangesHorizon, &());
    // Read so that two of these cannot both commit: the horizon must not go back.
    let horizon = transaction.get(&key).await?;
    let horizon = horizon.map(|value| stamp_in(GlobalFamily::ChangesHorizon, &value)).transpose()?;
    let span = keys.global_span(GlobalFamily::Changes, &());
    let read = RangeRead::new(span.begin.as_slice(), span.end, PAGE_ROWS).snapshot();
    let page = transaction.range(read).await?;
    let mut last = None;
    let mut removed = 0;
    for row in &page.rows {
        let recorded = change::decode(Position::of_key(keys, &row.key)?, &row.value);
        if !is_old(&recorded, now) {
            break;
        }
        last = Some(recorded.position);
        removed += 1;
    }
    if let Some(last) = last {
        // All of the last transaction's changes, so that the horizon can be told by its stamp.
        transaction.clear_range(span.begin, Position::after(last.stamp()).next_key(keys))?;
        let horizon = horizon.map_or(last.stamp(), |horizon| horizon.max(last.stamp()));
        transaction.set(key, horizon.0.to_vec())?;
    }
    Ok(removed)
}

/// Whether a change may go. One whose time cannot be read, or lies so far ahead that it must be wrong, goes with
/// those before it: else it would keep all later ones.
fn is_old(recorded: &Recorded, now: i64) -> bool {
    let retained = i64::try_from(RETAINED.as_millis()).unwrap_or(i64::MAX);
    recorded.at.is_none_or(|at| at.abs_diff(now) > retained.unsigned_abs())
}
