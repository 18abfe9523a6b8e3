//! Users, logins and workspaces.

use coditect_auth::{Entropy, FamilySource};
use coditect_store::contract::RangeRead;
use coditect_store::records::SessionType;
use coditect_store::{Client, RegistrationError, Rotated, Store, UpdateError};
use uuid::Uuid;

use crate::support::{Fixture, NOW, login, registration, session};

/// How many keys the store holds.
async fn count(store: &Store) -> usize {
    let page = store.begin().range(RangeRead::new([0], [0xff], 100_000)).await.unwrap();
    assert!(!page.more);
    page.rows.len()
}

#[tokio::test]
async fn a_registered_user_is_found_by_any_spelling_of_the_address() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let new = registration(&*f.entropy, " Ann@Example.COM ");
    repositories.users().register(&new).await.unwrap();
    let found = repositories.users().by_email("ANN@example.com").await.unwrap().unwrap();
    assert_eq!(found.id, new.user.id);
    assert_eq!(found.email, "ann@example.com");
    assert_eq!(repositories.users().get(new.tenant.id, new.user.id).await.unwrap(), Some(found));
    assert_eq!(repositories.users().get(Uuid::nil(), new.user.id).await.unwrap(), None);
    assert_eq!(repositories.users().by_email("bob@example.com").await.unwrap(), None);
    let family = repositories.auth_sessions().family_of(new.tenant.id, new.auth_session.id).await.unwrap();
    assert_eq!(family.unwrap().id, new.auth_session.family);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sixteen_registrations_with_one_address_one_wins_and_the_others_leave_nothing() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let new = registration(&*f.entropy, if i % 2 == 0 { "a@b.example" } else { "A@B.example" });
            let repositories = repositories.clone();
            tokio::spawn(async move { repositories.users().register(&new).await.map(|()| new.user.id) })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => won.push(id),
            Err(RegistrationError::EmailTaken) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(repositories.users().by_email("a@b.example").await.unwrap().unwrap().id, won[0]);
    // Tenant, its registry entry, user, e-mail index, family, its index, auth session, its two indexes, marker.
    assert_eq!(count(&f.store).await, 10);
}

#[tokio::test]
async fn refresh_rotates_forgives_a_retry_and_punishes_reuse() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let auth = repositories.auth_sessions();
    let first = login(&*f.entropy, f.entropy.uuid(), f.entropy.uuid());
    auth.create(&first, NOW).await.unwrap();
    let client = Client { user_agent: Some("test".into()), address: Some("192.0.2.1".into()) };

    let Rotated::Issued(second) = auth.rotate(first.id, 10, NOW + 100, &client).await.unwrap() else {
        panic!("not issued")
    };
    assert_ne!(second.id, first.id);
    assert_eq!((second.family, second.family_ends_at), (first.family, first.family_ends_at));
    assert_eq!((second.created_at, second.user_agent.as_deref()), (NOW + 100, Some("test")));

    let retried = auth.rotate(first.id, 10, NOW + 109, &client).await.unwrap();
    assert_eq!(retried, Rotated::Issued(second.clone()), "within the grace time the same successor");

    let reused = auth.rotate(first.id, 10, NOW + 110, &client).await.unwrap();
    assert_eq!(reused, Rotated::Reused { family: first.family });
    assert_eq!(auth.rotate(second.id, 10, NOW + 111, &client).await.unwrap(), Rotated::Revoked);
    let record = FamilySource::family_of(&repositories, first.tenant_id, second.id).await.unwrap().unwrap();
    assert!(record.revoked);
    assert_eq!((record.family, record.user_id), (first.family, first.user_id));
}

#[tokio::test]
async fn a_family_ends_and_unknown_sessions_are_unknown() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let auth = repositories.auth_sessions();
    let first = login(&*f.entropy, f.entropy.uuid(), f.entropy.uuid());
    auth.create(&first, NOW).await.unwrap();
    let ended = auth.rotate(first.id, 10, first.family_ends_at, &Client::default()).await.unwrap();
    assert_eq!(ended, Rotated::Ended);
    let unknown = auth.rotate(Uuid::nil(), 10, NOW, &Client::default()).await.unwrap();
    assert_eq!(unknown, Rotated::NotFound);
    assert_eq!(auth.family_of(Uuid::nil(), first.id).await.unwrap(), None, "another tenant sees nothing");
}

#[tokio::test]
async fn a_revocation_stays_and_keeps_its_first_time() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let auth = repositories.auth_sessions();
    let first = login(&*f.entropy, f.entropy.uuid(), f.entropy.uuid());
    auth.create(&first, NOW).await.unwrap();
    assert!(auth.revoke_family(first.tenant_id, first.family, NOW + 1).await.unwrap());
    assert!(auth.revoke_family(first.tenant_id, first.family, NOW + 2).await.unwrap());
    let family = auth.family_of(first.tenant_id, first.id).await.unwrap().unwrap();
    assert_eq!(family.revoked_at, Some(NOW + 1));
    let other_tenant = auth.revoke_family(f.entropy.uuid(), first.family, NOW).await.unwrap();
    assert!(!other_tenant);
}

#[tokio::test]
async fn a_login_removes_what_ended_families_left() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let auth = repositories.auth_sessions();
    let (tenant, user) = (f.entropy.uuid(), f.entropy.uuid());
    let old = login(&*f.entropy, tenant, user);
    auth.create(&old, NOW).await.unwrap();
    let one_login = count(&f.store).await;
    let Rotated::Issued(newer) = auth.rotate(old.id, 10, NOW + 1, &Client::default()).await.unwrap() else {
        panic!("not issued")
    };
    let mut live = login(&*f.entropy, tenant, user);
    live.family_ends_at = NOW + 5000;
    auth.create(&live, old.family_ends_at + 1).await.unwrap();
    assert_eq!(auth.find(old.id).await.unwrap(), None);
    assert_eq!(auth.find(newer.id).await.unwrap(), None);
    assert!(auth.find(live.id).await.unwrap().is_some());
    assert_eq!(count(&f.store).await, one_login + 1, "the live login and the rotation's marker");
}

#[tokio::test]
async fn workspaces_are_listed_newest_first_and_leave_no_orphans() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let sessions = repositories.sessions();
    let (tenant, user, other) = (f.entropy.uuid(), f.entropy.uuid(), f.entropy.uuid());
    let mut ids = Vec::new();
    for at in [100, 300, 200] {
        let new = session(&*f.entropy, tenant, user, at);
        sessions.create(&new).await.unwrap();
        ids.push(new.id);
    }
    sessions.create(&session(&*f.entropy, tenant, other, 400)).await.unwrap();
    let listed = |limit| {
        let sessions = repositories.sessions();
        async move {
            let found = sessions.list(tenant, user, limit).await.unwrap();
            found.into_iter().map(|s| s.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(10).await, [ids[1], ids[2], ids[0]]);
    assert_eq!(listed(2).await, [ids[1], ids[2]]);

    let changed = sessions
        .update(tenant, user, ids[2], None, |s| {
            s.name = "renamed".into();
            s.r#type = SessionType::AiStudio;
            s.user_id = other;
            s.created_at = 0;
        })
        .await
        .unwrap();
    assert_eq!((changed.name.as_str(), changed.user_id, changed.created_at), ("renamed", user, 200));
    assert_eq!(sessions.get(tenant, user, ids[2]).await.unwrap(), Some(changed));
    assert_eq!(listed(10).await, [ids[1], ids[2], ids[0]]);

    assert!(sessions.delete(tenant, user, ids[1]).await.unwrap());
    assert!(!sessions.delete(tenant, user, ids[1]).await.unwrap());
    assert_eq!(listed(10).await, [ids[2], ids[0]]);
    let touched = sessions.touch(tenant, user, ids[0], 999).await.unwrap().unwrap();
    assert_eq!((touched.last_accessed_at, touched.updated_at), (999, 100));
    // Two workspaces of the user and one of the other, with an index entry each, and three changes' markers.
    assert_eq!(count(&f.store).await, 9);
}

#[tokio::test]
async fn another_user_or_tenant_reaches_no_workspace() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let sessions = repositories.sessions();
    let (tenant, user, other) = (f.entropy.uuid(), f.entropy.uuid(), f.entropy.uuid());
    let mine = session(&*f.entropy, tenant, user, 100);
    sessions.create(&mine).await.unwrap();
    for (tenant, user) in [(tenant, other), (other, user), (other, other)] {
        assert_eq!(sessions.get(tenant, user, mine.id).await.unwrap(), None);
        let changed = sessions.update(tenant, user, mine.id, None, |s| s.name.clear()).await;
        assert!(matches!(changed, Err(UpdateError::NotFound)));
        assert!(!sessions.delete(tenant, user, mine.id).await.unwrap());
        assert!(sessions.list(tenant, user, 10).await.unwrap().is_empty());
    }
    assert_eq!(sessions.get(tenant, user, mine.id).await.unwrap(), Some(mine));
}

/// Orientation for the budget of an authenticated GET; printed, and held only against gross mistakes.
#[tokio::test]
async fn a_point_read_takes_microseconds() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let (tenant, user) = (f.entropy.uuid(), f.entropy.uuid());
    let mine = session(&*f.entropy, tenant, user, 100);
    repositories.sessions().create(&mine).await.unwrap();
    let rounds = 2_000_u32;
    let started = std::time::Instant::now();
    for _ in 0..rounds {
        assert!(repositories.sessions().get(tenant, user, mine.id).await.unwrap().is_some());
    }
    let each = started.elapsed() / rounds;
    println!("one workspace read: {each:?}");
    assert!(each < std::time::Duration::from_millis(1), "{each:?}");
}
