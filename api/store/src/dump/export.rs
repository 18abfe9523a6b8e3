//! A store's rows as an export, in pieces.

use std::collections::VecDeque;

use bytes::Bytes;
use uuid::Uuid;

use super::format::{Encoder, Header, Summary};
use super::source::Rows;
use super::{Progress, left_out};
use crate::contract::Row;
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, KeySpan, Keyspace};
use crate::store::Store;

/// An export being made. It holds a page of rows and the blocks they fill, a few MiB.
pub struct Export {
    rows: Rows,
    encoder: Option<Encoder>,
    ready: VecDeque<Bytes>,
    /// The length of the root prefix.
    root: usize,
    content: Content,
    progress: Progress,
    done: Option<Exported>,
}

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// What stands at the end of the file.
    pub summary: Summary,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Which of the rows that are read go into the file.
enum Content {
    /// All but these.
    Without(Vec<KeySpan>),
    /// What is not in these families, and of these what names the tenant.
    Tenant { indexes: [KeySpan; 2], named: Vec<u8> },
}

impl Content {
    fn has(&self, row: &Row) -> bool {
        match self {
            Self::Without(left_out) => !left_out.iter().any(|span| span.contains(&row.key)),
            Self::Tenant { indexes, named } => {
                !indexes.iter().any(|span| span.contains(&row.key)) || row.value.starts_with(named)
            }
        }
    }
}

impl Export {
    /// Starts to export everything under the key space's root; `now` is in Unix milliseconds.
    ///
    /// Where the backend can, all rows are of this moment ([`Store::long_snapshot`]); elsewhere a long export
    /// goes on in newer snapshots, and rows that belong together may be of different moments.
    pub fn start(store: &Store, keys: &Keyspace, now: i64) -> Result<Self, StoreError> {
        Ok(Self::of(Rows::of(store, keys.span())?, Content::Without(left_out(keys)), keys, now))
    }

    /// Starts to export one tenant: what lies under its prefix and what names it in global indexes, so that an import
    /// into an empty store makes one in which its members log in. Pods are left out: they belong to a cluster.
    ///
    /// Reads the indexes of all tenants, and the data of no other.
    pub fn start_tenant(store: &Store, keys: &Keyspace, tenant: Uuid, now: i64) -> Result<Self, StoreError> {
        let registry: Vec<u8> = keys.global(GlobalFamily::Tenants, &(tenant,)).into();
        let after = [registry.as_slice(), &[0]].concat();
        let indexes = [GlobalFamily::AuthSessionTenant, GlobalFamily::UsersByEmail];
        let indexes = indexes.map(|family| keys.global_family(family));
        let mut spans = vec![
            keys.global_family(GlobalFamily::Identity),
            KeySpan { begin: registry, end: after },
            keys.tenant(tenant).all(),
        ];
        spans.extend(indexes.clone());
        spans.sort_by(|a, b| a.begin.cmp(&b.begin));
        // Both indexes' values begin with the tenant.
        let named = foundationdb_tuple::pack(&(tenant,));
        Ok(Self::of(Rows::of_spans(store, spans)?, Content::Tenant { indexes, named }, keys, now))
    }

    fn of(rows: Rows, content: Content, keys: &Keyspace, now: i64) -> Self {
        let header = Header { created_at: now, one_snapshot: rows.is_one_snapshot() };
        let (encoder, begin) = Encoder::start(header);
        Self {
            rows,
            encoder: Some(encoder),
            ready: VecDeque::from([begin]),
            root: keys.root().len(),
            content,
            progress: Progress::new("exporting"),
            done: None,
        }
    }

    /// The next piece of the file; `None` at its end. Not cancel safe.
    ///
    /// # Errors
    ///
    /// As a read's. What was written so far is no whole export, and its reader will notice.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            let Some(mut encoder) = self.encoder.take() else { return Ok(None) };
            let Some(page) = self.rows.next_page().await? else {
                let (end, summary) = encoder.finish(self.rows.snapshots());
                self.done = Some(Exported { summary, bytes: self.progress.bytes });
                self.ready.push_back(end);
                continue;
            };
            for row in page {
                if !self.content.has(&row) {
                    continue;
                }
                let key = row.key.get(self.root..).unwrap_or_default();
                self.progress.add(key, &row.value);
                self.ready.extend(encoder.push(key, &row.value));
            }
            self.encoder = Some(encoder);
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What was exported, once [`Export::next_chunk`] has returned `None`.
    pub fn exported(&self) -> Option<Exported> {
        self.done
    }
}
