//! A snapshot that is read for longer than a transaction may live.

use std::sync::Arc;

use async_trait::async_trait;

use super::Snapshot;
use super::contain::contained;
use super::merge;
use super::writes::Writes;
use crate::contract::{RangePage, RangeRead, SnapshotRows, Version};
use crate::error::StoreError;

/// One committed state of the database. redb reuses no page of it before this is dropped.
pub(super) struct LongSnapshot(Arc<Snapshot>);

impl LongSnapshot {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(snapshot)
    }
}

#[async_trait]
impl SnapshotRows for LongSnapshot {
    fn version(&self) -> Version {
        self.0.version
    }

    async fn range(&self, read: RangeRead) -> Result<RangePage, StoreError> {
        let snapshot = Arc::clone(&self.0);
        // Whole stores are read this way, most of it from the disk: not on a thread that serves requests.
        let page = tokio::task::spawn_blocking(move || {
            contained(|| merge::page(&snapshot, &Writes::default(), &read))
        });
        page.await
            .map_err(|ended| StoreError::backend("read a range", ended))?
            .map_err(|damage| StoreError::backend("read a range", damage))?
    }
}
