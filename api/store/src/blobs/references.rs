//! Who needs a blob. A reference is a key of its own, so that it can be added and removed twice without harm, and
//! `verify` can compare references with their owners.
//!
//! These functions take part in the caller's transaction: the reference is there exactly if the owner's record is.

use bytes::Bytes;
use uuid::Uuid;

use super::records::{Blob, load, save};
use super::{BlobError, BlobHash, BlobRef};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{TenantFamily, TenantScope};
use crate::transaction::Transaction;

/// Says that `owner` needs a blob. A second time it changes nothing.
///
/// Against the collector one of the two wins: either the blob stays, or this fails.
///
/// # Errors
///
/// [`BlobError::NotFound`] if the tenant has no such blob: then upload it anew.
pub async fn add_reference(
    transaction: &Transaction,
    scope: &TenantScope,
    hash: &BlobHash,
    owner: Uuid,
) -> Result<BlobRef, BlobError> {
    add_reference_from(transaction, scope, hash, owner, Vec::new()).await
}

/// As [`add_reference`], with a value from which `store verify` finds the owner's record.
pub(crate) async fn add_reference_from(
    transaction: &Transaction,
    scope: &TenantScope,
    hash: &BlobHash,
    owner: Uuid,
    place: Vec<u8>,
) -> Result<BlobRef, BlobError> {
    let Some(mut blob) = load::<Blob>(transaction, &scope.blob(hash)).await? else {
        return Err(BlobError::NotFound { hash: *hash });
    };
    if blob.unreferenced_since.is_some() {
        set_unreferenced(transaction, scope, hash, &mut blob, None)?;
    }
    transaction.set(scope.blob_reference(hash, owner), place)?;
    Ok(BlobRef { hash: *hash, size: blob.size })
}

/// Says that `owner` needs a blob no more. With the last reference the blob's time of grace begins, at `now` (Unix
/// milliseconds). False if there was no such reference.
pub async fn remove_reference(
    transaction: &Transaction,
    scope: &TenantScope,
    hash: &BlobHash,
    owner: Uuid,
    now: i64,
) -> Result<bool, StoreError> {
    let key = scope.blob_reference(hash, owner);
    if transaction.get(&key).await?.is_none() {
        return Ok(false);
    }
    transaction.clear(key)?;
    if !is_referenced(transaction, scope, hash).await?
        && let Some(mut blob) = load::<Blob>(transaction, &scope.blob(hash)).await?
    {
        set_unreferenced(transaction, scope, hash, &mut blob, Some(now))?;
    }
    Ok(true)
}

/// Whether anybody needs a blob; checked at commit.
pub async fn is_referenced(
    transaction: &Transaction,
    scope: &TenantScope,
    hash: &BlobHash,
) -> Result<bool, StoreError> {
    let span = scope.span(TenantFamily::BlobReferences, &(hash.0.as_slice(),));
    let page = transaction.range(RangeRead::new(span.begin, span.end, 1)).await?;
    Ok(!page.rows.is_empty())
}

/// Writes since when a blob has no reference, in its record and as an entry for the collector.
pub(super) fn set_unreferenced(
    transaction: &Transaction,
    scope: &TenantScope,
    hash: &BlobHash,
    blob: &mut Blob,
    since: Option<i64>,
) -> Result<(), StoreError> {
    if let Some(before) = blob.unreferenced_since {
        transaction.clear(scope.blob_garbage(before, hash))?;
    }
    if let Some(since) = since {
        transaction.set(scope.blob_garbage(since, hash), Bytes::new())?;
    }
    blob.unreferenced_since = since;
    save(transaction, scope.blob(hash), blob)
}
