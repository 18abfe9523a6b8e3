//! The audit trail: entries are added to the end of a tenant's chain, and read by time, by who did it, and by what it
//! was done to.
//!
//! A chained entry's key is its time and its id. Times in a chain never go backwards and ids begin with the place in
//! the chain, so keys, and with them all indexes, are in the chain's order. Entries of format 1, from before there
//! were chains, have random ids; the chain begins after the last of them.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, replace};
use super::page::{load_all, page_keys, page_size};
use super::{Context, Order, Page, TimeCursor, UpdateError, load};
use crate::audit::{chain, fit};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::keyspace::{Branch, Key, TenantFamily, TenantScope};
use crate::records::{AuditEntry, AuditHead, AuditLink, AuditObject, Record};
use crate::transaction::Transaction;

/// The most rows one call of [`Audit::search`] looks at.
const SEARCHED_ROWS: usize = 1000;

/// An entry that has no place in the chain yet. What is too long in it is cut.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAuditEntry {
    /// Distinguishes it from all others: fresh and random.
    pub salt: Uuid,
    /// When it was done, in Unix milliseconds.
    pub at: i64,
    /// The user who did it; absent if the program did.
    pub actor: Option<Uuid>,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub object: AuditObject,
    /// The client's address.
    pub address: Option<String>,
    /// What else is worth knowing.
    pub details: Map<String, Value>,
}

impl NewAuditEntry {
    /// The same with what is too long cut.
    #[must_use]
    pub(crate) fn fitted(self) -> Self {
        Self {
            action: fit::action(&self.action),
            object: fit::object(&self.object),
            address: self.address.as_deref().map(fit::address),
            details: fit::details(&self.details),
            ..self
        }
    }

    /// About how many bytes it takes in a transaction, indexes included.
    pub(crate) fn size(&self) -> usize {
        /// Ids, hashes, times and names of fields, in the record and its indexes.
        const FIXED: usize = 1 << 10;
        let details = serde_json::to_string(&self.details).map_or(fit::MAX_DETAILS_BYTES, |json| json.len());
        FIXED + details + 3 * (self.object.kind.len() + self.object.id.len())
    }
}

/// Which entries are looked for: those to which all of it applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Who did it.
    pub actor: Option<Uuid>,
    /// What it was done to.
    pub object: Option<AuditObject>,
    /// What was done begins with this.
    pub action: Option<String>,
    /// Not before this time, in Unix milliseconds.
    pub from: Option<i64>,
    /// Before this time, in Unix milliseconds.
    pub to: Option<i64>,
}

/// The audit trail.
pub struct Audit<'a> {
    context: &'a Context,
}

impl<'a> Audit<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Adds entries to the end of a tenant's chain, in one transaction that happens at most once; returns them as
    /// they stand there. A hundred entries of full size fit into a transaction with room to spare.
    ///
    /// # Errors
    ///
    /// What the store says, and after [`StoreError::Unknown`] they may have been added; or the chain's end cannot be
    /// read.
    pub async fn append(&self, tenant: Uuid, new: &[NewAuditEntry]) -> Result<Vec<AuditEntry>, StoreError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        let appended = self.context.once(|transaction| async move {
            let old = load::<AuditHead>(&transaction, &head_key(scope)).await?;
            let mut head = match old {
                Some(head) => head,
                None => chain_end(&transaction, scope).await?,
            };
            let mut entries = Vec::with_capacity(new.len());
            for new in new {
                let entry = link(&mut head, new.clone().fitted())?;
                replace(&transaction, keys, scope, None, Some(&entry)).await?;
                entries.push(entry);
            }
            if !entries.is_empty() {
                replace(&transaction, keys, scope, old.as_ref(), Some(&head)).await?;
            }
            Ok::<_, UpdateError>(entries)
        });
        appended.await.map_err(|error| error.into_store_error(AuditEntry::FAMILY))
    }

    /// Where a tenant's chain ends; `None` if it has none.
    pub async fn head(&self, tenant: Uuid) -> Result<Option<AuditHead>, StoreError> {
        let key = &head_key(&self.context.keys.tenant(tenant));
        self.context.run(|transaction| async move { load(&transaction, key).await }).await
    }

    /// A page of a tenant's entries.
    pub async fn list(
        &self,
        tenant: Uuid,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        self.search(tenant, &AuditFilter::default(), after, order, limit).await
    }

    /// A page of what a user did.
    pub async fn by_actor(
        &self,
        tenant: Uuid,
        actor: Uuid,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let filter = AuditFilter { actor: Some(actor), ..AuditFilter::default() };
        self.search(tenant, &filter, after, order, limit).await
    }

    /// A page of what was done to something.
    pub async fn by_object(
        &self,
        tenant: Uuid,
        object: &AuditObject,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let filter = AuditFilter { object: Some(object.clone()), ..AuditFilter::default() };
        self.search(tenant, &filter, after, order, limit).await
    }

    /// A page of the entries that a filter lets through. It looks at no more than some hundred entries at once, so
    /// that a page may be empty although there are more: go on where it says.
    pub async fn search(
        &self,
        tenant: Uuid,
        filter: &AuditFilter,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Page<AuditEntry>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let object = filter.object.as_ref().map(fit::object);
        let filter = &AuditFilter { object, ..filter.clone() };
        self.context
            .run(|transaction| async move {
                search(&transaction, scope, filter, after.copied(), order, page_size(limit)).await
            })
            .await
    }
}

async fn search(
    transaction: &Transaction,
    scope: &TenantScope,
    filter: &AuditFilter,
    mut after: Option<TimeCursor>,
    order: Order,
    limit: usize,
) -> Result<Page<AuditEntry>, StoreError> {
    let index = match (&filter.object, filter.actor) {
        (Some(object), _) => by_object(scope, object),
        (None, Some(actor)) => scope.branch(TenantFamily::AuditByActor, &(actor,)),
        (None, None) => scope.branch(TenantFamily::Audit, &()),
    };
    let mut items = Vec::new();
    let mut looked_at = 0;
    loop {
        let mut span = index.span();
        if let Some(from) = filter.from {
            span.begin = span.begin.max(index.key(&(from,)).into());
        }
        if let Some(to) = filter.to {
            span.end = span.end.min(index.key(&(to,)).into()).max(span.begin.clone());
        }
        if let Some(after) = after {
            span = span.beyond(&index.key(&(after.at, after.id)), order.is_reverse());
        }
        let (keys, more) = page_keys(transaction, span, limit, order.is_reverse()).await?;
        let places = keys
            .iter()
            .map(|key| index.unpack(key).map(|(at, id)| TimeCursor { at, id }))
            .collect::<Result<Vec<_>, _>>()?;
        let found: Vec<AuditEntry> =
            load_all(transaction, places.iter().map(|place| key(scope, place.at, place.id))).await?;
        looked_at += found.len();
        let (of_page, mut last) = (places.len(), None);
        for (number, (place, entry)) in places.into_iter().zip(found).enumerate() {
            last = Some(place);
            if filter.lets_through(&entry) {
                items.push(entry);
            }
            if items.len() == limit {
                let more = more || number + 1 < of_page;
                return Ok(Page { items, next: last.filter(|_| more) });
            }
        }
        if !more || looked_at >= SEARCHED_ROWS {
            return Ok(Page { items, next: last.filter(|_| more) });
        }
        after = last;
    }
}

impl AuditFilter {
    /// Whether an entry of the time and index looked at is one of those.
    fn lets_through(&self, entry: &AuditEntry) -> bool {
        self.actor.is_none_or(|actor| entry.actor == Some(actor))
            && self.object.as_ref().is_none_or(|object| entry.object == *object)
            && self.action.as_ref().is_none_or(|action| entry.action.starts_with(action.as_str()))
    }
}

/// The entry at the place after the chain's end, which moves there.
fn link(head: &mut AuditHead, new: NewAuditEntry) -> Result<AuditEntry, StoreError> {
    let seq = head.seq.saturating_add(1);
    if seq > chain::MAX_SEQ {
        return Err(StoreError::Record { family: AuditHead::FAMILY, reason: "the chain is full".into() });
    }
    let mut entry = AuditEntry {
        id: chain::entry_id(seq, new.salt),
        tenant_id: head.tenant_id,
        at: new.at.max(head.at),
        actor: new.actor,
        action: new.action,
        object: new.object,
        address: new.address,
        details: new.details,
        link: None,
    };
    let hash = chain::hash(&entry, seq, &head.hash);
    entry.link = Some(AuditLink { seq, prev: head.hash, hash });
    *head = AuditHead { seq, hash, at: entry.at, ..*head };
    Ok(entry)
}

/// Where the chain of a tenant without a head ends: at its beginning, after all entries that are in no chain. If the
/// head is all that was removed, at the last entry there is: what that means is for the verification to find.
async fn chain_end(transaction: &Transaction, scope: &TenantScope) -> Result<AuditHead, StoreError> {
    let span = scope.span(TenantFamily::Audit, &());
    let last = transaction.range(RangeRead::new(span.begin, span.end, 1).reversed()).await?;
    let last = last.rows.into_iter().next();
    let last = last.map(|row| AuditEntry::decode(&row.value)).transpose()?;
    let tenant_id = scope.id();
    Ok(match last.as_ref().map(|entry| (entry.at, entry.link)) {
        Some((at, Some(link))) => AuditHead { tenant_id, seq: link.seq, hash: link.hash, at },
        before => AuditHead {
            tenant_id,
            seq: 0,
            hash: chain::beginning(tenant_id),
            at: before.map_or(i64::MIN, |(at, _)| at.saturating_add(1)),
        },
    })
}

impl Indexed for AuditEntry {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        key(scope, self.at, self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let by_actor =
            self.actor.map(|actor| scope.key(TenantFamily::AuditByActor, &(actor, self.at, self.id)));
        let by_object = by_object(scope, &self.object).key(&(self.at, self.id));
        by_actor.into_iter().chain([by_object]).map(IndexEntry::plain).collect()
    }
}

impl Indexed for AuditHead {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        head_key(scope)
    }
}

fn key(scope: &TenantScope, at: i64, id: Uuid) -> Key {
    scope.key(TenantFamily::Audit, &(at, id))
}

pub(crate) fn head_key(scope: &TenantScope) -> Key {
    scope.key(TenantFamily::AuditHead, &())
}

fn by_object(scope: &TenantScope, object: &AuditObject) -> Branch {
    scope.branch(TenantFamily::AuditByObject, &(object.kind.as_str(), object.id.as_str()))
}
