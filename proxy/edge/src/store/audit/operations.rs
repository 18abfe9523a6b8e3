//! What the `audit` commands do to an open store, in whatever process it is open.

use super::heads::SignedHeads;
use crate::audit_key::{AuditKey, AuditPublicKey};
use crate::store::operations::{Opened, Sink};
use crate::store::protocol::Outcome;
use crate::store::verify::aside;
use coditect_auth::{Entropy, SystemEntropy};
use coditect_store::audit::{heads, verify};
use coditect_store::records::{AuditEntry, AuditObject};
use coditect_store::{AuditAction, AuditEvent, AuditLog, OPERATORS, Order, Repositories};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// Entries read at a time.
const PAGE: usize = 100;

/// Walks the trails; each problem is an item.
pub(in crate::store) async fn check(
    opened: &Opened,
    tenant: Option<Uuid>,
    signed: Option<&Path>,
    public_key: Option<&str>,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    let signed = match signed {
        Some(file) => {
            let key = match public_key {
                Some(text) => AuditPublicKey::parse(text)?,
                None => AuditKey::load(&opened.audit_key)?.public(),
            };
            SignedHeads::read(file)?.verified(&key)?
        }
        None => Vec::new(),
    };
    let (store, keys) = (opened.store.clone(), opened.keys.clone());
    let report =
        aside(sink, "verifying", async move |tell| verify(&store, &keys, tenant, &signed, tell).await);
    let report = report.await?;
    let problems = report.problems.iter().map(|problem| {
        json!({ "tenant": problem.tenant, "seq": problem.seq, "problem": problem.fault.to_string() })
    });
    sink.items(problems.collect()).await?;
    Ok(Outcome {
        good: report.is_clean(),
        summary: json!({
            "trails": report.trails, "entries": report.entries, "unchained": report.unchained,
            "signed": report.signed, "deleted": report.deleted, "problems": report.problem_count,
            "named": report.problems.len(),
        }),
    })
}

/// Signs the heads of all trails; the document is the one item. If they are asked for by themselves, the operators'
/// trail says so before.
pub(in crate::store) async fn sign(
    opened: &Opened,
    by_request: bool,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    let (key, _) = AuditKey::load_or_create(&opened.audit_key, &SystemEntropy)?;
    if by_request {
        let object = AuditObject { kind: "audit_key".into(), id: key.public().id() };
        let event = AuditEvent {
            tenant: OPERATORS,
            actor: None,
            action: AuditAction::HeadExport,
            object,
            address: None,
            details: Map::new(),
        };
        log(opened).record(event).await?;
    }
    let found = heads(&opened.store, &opened.keys).await?;
    let document = SignedHeads::sign(&key, &opened.description, opened.clock.now_millis(), &found.heads);
    sink.items(vec![serde_json::to_value(&document)?]).await?;
    Ok(Outcome {
        good: true,
        summary: json!({ "heads": found.heads.len(), "unreadable": found.unreadable, "key": key.public().id() }),
    })
}

/// Lists a tenant's entries, the newest first.
pub(in crate::store) async fn list(
    opened: &Opened,
    tenant: Uuid,
    limit: u64,
    sink: &mut dyn Sink,
) -> anyhow::Result<Outcome> {
    let repositories = repositories(opened);
    let (mut left, mut after) = (limit, None);
    loop {
        let wanted = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
        let page = repositories.audit().list(tenant, after.as_ref(), Order::NewestFirst, wanted).await?;
        left -= (page.items.len() as u64).min(left);
        sink.items(page.items.into_iter().map(item).collect()).await?;
        after = page.next;
        if after.is_none() || left == 0 {
            return Ok(Outcome {
                good: true,
                summary: json!({ "listed": limit - left, "more": after.is_some() }),
            });
        }
    }
}

fn item(entry: AuditEntry) -> Value {
    json!({
        "seq": entry.link.map(|link| link.seq), "id": entry.id, "at": entry.at, "actor": entry.actor,
        "action": entry.action, "object": { "kind": entry.object.kind, "id": entry.object.id },
        "address": entry.address, "details": entry.details,
        "prev": entry.link.map(|link| link.prev), "hash": entry.link.map(|link| link.hash),
    })
}

fn repositories(opened: &Opened) -> Repositories {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    Repositories::new(opened.store.clone(), opened.keys.clone(), Arc::clone(&opened.clock), entropy)
}

fn log(opened: &Opened) -> AuditLog {
    AuditLog::new(repositories(opened), Arc::clone(&opened.clock), Arc::new(SystemEntropy))
}
