//! Transactions that must not happen twice although a commit's result may be lost.
//!
//! Each attempt writes a marker, a unique key, in the transaction itself, and counts it as read. After an unknown
//! result the next attempt looks for it first: so either the marker is there and the work is done, or this
//! attempt and the lost one, which may still be on its way, cannot both commit. An attempt that ends without
//! writes, or in the closure's own error, leaves the marker all the same before that is believed.

use std::future::Future;

use bytes::Bytes;

use crate::error::{StoreError, TransactionError};
use crate::keyspace::Marker;
use crate::store::{Retries, RetryPolicy, Store};
use crate::transaction::Transaction;

impl Store {
    /// Like [`Store::run`], and the transaction commits at most once even if a commit's result is lost.
    ///
    /// The value returned is that of the attempt that committed. `marker` must be fresh. After the closure's own
    /// error nothing was committed, and nothing will be.
    ///
    /// # Errors
    ///
    /// As [`Store::run`]. [`StoreError::Unknown`] only if attempts or time ran out before the fate of a lost
    /// commit was known.
    pub async fn run_once<T, E, F, Fut>(
        &self,
        policy: &RetryPolicy,
        marker: &Marker,
        mut attempt: F,
    ) -> Result<T, E>
    where
        E: TransactionError,
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let policy = RetryPolicy { retry_unknown: true, ..policy.clone() };
        let mut retries = Retries::new(&policy);
        // The results of attempts whose commit may have happened, by the number in their marker.
        let mut lost: Vec<(u32, T)> = Vec::new();
        for number in 0_u32.. {
            let transaction = self.begin();
            let outcome = self.attempt_once(&transaction, marker, number, &lost, &mut attempt).await;
            let error = match outcome {
                Ok(Attempt::Done(earlier)) => {
                    if let Some(at) = lost.iter().position(|(n, _)| *n == earlier) {
                        return Ok(lost.swap_remove(at).1);
                    }
                    // Only possible if the marker was not fresh.
                    return Err(E::from(StoreError::Unknown));
                }
                Ok(Attempt::Ready(value)) => match transaction.commit().await {
                    Ok(_) => return Ok(value),
                    Err(error) => {
                        if error.maybe_committed() {
                            lost.push((number, value));
                        }
                        E::from(error)
                    }
                },
                Err(error) if error.store_error().is_none() && !lost.is_empty() => {
                    // What was lost may still be on its way, and must not arrive after this was said.
                    let holder = self.rule_out(&mut retries, marker, number).await;
                    let at = holder.map(|holder| lost.iter().position(|(n, _)| *n == holder));
                    return match at {
                        Ok(Some(at)) => Ok(lost.swap_remove(at).1),
                        Ok(None) => Err(error),
                        Err(_) => Err(E::from(StoreError::Unknown)),
                    };
                }
                Err(error) => error,
            };
            let retryable = error.store_error().is_some();
            if let Err(error) = self.pause(&mut retries, error).await {
                return Err(if retryable && !lost.is_empty() { E::from(StoreError::Unknown) } else { error });
            }
        }
        Err(E::from(StoreError::Unknown))
    }

    async fn attempt_once<T, E, F, Fut>(
        &self,
        transaction: &Transaction,
        marker: &Marker,
        number: u32,
        lost: &[(u32, T)],
        attempt: &mut F,
    ) -> Result<Attempt<T>, E>
    where
        E: TransactionError,
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if !lost.is_empty()
            && let Some(earlier) = holder(transaction, marker).await?
        {
            return Ok(Attempt::Done(earlier));
        }
        let value = attempt(transaction.clone()).await?;
        // An attempt that only read has nothing that could happen twice, but what was lost before it does.
        if transaction.has_writes() || !lost.is_empty() {
            mark(transaction, marker, number)?;
        }
        Ok(Attempt::Ready(value))
    }

    /// Leaves the marker for `number`, an attempt that did nothing else, so that no lost one commits any more;
    /// unless one of these has. Returns the number the marker is for.
    async fn rule_out(
        &self,
        retries: &mut Retries<'_>,
        marker: &Marker,
        number: u32,
    ) -> Result<u32, StoreError> {
        loop {
            let transaction = self.begin();
            let left = async {
                if let Some(holder) = holder(&transaction, marker).await? {
                    return Ok(holder);
                }
                mark(&transaction, marker, number)?;
                transaction.commit().await.map(|_| number)
            };
            match left.await {
                Ok(holder) => return Ok(holder),
                Err(error) => self.pause(retries, error).await?,
            }
        }
    }
}

/// The number of the attempt that has committed, if one has.
async fn holder(transaction: &Transaction, marker: &Marker) -> Result<Option<u32>, StoreError> {
    let Some(found) = transaction.get(&marker.key).await? else { return Ok(None) };
    let number = <[u8; 4]>::try_from(found.as_ref()).map_err(|_| StoreError::Record {
        family: "idempotency",
        reason: format!("{} bytes instead of 4", found.len()),
    })?;
    Ok(Some(u32::from_be_bytes(number)))
}

/// Adds the marker to a transaction, and removes expired ones.
fn mark(transaction: &Transaction, marker: &Marker, number: u32) -> Result<(), StoreError> {
    // Counted as read, so that this attempt cannot commit after a later one, should it be on its way until then.
    // (A later one has really read it.)
    let mut after = marker.key.as_ref().to_vec();
    after.push(0);
    transaction.add_read_conflict(marker.key.as_ref(), &after)?;
    let number = Bytes::copy_from_slice(&number.to_be_bytes());
    transaction.set(marker.key.clone(), number)?;
    transaction.clear_range(marker.expired.begin.clone(), marker.expired.end.clone())
}

enum Attempt<T> {
    /// An earlier attempt, of this number, had committed.
    Done(u32),
    /// To be committed.
    Ready(T),
}
