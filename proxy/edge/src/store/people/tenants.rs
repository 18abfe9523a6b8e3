//! What the commands do to tenants, and how they show them.

use super::{good, record, refused};
use crate::store::operations::{Opened, Sink, send_export};
use crate::store::protocol::{Outcome, Step};
use coditect_store::dump::Export;
use coditect_store::records::Tenant;
use coditect_store::{AuditAction, By, MAX_PAGE, OPERATORS, UpdateError};
use serde_json::{Map, Value, json};
use uuid::Uuid;

fn shown(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id, "name": tenant.name, "status": tenant.status, "suspended_at": tenant.suspended_at,
        "reason": tenant.reason, "created_at": tenant.created_at, "updated_at": tenant.updated_at,
        "version": tenant.version,
    })
}

fn text<'a>(tenant: &'a Value, field: &str) -> &'a str {
    tenant[field].as_str().unwrap_or_default()
}

/// A tenant in a line of a list.
pub(super) fn line(tenant: &Value) -> String {
    format!("{}  {:<9}  {}", text(tenant, "id"), text(tenant, "status"), text(tenant, "name"))
}

/// A tenant in some lines.
pub(super) fn whole(tenant: &Value) -> String {
    let mut lines = format!(
        "tenant   {}\nid       {}\nstatus   {}",
        text(tenant, "name"),
        text(tenant, "id"),
        text(tenant, "status")
    );
    if let Some(reason) = tenant["reason"].as_str() {
        lines += &format!(": {reason}");
    }
    if let Some(users) = tenant["users"].as_u64() {
        lines += &format!("\nmembers  {users}");
    }
    lines
}

/// What became of a removal.
pub(super) fn removed(summary: &Value) -> String {
    let audit = match summary["with_audit"] == true {
        true => "its audit trail with it",
        false => "its audit trail stays",
    };
    format!("removed tenant {}: {} keys, {audit}", summary["id"], summary["rows"]).replace('"', "")
}

fn nothing(tenant: Uuid) -> anyhow::Result<Outcome> {
    refused(format_args!("there is no tenant {tenant}"))
}

pub(super) async fn list(opened: &Opened, limit: u64, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    let (mut left, mut after) = (limit, None);
    loop {
        let page = opened.repositories.tenants().list(after, MAX_PAGE).await?;
        let room = usize::try_from(left).unwrap_or(usize::MAX);
        let items: Vec<_> = page.items.iter().take(room).map(shown).collect();
        let all = items.len() == page.items.len();
        left -= items.len() as u64;
        sink.items(items).await?;
        after = page.next;
        if !all || after.is_none() {
            return good(json!({ "listed": limit - left, "more": !all }));
        }
    }
}

pub(super) async fn show(opened: &Opened, id: Uuid) -> anyhow::Result<Outcome> {
    let Some(tenant) = opened.repositories.tenants().get(id).await? else {
        return match opened.repositories.removals().of_tenant(id).await? {
            Some(removal) => refused(format_args!("tenant {id} ({}) is being removed", removal.name)),
            None => nothing(id),
        };
    };
    let (mut users, mut after) = (0, None);
    loop {
        let page = opened.repositories.users().list(id, after, MAX_PAGE).await?;
        users += page.items.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut summary = shown(&tenant);
    summary["users"] = users.into();
    good(summary)
}

pub(super) async fn suspend(opened: &Opened, id: Uuid, reason: Option<&str>) -> anyhow::Result<Outcome> {
    let suspended = opened.repositories.tenants().suspend(id, reason, opened.clock.now_millis()).await;
    let details = reason.map(|reason| ("reason".to_owned(), json!(reason))).into_iter().collect();
    changed(opened, id, suspended, AuditAction::TenantSuspend, details).await
}

pub(super) async fn resume(opened: &Opened, id: Uuid) -> anyhow::Result<Outcome> {
    let resumed = opened.repositories.tenants().resume(id, opened.clock.now_millis()).await;
    changed(opened, id, resumed, AuditAction::TenantResume, Map::new()).await
}

async fn changed(
    opened: &Opened,
    id: Uuid,
    done: Result<Tenant, UpdateError>,
    action: AuditAction,
    details: Map<String, Value>,
) -> anyhow::Result<Outcome> {
    let tenant = match done {
        Ok(tenant) => tenant,
        Err(UpdateError::NotFound) => return nothing(id),
        Err(error) => return Err(error.into()),
    };
    record(opened, id, action, ("tenant", id), details).await?;
    good(shown(&tenant))
}

pub(super) async fn export(opened: &Opened, id: Uuid, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
    if opened.repositories.tenants().get(id).await?.is_none() {
        return nothing(id);
    }
    // First: an export that leaves no trace is worse than the trace of one that failed.
    record(opened, id, AuditAction::TenantExport, ("tenant", id), Map::new()).await?;
    let now = opened.clock.now_millis();
    send_export(Export::start_tenant(&opened.store, &opened.keys, id, now)?, sink).await
}

pub(super) async fn delete(
    opened: &Opened,
    id: Uuid,
    with_audit: bool,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    let removals = opened.repositories.removals();
    let removal = match removals.begin_tenant(By::Operator, id, with_audit, opened.clock.now_millis()).await {
        Ok(removal) => removal,
        Err(UpdateError::NotFound) => return nothing(id),
        Err(error) => return Err(error.into()),
    };
    // Before the data goes, which may take long and be broken off.
    let details = Map::from_iter([
        ("name".to_owned(), json!(removal.name)),
        ("with_audit".to_owned(), json!(removal.with_audit)),
    ]);
    record(opened, OPERATORS, AuditAction::TenantDelete, ("tenant", id), details).await?;
    let tell = |rows| sink.progress(Step { doing: "removing".into(), rows, bytes: 0 });
    let removed = removals.run(&removal, tell).await?;
    good(json!({ "id": id, "name": removal.name, "rows": removed.rows, "with_audit": removal.with_audit }))
}
