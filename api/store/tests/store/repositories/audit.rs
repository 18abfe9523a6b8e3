//! The audit trail.

use coditect_store::records::{AuditEntry, AuditObject};
use coditect_store::{Order, Page, TimeCursor, UpdateError};
use uuid::Uuid;

use super::{Data, checks};

checks![entries_are_found_by_time_actor_and_object, an_entry_is_never_changed];

pub(crate) fn entry(data: &Data, tenant: Uuid, at: i64, actor: Option<Uuid>, object: &str) -> AuditEntry {
    AuditEntry {
        id: data.id(),
        tenant_id: tenant,
        at,
        actor,
        action: "session.delete".into(),
        object: AuditObject { kind: "session".into(), id: object.into() },
        address: Some("192.0.2.1".into()),
        details: serde_json::Map::new(),
    }
}

/// All ids of a list, read in pages of two.
async fn all<F, Fut>(page: F) -> Vec<Uuid>
where
    F: Fn(Option<TimeCursor>) -> Fut,
    Fut: Future<Output = Page<AuditEntry>>,
{
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let found = page(after).await;
        ids.extend(found.items.into_iter().map(|entry| entry.id));
        after = found.next;
        if after.is_none() {
            return ids;
        }
    }
}

async fn entries_are_found_by_time_actor_and_object(data: Data) {
    let audit = &data.repositories.audit();
    let (tenant, ann, bob) = (data.id(), data.id(), data.id());
    let mut entries = Vec::new();
    for n in 0..12_i64 {
        let actor = [Some(ann), Some(bob), None][usize::try_from(n % 3).unwrap()];
        // Negative times, and several entries of one millisecond.
        let new = entry(&data, tenant, n / 2 - 2, actor, if n < 8 { "a" } else { "a\0b" });
        audit.append(&new).await.unwrap();
        entries.push(new);
    }
    audit.append(&entry(&data, data.id(), 0, Some(ann), "a")).await.unwrap();
    entries.sort_by_key(|entry| (entry.at, entry.id));
    let expected = |keep: &dyn Fn(&AuditEntry) -> bool, order| {
        let ids = entries.iter().filter(|entry| keep(entry)).map(|entry| entry.id);
        if order == Order::OldestFirst { ids.collect::<Vec<_>>() } else { ids.rev().collect() }
    };
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let by_time = all(async |after| audit.list(tenant, after.as_ref(), order, 2).await.unwrap()).await;
        assert_eq!(by_time, expected(&|_| true, order));
        let by_actor =
            all(async |after| audit.by_actor(tenant, bob, after.as_ref(), order, 2).await.unwrap()).await;
        assert_eq!(by_actor, expected(&|entry| entry.actor == Some(bob), order));
        for id in ["a", "a\0b", "b"] {
            let object = &AuditObject { kind: "session".into(), id: id.into() };
            let by_object =
                all(async |after| audit.by_object(tenant, object, after.as_ref(), order, 2).await.unwrap())
                    .await;
            assert_eq!(by_object, expected(&|entry| entry.object.id == id, order));
        }
    }
    data.assert_clean().await;
}

async fn an_entry_is_never_changed(data: Data) {
    let audit = data.repositories.audit();
    let first = entry(&data, data.id(), 5, None, "a");
    audit.append(&first).await.unwrap();
    audit.append(&first).await.unwrap();
    let other = AuditEntry { action: "session.create".into(), ..first.clone() };
    assert!(matches!(audit.append(&other).await, Err(UpdateError::Taken)));
    let listed = audit.list(first.tenant_id, None, Order::OldestFirst, 10).await.unwrap();
    assert_eq!(listed.items, [first]);
}
