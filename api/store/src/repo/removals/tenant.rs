//! A tenant's data: everything under its prefix, whatever family it is of, and what names it in global indexes.

use uuid::Uuid;

use super::super::{Context, load};
use crate::contract::{RangeRead, Row};
use crate::error::StoreError;
use crate::keyspace::element::Element;
use crate::keyspace::locate::Place;
use crate::keyspace::{GlobalFamily, KeySpan, Keyspace, TenantFamily, TenantScope};
use crate::records::{PodAllocation, Record, Removal, User};
use crate::transaction::Transaction;

/// What stays of a tenant, unless it shall not: the audit trail, whole, so that it can still be verified.
const AUDIT: [TenantFamily; 4] =
    [TenantFamily::Audit, TenantFamily::AuditHead, TenantFamily::AuditByActor, TenantFamily::AuditByObject];
/// The most keys removed in one transaction; those with large values are fewer, since a page ends at about 1 MiB.
const STEP_ROWS: usize = 500;

/// Removes all that is there; see [`super::Removals::run`].
pub(super) async fn remove(
    context: &Context,
    removal: &Removal,
    tell: &mut (dyn FnMut(u64) + Send),
) -> Result<(), StoreError> {
    let keys = &context.keys;
    let scope = &keys.tenant(removal.tenant_id);
    let spans = without(scope.all(), if removal.with_audit { &[] } else { &AUDIT }, scope);
    for span in &spans {
        loop {
            let rows =
                context.run(|transaction| async move { step(&transaction, keys, scope, span).await }).await?;
            tell(rows as u64);
            if rows == 0 {
                break;
            }
        }
    }
    release_pods(context, removal.tenant_id).await
}

/// The parts of a tenant's keys that are of none of these families.
fn without(all: KeySpan, kept: &[TenantFamily], scope: &TenantScope) -> Vec<KeySpan> {
    let mut kept: Vec<_> = kept.iter().map(|family| scope.family_span(*family)).collect();
    kept.sort_by(|a, b| a.begin.cmp(&b.begin));
    let mut begin = all.begin;
    let mut spans = Vec::new();
    for gap in kept {
        spans.push(KeySpan { begin, end: gap.begin });
        begin = gap.end;
    }
    spans.push(KeySpan { begin, end: all.end });
    spans
}

/// Removes the first keys of a span, with what names them elsewhere; returns how many.
async fn step(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    span: &KeySpan,
) -> Result<usize, StoreError> {
    // Counted as read: what is put between these keys meanwhile may have entries elsewhere, and an attempt whose answer
    // was lost must not take an address that somebody else has by then.
    let page = transaction.range(RangeRead::new(span.begin.clone(), span.end.clone(), STEP_ROWS)).await?;
    let Some(last) = page.rows.last() else { return Ok(0) };
    for row in &page.rows {
        clear_global_entries(transaction, keys, scope, row).await?;
    }
    let mut end = last.key.clone();
    end.push(0);
    transaction.clear_range(span.begin.clone(), end)?;
    Ok(page.rows.len())
}

async fn clear_global_entries(
    transaction: &Transaction,
    keys: &Keyspace,
    scope: &TenantScope,
    row: &Row,
) -> Result<(), StoreError> {
    let Ok(located) = keys.locate(&row.key) else { return Ok(()) };
    let (entry, names) = match (&located.place, located.elements.as_slice()) {
        (Place::Tenant(_, TenantFamily::AuthSessions), [Element::Uuid(id)]) => {
            (keys.auth_session_tenant(*id), foundationdb_tuple::pack(&(scope.id(),)))
        }
        (Place::Tenant(_, TenantFamily::Users), [Element::Uuid(id)]) => match User::decode(&row.value) {
            Ok(user) => (keys.user_by_email(&user.email), foundationdb_tuple::pack(&(scope.id(), id))),
            Err(error) => {
                tracing::warn!(tenant = %scope.id(), user = %id, %error, "the address of a removed user stays taken");
                return Ok(());
            }
        },
        _ => return Ok(()),
    };
    // An entry that names somebody else is somebody else's.
    if transaction.get(&entry).await?.is_some_and(|value| value == names) {
        transaction.clear(entry)?;
    }
    Ok(())
}

/// Gives back the pods that the tenant's workspaces have.
async fn release_pods(context: &Context, tenant: Uuid) -> Result<(), StoreError> {
    let keys = &context.keys;
    let mut span = keys.global_span(GlobalFamily::PodAllocations, &());
    loop {
        let part = &span;
        let next = context
            .run(|transaction| async move {
                let read = RangeRead::new(part.begin.clone(), part.end.clone(), STEP_ROWS).snapshot();
                let page = transaction.range(read).await?;
                for row in &page.rows {
                    if PodAllocation::decode(&row.value)?.tenant_id != tenant {
                        continue;
                    }
                    let (pool, pod): (String, String) =
                        keys.global_unpack(GlobalFamily::PodAllocations, &row.key)?;
                    let key = keys.global(GlobalFamily::PodAllocations, &(pool, pod));
                    // Read once more so as to be checked at commit.
                    let holder: Option<PodAllocation> = load(&transaction, &key).await?;
                    if holder.is_some_and(|holder| holder.tenant_id == tenant) {
                        transaction.clear(key)?;
                    }
                }
                Ok::<_, StoreError>(page.rows.last().filter(|_| page.more).map(|last| last.key.clone()))
            })
            .await?;
        let Some(mut last) = next else { return Ok(()) };
        last.push(0);
        span.begin = last;
    }
}
