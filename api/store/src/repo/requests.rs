//! Requests that clients may repeat: each is claimed by its key, so that however often it is sent, at once or one after
//! the other, it creates one object; and its answer is kept for whoever repeats it.

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, replace};
use super::{Context, keys_in, load};
use crate::contract::ReadMode;
use crate::error::StoreError;
use crate::keyspace::{Key, Keyspace, TenantFamily, TenantScope};
use crate::records::{StoredAnswer, StoredRequest};
use crate::transaction::Transaction;

/// How long a request is remembered, in milliseconds: 24 h.
const KEPT_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// Requests of the tenant that a claim forgets, if they are old enough.
const SWEPT_BY_CLAIM: usize = 4;
/// Requests that one step of [`Requests::sweep`] forgets at most. They may be 100 kB each.
const SWEPT_BY_STEP: usize = 50;

/// What a claim found.
#[derive(Debug, Clone)]
pub enum Claimed {
    /// Go on, and create the object with this id and time. It may be there already: an earlier attempt was cut off, or
    /// another is at work.
    Begin {
        /// The object's id.
        object: Uuid,
        /// Unix milliseconds.
        at: i64,
    },
    /// The request was answered before.
    Answered(StoredAnswer),
    /// The key stands for another request.
    Different,
}

/// Which request is meant.
#[derive(Debug, Clone, Copy)]
pub struct RequestKey<'a> {
    /// The tenant of the user.
    pub tenant: Uuid,
    /// Who sent it.
    pub user: Uuid,
    /// The client's key: at most 255 bytes.
    pub key: &'a str,
}

/// Requests that clients may repeat.
pub struct Requests<'a> {
    context: &'a Context,
}

impl<'a> Requests<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Claims a request at `now` (Unix milliseconds): the first to do so decides that `fresh` is the id of the object,
    /// and all others learn it. A claim older than 24 h counts as none.
    pub async fn claim(
        &self,
        request: RequestKey<'_>,
        fingerprint: &str,
        fresh: Uuid,
        now: i64,
    ) -> Result<Claimed, StoreError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(request.tenant);
        self.context
            .run(|transaction| async move {
                forget_old(&transaction, keys, scope, now, SWEPT_BY_CLAIM).await?;
                let old: Option<StoredRequest> = load(&transaction, &place(scope, request)).await?;
                match old {
                    Some(old) if !is_old(&old, now) => Ok(judge(old, fingerprint)),
                    old => {
                        let new = StoredRequest {
                            tenant_id: request.tenant,
                            user_id: request.user,
                            key: request.key.to_owned(),
                            fingerprint: fingerprint.to_owned(),
                            object: fresh,
                            at: now,
                            answer: None,
                        };
                        write(&transaction, keys, scope, old.as_ref(), Some(&new)).await?;
                        Ok(Claimed::Begin { object: fresh, at: now })
                    }
                }
            })
            .await
    }

    /// Keeps the answer to a request whose claim said to go on with `object`. Returns the answer that was kept first:
    /// whoever else worked on the request gives the same.
    pub async fn complete(
        &self,
        request: RequestKey<'_>,
        object: Uuid,
        answer: &StoredAnswer,
    ) -> Result<StoredAnswer, StoreError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(request.tenant);
        self.context
            .run(|transaction| async move {
                let old: Option<StoredRequest> = load(&transaction, &place(scope, request)).await?;
                // Forgotten, or claimed anew, in the meantime: then nobody can ask for this answer any more.
                let Some(old) = old.filter(|old| old.object == object) else { return Ok(answer.clone()) };
                if let Some(first) = old.answer {
                    return Ok(first);
                }
                let new = StoredRequest { answer: Some(answer.clone()), ..old.clone() };
                write(&transaction, keys, scope, Some(&old), Some(&new)).await?;
                Ok(answer.clone())
            })
            .await
    }

    /// Forgets all requests of all tenants that are older than 24 h at `now` (Unix milliseconds), some in each
    /// transaction; returns how many. What an interrupted run leaves, the next one finds.
    pub async fn sweep(&self, now: i64) -> Result<u64, StoreError> {
        let keys = &self.context.keys;
        let (mut swept, mut after) = (0, None);
        loop {
            let tenants = super::Tenants::new(self.context).list(after, super::MAX_PAGE).await?;
            for tenant in &tenants.items {
                let scope = &keys.tenant(tenant.id);
                loop {
                    let step = self.context.run(|transaction| async move {
                        forget_old(&transaction, keys, scope, now, SWEPT_BY_STEP).await
                    });
                    let forgotten = step.await?;
                    swept += forgotten as u64;
                    if forgotten < SWEPT_BY_STEP {
                        break;
                    }
                }
            }
            match tenants.next {
                Some(next) => after = Some(next),
                None => return Ok(swept),
            }
        }
    }
}

fn is_old(request: &StoredRequest, now: i64) -> bool {
    request.at <= now.saturating_sub(KEPT_MILLIS)
}

fn judge(known: StoredRequest, fingerprint: &str) -> Claimed {
    match known.answer {
        _ if known.fingerprint != fingerprint => Claimed::Different,
        Some(answer) => Claimed::Answered(answer),
        None => Claimed::Begin { object: known.object, at: known.at },
    }
}

/// Forgets a few of a tenant's requests that are old at `now`, oldest first; returns how many entries it found.
///
/// Which they are is read without conflicts, so that claims do not disturb each other; each that goes is then read for
/// good, for its key may have been claimed anew.
async fn forget_old(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    now: i64,
    limit: usize,
) -> Result<usize, StoreError> {
    let mut span = scope.span(TenantFamily::RequestsByTime, &());
    let young = now.saturating_sub(KEPT_MILLIS).saturating_add(1);
    span.end = scope.key(TenantFamily::RequestsByTime, &(young,)).into();
    if span.begin >= span.end {
        return Ok(0);
    }
    let entries = keys_in(transaction, span, limit, false, ReadMode::Snapshot).await?;
    for entry in &entries {
        let (_, user, key): (i64, Uuid, String) = scope.unpack(TenantFamily::RequestsByTime, entry)?;
        let request = RequestKey { tenant: scope.id(), user, key: &key };
        let old: Option<StoredRequest> = load(transaction, &place(scope, request)).await?;
        if let Some(old) = old.filter(|old| is_old(old, now)) {
            write(transaction, keys, scope, Some(&old), None).await?;
        }
        // Also one that names no request any more, so that it is not found again.
        transaction.clear(entry.clone())?;
    }
    Ok(entries.len())
}

/// Forgets some requests of a user who is gone; returns how many.
pub(super) async fn forget_user(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    user: Uuid,
) -> Result<usize, StoreError> {
    let span = scope.span(TenantFamily::Requests, &(user,));
    let found = keys_in(transaction, span, SWEPT_BY_STEP, false, ReadMode::Serializable).await?;
    for key in &found {
        let (_, key): (Uuid, String) = scope.unpack(TenantFamily::Requests, key)?;
        let request = RequestKey { tenant: scope.id(), user, key: &key };
        let old: Option<StoredRequest> = load(transaction, &place(scope, request)).await?;
        write(transaction, keys, scope, old.as_ref(), None).await?;
    }
    Ok(found.len())
}

async fn write(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    old: Option<&StoredRequest>,
    new: Option<&StoredRequest>,
) -> Result<(), StoreError> {
    let written = replace(transaction, keys, scope, old, new).await;
    written.map_err(|error| error.into_store_error("requests"))
}

impl Indexed for StoredRequest {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        place(scope, RequestKey { tenant: self.tenant_id, user: self.user_id, key: &self.key })
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let entry = scope.key(TenantFamily::RequestsByTime, &(self.at, self.user_id, self.key.as_str()));
        vec![IndexEntry::plain(entry)]
    }
}

fn place(scope: &TenantScope, request: RequestKey<'_>) -> Key {
    scope.key(TenantFamily::Requests, &(request.user, request.key))
}
