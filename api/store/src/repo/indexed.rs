//! Records with index entries: written, moved and removed together, by one function.
//!
//! What entries a record has is said once, by [`Indexed`]. [`replace`] keeps them so, and
//! [`crate::Store::verify`] checks them by the same words.

use bytes::Bytes;
use uuid::Uuid;

use super::{Context, UpdateError, load, save};
use crate::error::StoreError;
use crate::keyspace::{Key, Keyspace, TenantScope};
use crate::records::{FIRST_VERSION, Record};
use crate::transaction::Transaction;

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) key: Key,
    pub(crate) value: Bytes,
    /// No other record may have an entry with this key. Then the value names the record.
    pub(crate) unique: bool,
}

impl IndexEntry {
    /// An entry whose key says everything.
    pub(crate) fn plain(key: Key) -> Self {
        Self { key, value: Bytes::new(), unique: false }
    }

    /// An entry whose value says something about the record that its key names.
    pub(crate) fn valued(key: Key, value: Vec<u8>) -> Self {
        Self { key, value: value.into(), unique: false }
    }

    /// An entry that only one record can have: the one that the value names.
    pub(crate) fn unique(key: Key, value: Vec<u8>) -> Self {
        Self { key, value: value.into(), unique: true }
    }
}

/// A tenant's record, with the index entries it has.
pub(crate) trait Indexed: Record {
    /// The tenant it says it belongs to.
    fn tenant(&self) -> Uuid;

    /// The record's own key.
    fn key(&self, scope: &TenantScope) -> Key;

    /// Its entries in the tenant's indexes.
    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let _none = scope;
        Vec::new()
    }

    /// Its entries in indexes over all tenants.
    fn global_entries(&self, keys: &Keyspace, scope: &TenantScope) -> Vec<IndexEntry> {
        let _none = (keys, scope);
        Vec::new()
    }

    /// Entries that it must have but that its repository writes in a way of its own.
    fn references(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let _none = scope;
        Vec::new()
    }
}

/// A record that can be changed.
pub(super) trait Versioned: Indexed + Clone + PartialEq {
    /// The count of its changes.
    fn version(&mut self) -> &mut u64;

    /// Puts back what no change may touch, and brings the rest into its stored form.
    fn settle(&mut self, old: &Self);
}

/// Puts `new` in the place of `old`, each with its index entries.
///
/// Entries that are not unique are written even if `old` had them: that costs little, and gives them to
/// records that are older than the index.
///
/// # Errors
///
/// [`UpdateError::Taken`] if another record has a unique entry of `new`.
pub(super) async fn replace<R: Indexed>(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    old: Option<&R>,
    new: Option<&R>,
) -> Result<(), UpdateError> {
    let all = |record: &R| {
        let mut entries = record.entries(scope);
        entries.extend(record.global_entries(keys, scope));
        entries
    };
    let before = old.map(all).unwrap_or_default();
    let after = new.map(all).unwrap_or_default();
    let is_held = |entry: &IndexEntry| entry.unique && before.contains(entry);
    for entry in after.iter().filter(|entry| entry.unique && !is_held(entry)) {
        if transaction.get(&entry.key).await?.is_some_and(|holder| holder != entry.value) {
            return Err(UpdateError::Taken);
        }
    }
    for entry in &before {
        if !after.iter().any(|kept| kept.key == entry.key) {
            transaction.clear(entry.key.clone())?;
        }
    }
    for entry in after.iter().filter(|entry| !is_held(entry)) {
        transaction.set(entry.key.clone(), entry.value.clone())?;
    }
    match (old, new) {
        (_, Some(new)) => save(transaction, new.key(scope), new)?,
        (Some(old), None) => transaction.clear(old.key(scope))?,
        (None, None) => {}
    }
    Ok(())
}

/// Writes a record that must be new. Writing the very same again does nothing, so this may run twice.
///
/// # Errors
///
/// [`UpdateError::Taken`] if another record has its id or a unique entry of it.
pub(super) async fn insert<R: Indexed + PartialEq>(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    new: &R,
) -> Result<(), UpdateError> {
    match load::<R>(transaction, &new.key(scope)).await? {
        Some(found) if found == *new => Ok(()),
        Some(_) => Err(UpdateError::Taken),
        None => replace(transaction, keys, scope, None, Some(new)).await,
    }
}

/// Refuses if the record's version is not the one expected.
pub(super) fn expect<R: Versioned>(record: &R, expected: Option<u64>) -> Result<(), UpdateError> {
    let current = *record.clone().version();
    match expected {
        Some(expected) if expected != current => Err(UpdateError::VersionMismatch { current }),
        _ => Ok(()),
    }
}

/// Changes a record that was loaded in this transaction; returns it as it is now. Does not write if the change
/// changed nothing. Must not run twice.
pub(super) async fn change<R: Versioned>(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    old: &R,
    change: impl FnOnce(&mut R),
) -> Result<R, UpdateError> {
    let mut new = old.clone();
    let version = *new.version();
    change(&mut new);
    new.settle(old);
    *new.version() = version;
    if new != *old {
        *new.version() = version.saturating_add(1).max(FIRST_VERSION);
        replace(transaction, keys, scope, Some(old), Some(&new)).await?;
    }
    Ok(new)
}

impl Context {
    /// Changes the record at `key` if it is `theirs` and has the version expected, in a transaction that
    /// happens at most once; returns it as it is now.
    pub(super) async fn update<R: Versioned + Send + Sync>(
        &self,
        scope: &TenantScope,
        key: &Key,
        expected: Option<u64>,
        theirs: impl Fn(&R) -> bool + Send + Sync,
        how: impl Fn(&mut R) + Send + Sync,
    ) -> Result<R, UpdateError> {
        let (theirs, how) = (&theirs, &how);
        self.once(|transaction| async move {
            let old = load::<R>(&transaction, key).await?.filter(theirs).ok_or(UpdateError::NotFound)?;
            expect(&old, expected)?;
            change(&transaction, &self.keys, scope, &old, how).await
        })
        .await
    }

    /// Removes the record at `key` if it is `theirs` and has the version expected, in a transaction that
    /// happens at most once; returns it as it was.
    pub(super) async fn remove<R: Versioned + Send + Sync>(
        &self,
        scope: &TenantScope,
        key: &Key,
        expected: Option<u64>,
        theirs: impl Fn(&R) -> bool + Send + Sync,
    ) -> Result<R, UpdateError> {
        let theirs = &theirs;
        self.once(|transaction| async move {
            let old = load::<R>(&transaction, key).await?.filter(theirs).ok_or(UpdateError::NotFound)?;
            expect(&old, expected)?;
            replace(&transaction, &self.keys, scope, Some(&old), None).await?;
            Ok(old)
        })
        .await
    }
}

/// What a value that names other things says.
pub(crate) fn unpack_value<'v, T: foundationdb_tuple::TupleUnpack<'v>>(
    family: &'static str,
    value: &'v [u8],
) -> Result<T, StoreError> {
    foundationdb_tuple::unpack(value)
        .map_err(|error| StoreError::Record { family, reason: format!("its value is malformed: {error:?}") })
}
