//! One key and its value, against all they refer to.

use super::subject::{Subject, subject};
use super::{Disagreement, Problem};
use crate::error::StoreError;
use crate::keyspace::locate::{Place, Stray};
use crate::keyspace::path::to_path;
use crate::keyspace::{Key, Keyspace};
use crate::repo::indexed::IndexEntry;
use crate::repo::removals;
use crate::transaction::Transaction;

/// What was found about a key.
pub(crate) struct Inspected {
    /// Its family, if that is known.
    pub(crate) family: Option<&'static str>,
    /// Whether its value is a record.
    pub(crate) is_record: bool,
    pub(crate) problems: Vec<Problem>,
}

/// Inspects a key with its value. All reads are snapshot reads: one moment, if the value is of that moment too.
///
/// # Errors
///
/// The store's own only: what is wrong with the data is in the result.
pub(super) async fn inspect(
    keys: &Keyspace,
    transaction: &Transaction,
    key: &[u8],
    value: &[u8],
) -> Result<Inspected, StoreError> {
    let located = match keys.locate(key) {
        Ok(located) => located,
        Err(Stray::Family) => return Ok(stray(key, Disagreement::UnknownFamily)),
        Err(Stray::Shape(expected)) => return Ok(stray(key, Disagreement::MalformedKey { expected })),
    };
    let family = Some(located.place.info().name);
    let mut tenant = match &located.place {
        Place::Tenant(scope, _) => Some(scope.clone()),
        Place::Global(_) => None,
    };
    let (is_record, mut found) = match subject(keys, &located, value) {
        Ok(Subject::Plain) => (false, Vec::new()),
        Ok(Subject::Record { key: own, entries }) => {
            (true, inspect_record(transaction, key, &own, &entries).await?)
        }
        Ok(Subject::Entry { scope, record, entries }) => {
            tenant = Some(scope.clone());
            let found = match transaction.get_snapshot(&record).await? {
                None => Some(orphan(&record, false)),
                // A record that cannot be read is reported itself, and nobody knows what entries it has.
                Some(stored) => entries(keys, &scope, &stored)
                    .ok()
                    .filter(|entries| !entries.iter().any(|entry| entry.key.as_ref() == key))
                    .map(|_| orphan(&record, true)),
            };
            (false, found.into_iter().collect())
        }
        Err(error) => (false, vec![Disagreement::Unreadable { reason: error.to_string() }]),
    };
    // What is on its way out goes in no particular order.
    if !found.is_empty()
        && let Some(scope) = &tenant
        && removals::is_removed(transaction, keys, scope).await?
    {
        found.clear();
    }
    let problems =
        found.into_iter().map(|disagreement| Problem { path: to_path(key), disagreement }).collect();
    Ok(Inspected { family, is_record, problems })
}

async fn inspect_record(
    transaction: &Transaction,
    key: &[u8],
    own: &Key,
    entries: &[IndexEntry],
) -> Result<Vec<Disagreement>, StoreError> {
    if own.as_ref() != key {
        return Ok(vec![Disagreement::Misplaced { place: to_path(own.as_ref()) }]);
    }
    let mut found = Vec::new();
    for entry in entries {
        match transaction.get_snapshot(&entry.key).await? {
            Some(value) if value == entry.value => {}
            Some(_) => found.push(Disagreement::WrongEntry { entry: to_path(entry.key.as_ref()) }),
            None => found.push(Disagreement::MissingEntry { entry: to_path(entry.key.as_ref()) }),
        }
    }
    Ok(found)
}

fn orphan(record: &Key, exists: bool) -> Disagreement {
    Disagreement::Orphan { record: to_path(record.as_ref()), exists }
}

fn stray(key: &[u8], disagreement: Disagreement) -> Inspected {
    let problems = vec![Problem { path: to_path(key), disagreement }];
    Inspected { family: None, is_record: false, problems }
}
