//! Tenants and users that are removed: what goes, what stays, and that it can be broken off anywhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use coditect_auth::FamilySource;
use coditect_store::keyspace::path::from_path;
use coditect_store::records::{Role, User};
use coditect_store::{By, Order, SETTLED_AFTER, UpdateError};
use uuid::Uuid;

use super::home::Home;
use super::pods::allocation;
use super::{Data, NOW_MS, checks};
use crate::support::{login, registration, session};

checks![
    a_removed_tenant_leaves_its_audit_trail_and_nothing_else,
    a_removed_tenant_leaves_nothing_if_so_wanted,
    a_removal_may_be_broken_off_anywhere,
    a_removed_user_leaves_what_is_the_tenants,
    who_is_alone_takes_the_tenant_along,
    what_is_written_late_goes_too,
    a_removal_that_fails_holds_up_no_other,
];

/// What names a tenant anywhere, but for changes.
async fn of_tenant(data: &Data, tenant: Uuid) -> BTreeMap<String, Bytes> {
    let named = foundationdb_tuple::pack(&(tenant,));
    let text = tenant.to_string();
    let mut rows = data.dump_all().await;
    rows.retain(|path, value| {
        let names = path.contains(&text)
            || value.starts_with(&named)
            || value.windows(text.len()).any(|part| part == text.as_bytes());
        names && !path.contains("/changes")
    });
    rows
}

fn is_audit(path: &str, tenant: Uuid) -> bool {
    path.starts_with(&format!("/test/tenant/{tenant}/audit"))
}

async fn homes(data: &Data) -> (Home, Home) {
    let ann = Home::create(data, "ann@example.com").await;
    let eve = Home::create(data, "eve@example.com").await;
    let mut pod = allocation(data, "theia", "theia-0");
    (pod.tenant_id, pod.session_id) = (ann.tenant, ann.session);
    data.repositories.pods().allocate(&pod).await.unwrap();
    (ann, eve)
}

async fn a_removed_tenant_leaves_its_audit_trail_and_nothing_else(data: Data) {
    let (ann, eve) = homes(&data).await;
    let others = of_tenant(&data, eve.tenant).await;
    let removals = data.repositories.removals();
    let begun = removals.begin_tenant(By::Operator, ann.tenant, false, NOW_MS).await.unwrap();
    assert_eq!((begun.name.as_str(), begun.user_id, begun.with_audit), ("Ann", None, false));
    data.assert_clean().await;

    // To everybody it is gone already.
    assert_eq!(data.repositories.tenants().get(ann.tenant).await.unwrap(), None);
    let listed = data.repositories.tenants().list(None, 10).await.unwrap().items;
    assert_eq!(listed.iter().map(|tenant| tenant.id).collect::<Vec<_>>(), [eve.tenant]);
    let source = data.repositories.family_of(ann.tenant, ann.auth_session).await.unwrap();
    assert!(source.unwrap().revoked);
    let late = login(&*data.entropy, ann.tenant, data.id());
    let late = data.repositories.auth_sessions().create(&late, 0).await;
    assert!(matches!(late, Err(UpdateError::NotAllowed)), "{late:?}");

    let mut told = Vec::new();
    let removed = removals.run(&begun, |rows| told.push(rows)).await.unwrap();
    assert!(removed.rows > 20 && told.is_sorted() && told.last() == Some(&removed.rows), "{told:?}");
    let left = of_tenant(&data, ann.tenant).await;
    assert!(left.keys().any(|path| is_audit(path, ann.tenant)), "{left:?}");
    let mark = format!("/test/global/removals/{}/{}", ann.tenant, Uuid::nil());
    for path in left.keys() {
        assert!(is_audit(path, ann.tenant) || *path == mark, "{path} is left");
    }
    let trail = data.repositories.audit().list(ann.tenant, None, Order::OldestFirst, 10).await.unwrap();
    assert_eq!(trail.items.len(), 1);
    data.assert_clean().await;

    assert_eq!(
        removals.run_all(NOW_MS + SETTLED_AFTER - 1).await.unwrap(),
        1,
        "it is looked after for a while"
    );
    assert_eq!(removals.run_all(NOW_MS + SETTLED_AFTER).await.unwrap(), 0);
    assert!(!of_tenant(&data, ann.tenant).await.contains_key(&mark));
    assert_eq!(of_tenant(&data, eve.tenant).await, others, "nobody else lost or gained anything");
    let again = removals.begin_tenant(By::Operator, ann.tenant, false, NOW_MS).await;
    assert!(matches!(again, Err(UpdateError::NotFound)), "{again:?}");
    let back = registration(&*data.entropy, "ann@example.com");
    data.repositories.users().register(&back).await.unwrap();
    data.assert_clean().await;
}

async fn a_removed_tenant_leaves_nothing_if_so_wanted(data: Data) {
    let (ann, _) = homes(&data).await;
    let removals = data.repositories.removals();
    removals.begin_tenant(By::Operator, ann.tenant, false, NOW_MS).await.unwrap();
    let begun = removals.begin_tenant(By::Operator, ann.tenant, true, NOW_MS + 9).await.unwrap();
    assert_eq!((begun.with_audit, begun.began_at), (true, NOW_MS), "the first one's, and more");
    assert_eq!(removals.run_all(NOW_MS + SETTLED_AFTER).await.unwrap(), 0);
    assert_eq!(of_tenant(&data, ann.tenant).await, BTreeMap::new());
    data.assert_clean().await;
}

async fn a_removal_may_be_broken_off_anywhere(data: Data) {
    let (ann, eve) = homes(&data).await;
    let removals = data.repositories.removals();
    // More than a step takes.
    let bulk = data.store.begin();
    for n in 0..1500 {
        let key = from_path(&format!("/test/tenant/{}/usage/n{n}", ann.tenant)).unwrap();
        bulk.set(key, 1_u64.to_le_bytes().to_vec()).unwrap();
    }
    bulk.commit().await.unwrap();
    let begun = removals.begin_tenant(By::Operator, ann.tenant, false, NOW_MS).await.unwrap();
    let mut breaks = 0;
    loop {
        // Dropped once it has done some more; what is left must agree with itself.
        let before = of_tenant(&data, ann.tenant).await.len();
        let stopped = {
            let (seen, stop) = tokio::sync::oneshot::channel();
            let mut seen = Some(seen);
            let running = removals.run(&begun, move |rows| {
                if rows > 0
                    && let Some(seen) = seen.take()
                {
                    seen.send(()).ok();
                }
            });
            tokio::select! {
                biased;
                _ = stop => true,
                done = running => { done.unwrap(); false }
            }
        };
        data.assert_clean().await;
        if !stopped || of_tenant(&data, ann.tenant).await.len() == before {
            break;
        }
        breaks += 1;
    }
    assert!(breaks >= 2, "it was broken off {breaks} times");
    assert_eq!(removals.run_all(NOW_MS + SETTLED_AFTER).await.unwrap(), 0);
    let left = of_tenant(&data, ann.tenant).await;
    assert!(left.keys().all(|path| is_audit(path, ann.tenant)), "{left:?}");
    assert!(data.repositories.tenants().get(eve.tenant).await.unwrap().is_some());
    data.assert_clean().await;
}

async fn a_removed_user_leaves_what_is_the_tenants(data: Data) {
    let (ann, _) = homes(&data).await;
    let (users, removals) = (data.repositories.users(), data.repositories.removals());
    let owner = users.get(ann.tenant, ann.user).await.unwrap().unwrap();
    let second = User { id: data.id(), email: "second@example.com".into(), ..owner };
    users.add(By::Operator, &second).await.unwrap();
    let theirs = session(&*data.entropy, ann.tenant, second.id, NOW_MS);
    data.repositories.sessions().create(&theirs).await.unwrap();

    let stale = removals.begin_user(By::Operator, ann.tenant, ann.user, Some(9), NOW_MS).await;
    assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 1 })), "{stale:?}");
    let by = By::Member(second.id);
    let begun = removals.begin_user(by, ann.tenant, ann.user, Some(1), NOW_MS).await.unwrap();
    assert_eq!(removals.begin_user(by, ann.tenant, ann.user, None, NOW_MS + 1).await.unwrap(), begun);
    assert_eq!(users.by_email("ann@example.com").await.unwrap(), None);
    let late =
        data.repositories.auth_sessions().create(&login(&*data.entropy, ann.tenant, ann.user), 0).await;
    assert!(matches!(late, Err(UpdateError::NotAllowed)), "{late:?}");
    data.assert_clean().await;
    removals.run(&begun, |_| ()).await.unwrap();

    assert_eq!(data.repositories.family_of(ann.tenant, ann.auth_session).await.unwrap(), None);
    let of_user = ann.user.to_string();
    let left: Vec<_> = data.dump_all().await.into_keys().filter(|path| path.contains(&of_user)).collect();
    let allowed = |path: &String| path.contains("/audit_by_actor/") || path.contains("/global/removals/");
    assert!(left.iter().all(allowed), "{left:?}");
    assert!(data.repositories.agents().get(ann.tenant, ann.agent).await.unwrap().is_some());
    assert!(data.repositories.sessions().get(ann.tenant, second.id, theirs.id).await.unwrap().is_some());
    assert_eq!(removals.run_all(NOW_MS + SETTLED_AFTER).await.unwrap(), 0);
    data.assert_clean().await;
}

async fn who_is_alone_takes_the_tenant_along(data: Data) {
    let (ann, eve) = homes(&data).await;
    let (users, removals) = (data.repositories.users(), data.repositories.removals());
    let alone = removals.begin_account(ann.tenant, ann.user, NOW_MS).await.unwrap();
    assert_eq!((alone.tenant_id, alone.user_id), (ann.tenant, None));
    let owner = users.get(eve.tenant, eve.user).await.unwrap().unwrap();
    let member = User { id: data.id(), email: "m@example.com".into(), role: Role::Member, ..owner };
    users.add(By::Operator, &member).await.unwrap();
    let leaves = removals.begin_account(eve.tenant, member.id, NOW_MS).await.unwrap();
    assert_eq!((leaves.user_id, leaves.name.as_str()), (Some(member.id), "m@example.com"));
    let nobody = removals.begin_account(eve.tenant, data.id(), NOW_MS).await;
    assert!(matches!(nobody, Err(UpdateError::NotFound)), "{nobody:?}");
    assert_eq!(removals.run_all(NOW_MS).await.unwrap(), 2);
    assert!(users.get(eve.tenant, eve.user).await.unwrap().is_some());
    data.assert_clean().await;
}

async fn what_is_written_late_goes_too(data: Data) {
    let (ann, _) = homes(&data).await;
    let removals = data.repositories.removals();
    removals.begin_tenant(By::Operator, ann.tenant, true, NOW_MS).await.unwrap();
    removals.run_all(NOW_MS).await.unwrap();
    // A request that was let in before.
    let late = session(&*data.entropy, ann.tenant, ann.user, NOW_MS);
    data.repositories.sessions().create(&late).await.unwrap();
    data.assert_clean().await;
    assert_eq!(removals.run_all(NOW_MS + SETTLED_AFTER).await.unwrap(), 0);
    assert_eq!(of_tenant(&data, ann.tenant).await, BTreeMap::new());
    assert!(removals.of_tenant(ann.tenant).await.unwrap().is_none());
}

async fn a_removal_that_fails_holds_up_no_other(data: Data) {
    let (ann, _) = homes(&data).await;
    let removals = data.repositories.removals();
    removals.begin_tenant(By::Operator, ann.tenant, true, NOW_MS).await.unwrap();
    // Before it in the order of keys.
    let broken = from_path(&format!("/test/global/removals/{}/{}", Uuid::nil(), Uuid::nil())).unwrap();
    let damage = data.store.begin();
    damage.set(broken.clone(), b"no removal".to_vec()).unwrap();
    damage.commit().await.unwrap();
    assert_eq!(removals.run_all(NOW_MS + SETTLED_AFTER).await.unwrap(), 1, "the one that failed is left");
    assert_eq!(of_tenant(&data, ann.tenant).await, BTreeMap::new());
    let repair = data.store.begin();
    repair.clear(broken).unwrap();
    repair.commit().await.unwrap();
    assert_eq!(removals.run_all(NOW_MS + SETTLED_AFTER).await.unwrap(), 0);
    data.assert_clean().await;
}
