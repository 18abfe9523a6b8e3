//! How much of what there is.

use std::collections::BTreeMap;

use crate::dump::{OnProgress, Progress, Rows};
use crate::error::StoreError;
use crate::keyspace::Keyspace;
use crate::keyspace::locate::Place;
use crate::store::Store;

/// Under what name keys of no known family are counted.
const UNKNOWN: &str = "(unknown)";

/// Counts over all keys of a key space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The store's version when counting began.
    pub version: u64,
    /// How many moments the counts are of.
    pub snapshots: u32,
    /// All keys.
    pub rows: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// By family, `global/NAME` or `tenant/NAME`; families without keys are absent.
    pub families: BTreeMap<String, FamilyStats>,
}

/// Counts of a family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FamilyStats {
    /// Its keys.
    pub rows: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
}

impl Stats {
    /// Counts all keys, which takes reading them all.
    pub async fn count(store: &Store, keys: &Keyspace, progress: OnProgress<'_>) -> Result<Self, StoreError> {
        let version = store.begin().read_version().await?.0;
        let mut rows = Rows::of(store, keys.span())?;
        let mut families: BTreeMap<(bool, &str), FamilyStats> = BTreeMap::new();
        let mut done = Progress::new("counting");
        while let Some(page) = rows.next_page().await? {
            for row in page {
                let family = keys
                    .locate(&row.key)
                    .ok()
                    .map(|located| (matches!(located.place, Place::Tenant(..)), located.place.info().name));
                let stats = families.entry(family.unwrap_or((false, UNKNOWN))).or_default();
                stats.rows += 1;
                stats.bytes += (row.key.len() + row.value.len()) as u64;
                done.add(&row.key, &row.value);
            }
            progress(done);
        }
        let named = families.into_iter().map(|((tenant, name), stats)| match (tenant, name) {
            (_, UNKNOWN) => (UNKNOWN.to_owned(), stats),
            (true, name) => (format!("tenant/{name}"), stats),
            (false, name) => (format!("global/{name}"), stats),
        });
        let families = named.collect();
        Ok(Self { version, snapshots: rows.snapshots(), rows: done.rows, bytes: done.bytes, families })
    }
}
