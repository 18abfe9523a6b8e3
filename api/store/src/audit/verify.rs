//! Whether the trails are whole.
//!
//! The walk needs memory for one page of rows, takes as long as it takes, and goes on while others write.

use uuid::Uuid;

use super::event::{AuditAction, OPERATORS};
use super::heads::stored_head;
use super::problem::{AuditFault, AuditProblem};
use super::walk::{Found, Walk};
use crate::contract::Row;
use crate::error::StoreError;
use crate::keyspace::{KeySpan, Keyspace, TenantFamily, TenantScope};
use crate::records::{AuditEntry, AuditHead, Record};
use crate::store::{RetryPolicy, Store};
use crate::verify::{Disagreement, KEYS_AT_A_TIME};

/// The most problems a report names; it counts them all.
pub const MAX_FAULTS: usize = 1000;

/// What was found in all trails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// How many tenants have a trail.
    pub trails: u64,
    /// How many entries there are.
    pub entries: u64,
    /// How many of them are older than the chains; nothing vouches for these.
    pub unchained: u64,
    /// How many signed heads were held against the trails.
    pub signed: u64,
    /// How many of those are of tenants that were deleted since, as the operators' trail says.
    pub deleted: u64,
    /// The first [`MAX_FAULTS`] problems.
    pub problems: Vec<AuditProblem>,
    /// How many problems there are in all.
    pub problem_count: u64,
}

impl AuditReport {
    /// True if nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }

    fn add(&mut self, problem: AuditProblem) {
        self.problem_count += 1;
        if self.problems.len() < MAX_FAULTS {
            self.problems.push(problem);
        }
    }
}

/// What was found in one tenant's trail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrailReport {
    /// How many entries there are.
    pub entries: u64,
    /// How many of them are older than the chain.
    pub unchained: u64,
    /// The place of the last one in the chain.
    pub seq: u64,
}

/// Walks the trail of `tenant`, or all trails; `signed` are heads from earlier whose signature was checked, in any
/// order, one for a tenant at most. `progress` is told how many rows were read.
///
/// # Errors
///
/// What the store says, once retries did not help. Nothing is written.
pub async fn verify(
    store: &Store,
    keys: &Keyspace,
    tenant: Option<Uuid>,
    signed: &[AuditHead],
    mut progress: impl FnMut(u64) + Send,
) -> Result<AuditReport, StoreError> {
    let mut report = AuditReport::default();
    let mut open: std::collections::BTreeMap<Uuid, &AuditHead> = signed
        .iter()
        .filter(|head| tenant.is_none_or(|tenant| head.tenant_id == tenant))
        .map(|head| (head.tenant_id, head))
        .collect();
    report.signed = open.len() as u64;
    let (mut after, mut rows) = (None, 0);
    loop {
        let scope = match tenant {
            Some(_) if after.is_some() => None,
            Some(tenant) => Some(keys.tenant(tenant)),
            None => store.tenant_after(keys, after).await?,
        };
        let Some(scope) = scope else { break };
        let head = open.remove(&scope.id());
        let mut problems = Vec::new();
        let mut tell = |more: u64| {
            rows += more;
            progress(rows);
        };
        let trail =
            verify_tenant(store, keys, &scope, head, &mut |problem| problems.push(problem), &mut tell)
                .await?;
        if trail.entries == 0
            && let Some(head) = head
            && was_deleted(store, keys, head.tenant_id).await?
        {
            report.deleted += 1;
            problems.clear();
        }
        report.trails += u64::from(trail.entries > 0);
        report.entries += trail.entries;
        report.unchained += trail.unchained;
        problems.into_iter().for_each(|problem| report.add(problem));
        after = Some(scope);
    }
    // Tenants that have no key at all any more.
    for head in open.into_values() {
        if was_deleted(store, keys, head.tenant_id).await? {
            report.deleted += 1;
        } else {
            let fault = AuditFault::SignedTailCut { signed: head.seq, last: 0 };
            report.add(AuditProblem { tenant: head.tenant_id, seq: Some(1), fault });
        }
    }
    Ok(report)
}

/// Walks one tenant's trail: its entries, their index entries both ways, its head, and against a signed head.
/// `found` is given what is wrong, `progress` how many rows more were read.
///
/// # Errors
///
/// What the store says, once retries did not help. Nothing is written.
pub async fn verify_tenant(
    store: &Store,
    keys: &Keyspace,
    scope: &TenantScope,
    signed: Option<&AuditHead>,
    found: &mut (dyn FnMut(AuditProblem) + Send),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<TrailReport, StoreError> {
    let tenant = scope.id();
    let mut tell = |(seq, fault): Found| found(AuditProblem { tenant, seq, fault });
    let before = match stored_head(store, scope).await?.map(|stored| read_head(scope, &stored)) {
        Some(Err(fault)) => {
            tell((None, fault));
            None
        }
        Some(Ok(head)) => Some(Some(head)),
        None => Some(None),
    };
    let head = before.flatten();
    let mut walk = Walk::new(tenant, head.iter().chain(signed).map(|head| head.seq));
    let mut scan = store.scan(scope.span(TenantFamily::Audit, &()));
    while let Some(rows) = scan.next_page().await? {
        rows.iter().flat_map(|row| walk.step(&row.value)).for_each(&mut tell);
        check_rows(store, keys, &rows, &mut tell).await?;
        progress(rows.len() as u64);
    }
    for index in [TenantFamily::AuditByActor, TenantFamily::AuditByObject] {
        check_index(store, keys, scope.span(index, &()), &mut tell, progress).await?;
    }
    if before.is_some() {
        check_head(store, scope, head.as_ref(), &walk).await?.into_iter().for_each(&mut tell);
    }
    if let Some(signed) = signed {
        check_signed(signed, &walk).into_iter().for_each(&mut tell);
    }
    Ok(TrailReport { entries: walk.entries, unchained: walk.unchained, seq: walk.place() })
}

/// Rows of the trail or its indexes, against all they refer to.
async fn check_rows(
    store: &Store,
    keys: &Keyspace,
    rows: &[Row],
    tell: &mut (impl FnMut(Found) + Send),
) -> Result<(), StoreError> {
    for some in rows.chunks(KEYS_AT_A_TIME) {
        for (row, inspected) in some.iter().zip(store.inspect_all(keys, some).await?) {
            if inspected.problems.is_empty() {
                continue;
            }
            let seq = AuditEntry::decode(&row.value).ok().and_then(|entry| entry.link).map(|link| link.seq);
            for problem in store.inspect_again(keys, &row.key).await? {
                // What cannot be read the walk has told.
                if !matches!(problem.disagreement, Disagreement::Unreadable { .. }) {
                    let reason = problem.disagreement.to_string();
                    tell((seq, AuditFault::Index { path: problem.path, reason }));
                }
            }
        }
    }
    Ok(())
}

async fn check_index(
    store: &Store,
    keys: &Keyspace,
    span: KeySpan,
    tell: &mut (impl FnMut(Found) + Send),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), StoreError> {
    let mut scan = store.scan(span);
    while let Some(rows) = scan.next_page().await? {
        check_rows(store, keys, &rows, tell).await?;
        progress(rows.len() as u64);
    }
    Ok(())
}

fn read_head(scope: &TenantScope, stored: &[u8]) -> Result<AuditHead, AuditFault> {
    let unreadable = |reason| AuditFault::HeadUnreadable { reason };
    let head = AuditHead::decode(stored).map_err(|error| unreadable(error.to_string()))?;
    if head.tenant_id != scope.id() {
        return Err(unreadable(format!("it is that of tenant {}", head.tenant_id)));
    }
    if head.encode().is_ok_and(|bytes| bytes == stored) {
        Ok(head)
    } else {
        Err(unreadable("it is not written as the program writes it".into()))
    }
}

/// The head that was read before the walk; what was added meanwhile may have been seen or not.
async fn check_head(
    store: &Store,
    scope: &TenantScope,
    head: Option<&AuditHead>,
    walk: &Walk,
) -> Result<Option<Found>, StoreError> {
    let last = walk.place();
    if let Some(head) = head {
        if head.seq > last {
            return Ok(Some((Some(last + 1), AuditFault::TailCut { head: head.seq, last })));
        }
        let differs = (Some(head.seq), AuditFault::HeadDiffers { hash: head.hash });
        match walk.watched.get(&head.seq) {
            Some(Some((hash, at))) if (*hash, *at) == (head.hash, head.at) => {}
            // It is missing, and that was told; but a head without any entry before it is wrong itself.
            Some(None) if head.seq > 0 => {}
            _ => return Ok(Some(differs)),
        }
        if head.seq == last {
            return Ok(None);
        }
    } else if last == 0 {
        return Ok(None);
    }
    // There are entries behind the head: then there is a newer one by now.
    let newer = stored_head(store, scope).await?.map(|stored| read_head(scope, &stored));
    Ok(match newer {
        None => Some((None, AuditFault::NoHead { last })),
        Some(Err(fault)) => Some((None, fault)),
        Some(Ok(newer)) if newer.seq < last => {
            Some((Some(newer.seq), AuditFault::HeadDiffers { hash: newer.hash }))
        }
        Some(Ok(_)) => None,
    })
}

fn check_signed(signed: &AuditHead, walk: &Walk) -> Option<Found> {
    let last = walk.place();
    if signed.seq > last {
        return Some((Some(last + 1), AuditFault::SignedTailCut { signed: signed.seq, last }));
    }
    match walk.watched.get(&signed.seq) {
        Some(Some((hash, at))) if (*hash, *at) == (signed.hash, signed.at) => None,
        // It is missing, and that was told.
        Some(None) if signed.seq > 0 => None,
        _ => Some((Some(signed.seq), AuditFault::SignedDiffers)),
    }
}

/// Whether the operators' trail says that a tenant was deleted, and its trail with it.
async fn was_deleted(store: &Store, keys: &Keyspace, tenant: Uuid) -> Result<bool, StoreError> {
    let scope = keys.tenant(OPERATORS);
    let done_to = scope.branch(TenantFamily::AuditByObject, &("tenant", tenant.to_string()));
    let mut scan = store.scan(done_to.span());
    while let Some(rows) = scan.next_page().await? {
        for row in rows {
            let place: (i64, Uuid) = done_to.unpack(&row.key)?;
            let key = &scope.key(TenantFamily::Audit, &place);
            let stored = store
                .run(
                    &RetryPolicy::idempotent(),
                    |transaction| async move { transaction.get_snapshot(key).await },
                )
                .await?;
            let entry = stored.map(|stored| AuditEntry::decode(&stored)).transpose()?;
            let took_trail = |entry: &AuditEntry| {
                entry.action == AuditAction::TenantDelete.name()
                    && entry.details.get("with_audit") == Some(&true.into())
            };
            if entry.as_ref().is_some_and(took_trail) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
