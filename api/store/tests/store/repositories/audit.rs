//! The audit trail: what is found in it, and that its chain holds. Damage is in `damage`.

use coditect_store::audit::{AuditReport, chain, verify};
use coditect_store::records::{AuditEntry, AuditHead, AuditObject};
use coditect_store::{AuditFilter, NewAuditEntry, Order, Page, TimeCursor};
use serde_json::{Map, json};
use uuid::Uuid;

use super::{Data, NOW_MS, checks};

checks![
    entries_are_found_by_time_actor_and_object,
    a_filter_lets_through_what_all_of_it_applies_to,
    entries_are_chained_without_gaps,
    what_is_too_long_is_cut_and_never_refused,
    entries_from_before_the_chains_stay_before_them,
];

pub(crate) fn entry(data: &Data, at: i64, actor: Option<Uuid>, object: &str) -> NewAuditEntry {
    NewAuditEntry {
        salt: data.id(),
        at,
        actor,
        action: "session.delete".into(),
        object: AuditObject { kind: "session".into(), id: object.into() },
        address: Some("192.0.2.1".into()),
        details: Map::from_iter([("reason".to_owned(), json!("asked"))]),
    }
}

/// Verifies all trails, against heads from earlier.
pub(crate) async fn verified(data: &Data, heads: &[AuditHead]) -> AuditReport {
    verify(&data.store, &data.keys, None, heads, |_| ()).await.unwrap()
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
        // Negative times, several entries of one millisecond, and a clock that goes back.
        let at = if n == 5 { -7 } else { n / 2 - 2 };
        let new = entry(&data, at, actor, if n < 8 { "a" } else { "a\0b" });
        entries.extend(audit.append(tenant, &[new]).await.unwrap());
    }
    audit.append(data.id(), &[entry(&data, 0, Some(ann), "a")]).await.unwrap();
    assert!(
        entries.is_sorted_by_key(|entry| (entry.at, entry.id)),
        "the chain's order is that of time and id"
    );
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

async fn a_filter_lets_through_what_all_of_it_applies_to(data: Data) {
    let audit = &data.repositories.audit();
    let (tenant, ann, bob) = (data.id(), data.id(), data.id());
    let new: Vec<_> = (0..60_i64)
        .map(|n| {
            let actor = if n % 2 == 0 { ann } else { bob };
            let action = ["login.succeed", "login.fail", "file.delete"][usize::try_from(n % 3).unwrap()];
            let made = entry(&data, n, Some(actor), if n % 5 == 0 { "x" } else { "y" });
            NewAuditEntry { action: action.into(), ..made }
        })
        .collect();
    let entries = audit.append(tenant, &new).await.unwrap();
    let object = |id: &str| Some(AuditObject { kind: "session".into(), id: id.into() });
    let action = |begin: &str| Some(begin.to_owned());
    let none = AuditFilter::default;
    let filters = [
        none(),
        AuditFilter { actor: Some(ann), action: action("login."), ..none() },
        AuditFilter { object: object("x"), actor: Some(bob), ..none() },
        AuditFilter { object: object("y"), action: action("file"), from: Some(9), to: Some(40), ..none() },
        AuditFilter { from: Some(59), ..none() },
        AuditFilter { to: Some(1), ..none() },
        AuditFilter { from: Some(30), to: Some(20), ..none() },
        AuditFilter { actor: Some(data.id()), ..none() },
    ];
    for filter in &filters {
        let AuditFilter { actor, object, action, from, to } = filter;
        let mut expected: Vec<_> = entries
            .iter()
            .filter(|e| actor.is_none_or(|actor| e.actor == Some(actor)))
            .filter(|e| object.as_ref().is_none_or(|object| e.object == *object))
            .filter(|e| action.as_ref().is_none_or(|action| e.action.starts_with(action)))
            .filter(|e| from.is_none_or(|from| e.at >= from) && to.is_none_or(|to| e.at < to))
            .map(|e| e.id)
            .collect();
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let found =
                all(async |after| audit.search(tenant, filter, after.as_ref(), order, 2).await.unwrap());
            assert_eq!(found.await, expected, "{filter:?} {order:?}");
            expected.reverse();
        }
    }
}

async fn entries_are_chained_without_gaps(data: Data) {
    let audit = data.repositories.audit();
    let tenants = [data.id(), data.id(), Uuid::nil()];
    for tenant in tenants {
        let mut prev = chain::beginning(tenant);
        let mut seq = 0;
        for batch in [1, 100, 3] {
            let new: Vec<_> = (0..batch).map(|n| entry(&data, NOW_MS - n, None, "a")).collect();
            for entry in audit.append(tenant, &new).await.unwrap() {
                seq += 1;
                let link = entry.link.unwrap();
                assert_eq!((link.seq, link.prev, entry.tenant_id), (seq, prev, tenant));
                assert_eq!(chain::hash(&entry, seq, &prev), link.hash);
                assert_eq!(entry.at, NOW_MS, "times never go backwards");
                prev = link.hash;
            }
            let head = audit.head(tenant).await.unwrap().unwrap();
            assert_eq!((head.seq, head.hash, head.at), (seq, prev, NOW_MS));
        }
        assert!(audit.append(tenant, &[]).await.unwrap().is_empty());
    }
    assert_eq!(audit.head(data.id()).await.unwrap(), None);
    let report = verified(&data, &[]).await;
    assert_eq!((report.problems, report.trails, report.entries), (Vec::new(), 3, 312));
    data.assert_clean().await;
}

async fn what_is_too_long_is_cut_and_never_refused(data: Data) {
    let audit = data.repositories.audit();
    let tenant = data.id();
    let long = "é\0".repeat(20_000);
    let object = AuditObject { kind: long.clone(), id: long.clone() };
    let new = NewAuditEntry {
        action: long.clone(),
        object: object.clone(),
        address: Some(long.clone()),
        details: Map::from_iter([("a".to_owned(), json!([1.5])), (long.clone(), json!(long))]),
        ..entry(&data, 1, None, "")
    };
    audit.append(tenant, &vec![new; 100]).await.unwrap();
    let found = audit.by_object(tenant, &object, None, Order::OldestFirst, 200).await.unwrap().items;
    assert_eq!(found.len(), 100, "it is found by what it was before it was cut");
    assert_eq!(found[0].details["a"], json!(["1.5"]));
    assert!(found[0].details["cut_from_bytes"].as_u64().unwrap() > 80_000);
    assert!(verified(&data, &[]).await.is_clean());
}

/// An entry as it was written before there were chains.
async fn plant_unchained(data: &Data, tenant: Uuid, at: i64) {
    let id = data.id();
    let json = json!({
        "id": id, "tenant_id": tenant, "at": at, "actor": null, "action": "session.delete",
        "object": { "kind": "session", "id": "a" }, "address": null, "details": {},
    });
    let at = format!("{at}/{id}");
    let value = [&[1], json.to_string().as_bytes()].concat();
    data.plant(&format!("/test/tenant/{tenant}/audit/{at}"), Some(&value)).await;
    data.plant(&format!("/test/tenant/{tenant}/audit_by_object/session/a/{at}"), Some(b"")).await;
}

async fn entries_from_before_the_chains_stay_before_them(data: Data) {
    let audit = data.repositories.audit();
    let tenant = data.id();
    for n in 0..3 {
        plant_unchained(&data, tenant, NOW_MS + n).await;
    }
    let first = audit.append(tenant, &[entry(&data, NOW_MS, None, "a")]).await.unwrap().remove(0);
    assert_eq!((first.at, first.link.unwrap().seq), (NOW_MS + 3, 1), "after all of them");
    let listed = audit.list(tenant, None, Order::OldestFirst, 10).await.unwrap().items;
    assert_eq!(
        listed.iter().map(|entry| entry.link.is_some()).collect::<Vec<_>>(),
        [false, false, false, true]
    );
    let report = verified(&data, &[]).await;
    assert_eq!((report.problems, report.entries, report.unchained), (Vec::new(), 4, 3));

    // One among those that are chained is none of those.
    audit.append(tenant, &[entry(&data, NOW_MS + 9, None, "a")]).await.unwrap();
    plant_unchained(&data, tenant, NOW_MS + 5).await;
    let report = verified(&data, &[]).await;
    assert_eq!(report.problem_count, 1, "{:#?}", report.problems);
    assert!(report.problems[0].to_string().contains("in no chain stands after entry 1"));
}
