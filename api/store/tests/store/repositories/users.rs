//! Users, their e-mail addresses, and tenants.

use coditect_store::records::{Role, User, UserStatus};
use coditect_store::{By, Registration, RegistrationError, UpdateError};
use uuid::Uuid;

use super::{Data, NOW_MS, checks};
use crate::support::{NOW, login, registration};

checks![
    a_registered_user_is_found_by_any_spelling_of_the_address,
    of_sixteen_registrations_with_one_address_one_wins_and_the_others_leave_nothing,
    an_address_moves_with_its_user_and_is_free_again_behind,
    of_many_users_who_want_one_address_one_gets_it,
    a_version_that_is_no_longer_current_changes_nothing,
    concurrent_changes_are_all_counted,
    members_belong_to_a_tenant_that_exists,
    members_and_tenants_are_listed_in_pages,
    a_disabled_user_loses_all_logins,
];

/// A user of a fresh tenant.
async fn registered(data: &Data, email: &str) -> Registration {
    let new = registration(&*data.entropy, email);
    data.repositories.users().register(&new).await.unwrap();
    new
}

async fn a_registered_user_is_found_by_any_spelling_of_the_address(data: Data) {
    let users = data.repositories.users();
    let new = registered(&data, " Ann@Example.COM ").await;
    let found = users.by_email("ANN@example.com").await.unwrap().unwrap();
    assert_eq!(found.id, new.user.id);
    assert_eq!(found.email, "ann@example.com");
    assert_eq!(users.get(new.tenant.id, new.user.id).await.unwrap(), Some(found));
    assert_eq!(users.get(Uuid::nil(), new.user.id).await.unwrap(), None);
    assert_eq!(users.by_email("bob@example.com").await.unwrap(), None);
    let auth = data.repositories.auth_sessions();
    let family = auth.family_of(new.tenant.id, new.auth_session.id).await.unwrap();
    assert_eq!(family.unwrap().id, new.auth_session.family);
    data.assert_clean().await;
}

async fn of_sixteen_registrations_with_one_address_one_wins_and_the_others_leave_nothing(data: Data) {
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let new = registration(&*data.entropy, if i % 2 == 0 { "a@b.example" } else { "A@B.example" });
            let repositories = data.repositories.clone();
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
    let found = data.repositories.users().by_email("a@b.example").await.unwrap().unwrap();
    assert_eq!(found.id, won[0]);
    // Tenant, its registry entry, user, e-mail index, family, its index, auth session, its two indexes.
    assert_eq!(data.dump().await.len(), 9);
    data.assert_clean().await;
}

async fn an_address_moves_with_its_user_and_is_free_again_behind(data: Data) {
    let users = data.repositories.users();
    let ann = registered(&data, "ann@example.com").await;
    let bob = registered(&data, "bob@example.com").await;
    let (tenant, id) = (ann.tenant.id, ann.user.id);
    let taken = users.change_email(tenant, id, None, "BOB@example.com", NOW_MS + 1).await;
    assert!(matches!(taken, Err(UpdateError::Taken)), "{taken:?}");
    assert_eq!(users.get(tenant, id).await.unwrap().unwrap(), ann.user);

    let moved = users.change_email(tenant, id, Some(1), " Ann@New.example", NOW_MS + 2).await.unwrap();
    assert_eq!((moved.email.as_str(), moved.version), ("ann@new.example", 2));
    assert_eq!(users.by_email("ann@new.example").await.unwrap(), Some(moved));
    assert_eq!(users.by_email("ann@example.com").await.unwrap(), None);
    // Another spelling of the same address is no other address.
    let same = users.change_email(tenant, id, None, "ANN@new.example", NOW_MS + 3).await.unwrap();
    assert_eq!(same.email, "ann@new.example");
    let (tenant, id) = (bob.tenant.id, bob.user.id);
    users.change_email(tenant, id, None, "ann@example.com", NOW_MS + 4).await.unwrap();
    data.assert_clean().await;
}

async fn of_many_users_who_want_one_address_one_gets_it(data: Data) {
    let mut tasks = Vec::new();
    for i in 0..12 {
        let own = registered(&data, &format!("u{i}@example.com")).await;
        let repositories = data.repositories.clone();
        tasks.push(tokio::spawn(async move {
            let (tenant, id) = (own.tenant.id, own.user.id);
            repositories.users().change_email(tenant, id, None, "wanted@example.com", NOW_MS).await
        }));
    }
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(user) => won.push(user),
            Err(UpdateError::Taken) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    let found = data.repositories.users().by_email("wanted@example.com").await.unwrap();
    assert_eq!(found.as_ref(), won.first());
    data.assert_clean().await;
}

async fn a_version_that_is_no_longer_current_changes_nothing(data: Data) {
    let users = data.repositories.users();
    let ann = registered(&data, "ann@example.com").await;
    let (tenant, id) = (ann.tenant.id, ann.user.id);
    let rename = |user: &mut User| {
        user.first_name = "Anna".into();
        user.id = Uuid::nil();
        user.tenant_id = Uuid::nil();
        user.created_at = 0;
        user.version = 77;
    };
    let renamed = users.update(tenant, id, Some(1), rename).await.unwrap();
    let expected = User { first_name: "Anna".into(), version: 2, ..ann.user.clone() };
    assert_eq!(renamed, expected, "ids, creation time and version are not the caller's");
    let again = users.update(tenant, id, Some(2), rename).await.unwrap();
    assert_eq!(again.version, 2, "what changes nothing is no change");
    let stale = users.update(tenant, id, Some(1), |user| user.last_name.clear()).await;
    assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 2 })), "{stale:?}");
    let none = users.update(tenant, Uuid::nil(), None, rename).await;
    assert!(matches!(none, Err(UpdateError::NotFound)), "{none:?}");
    assert_eq!(users.get(tenant, id).await.unwrap(), Some(renamed));
}

async fn concurrent_changes_are_all_counted(data: Data) {
    let ann = registered(&data, "ann@example.com").await;
    let (tenant, id) = (ann.tenant.id, ann.user.id);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let repositories = data.repositories.clone();
            tokio::spawn(async move {
                repositories.users().update(tenant, id, None, |user| user.last_name.push('x')).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let user = data.repositories.users().get(tenant, id).await.unwrap().unwrap();
    assert_eq!((user.version, user.last_name.len()), (17, ann.user.last_name.len() + 16));
}

async fn members_belong_to_a_tenant_that_exists(data: Data) {
    let users = data.repositories.users();
    let ann = registered(&data, "ann@example.com").await;
    let member =
        User { id: data.id(), email: "Bob@Example.com".into(), role: Role::Member, ..ann.user.clone() };
    users.add(By::Operator, &member).await.unwrap();
    let stored = users.by_email("bob@example.com").await.unwrap().unwrap();
    assert_eq!((stored.id, stored.tenant_id, stored.role), (member.id, ann.tenant.id, Role::Member));

    let same_address = users.add(By::Operator, &User { id: data.id(), ..member.clone() }).await;
    assert!(matches!(same_address, Err(UpdateError::Taken)), "{same_address:?}");
    let same_id = users.add(By::Operator, &User { email: "carl@example.com".into(), ..member.clone() }).await;
    assert!(matches!(same_id, Err(UpdateError::Taken)), "{same_id:?}");
    let nowhere = User { tenant_id: data.id(), email: "dora@example.com".into(), ..member };
    let nowhere = users.add(By::Operator, &nowhere).await;
    assert!(matches!(nowhere, Err(UpdateError::NotFound)), "{nowhere:?}");
    data.assert_clean().await;
}

async fn members_and_tenants_are_listed_in_pages(data: Data) {
    let users = data.repositories.users();
    let ann = registered(&data, "ann@example.com").await;
    let tenant = ann.tenant.id;
    for i in 0..6 {
        let member = User { id: data.id(), email: format!("m{i}@example.com"), ..ann.user.clone() };
        users.add(By::Operator, &member).await.unwrap();
        registered(&data, &format!("t{i}@example.com")).await;
    }
    let (mut members, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = users.list(tenant, after, 3).await.unwrap();
        members.extend(page.items.into_iter().map(|user| user.id));
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((members.len(), pages), (7, 3));
    assert!(members.is_sorted_by(|a, b| a < b));

    let tenants = data.repositories.tenants();
    let first = tenants.list(None, 4).await.unwrap();
    let rest = tenants.list(first.next, 4).await.unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (4, 3, None));
    let renamed = tenants.update(tenant, Some(1), |tenant| tenant.name = "Works".into()).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.version), ("Works", 2));
    assert_eq!(tenants.get(tenant).await.unwrap(), Some(renamed));
    data.assert_clean().await;
}

async fn a_disabled_user_loses_all_logins(data: Data) {
    let (users, auth) = (data.repositories.users(), data.repositories.auth_sessions());
    let ann = registered(&data, "ann@example.com").await;
    let (tenant, id) = (ann.tenant.id, ann.user.id);
    let second = login(&*data.entropy, tenant, id);
    auth.create(&second, NOW).await.unwrap();
    let mut families = vec![ann.auth_session.family, second.family];
    families.sort_unstable();

    let other = User { id: data.id(), email: "owner@example.com".into(), ..ann.user.clone() };
    users.add(By::Operator, &other).await.unwrap();
    let stale = users.disable(By::Operator, tenant, id, Some(9), NOW_MS).await;
    assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 1 })));
    let (disabled, mut revoked) =
        users.disable(By::Operator, tenant, id, Some(1), NOW_MS + 5000).await.unwrap();
    revoked.sort_unstable();
    assert_eq!((disabled.status, disabled.version, &revoked), (UserStatus::Disabled, 2, &families));
    for session in [&ann.auth_session, &second] {
        let family = auth.family_of(tenant, session.id).await.unwrap().unwrap();
        assert_eq!(family.revoked_at, Some(NOW + 5));
    }
    let (_, again) = users.disable(By::Operator, tenant, id, None, NOW_MS + 6000).await.unwrap();
    assert!(again.is_empty(), "revoked once");
    let late = auth.create(&login(&*data.entropy, tenant, id), NOW).await;
    assert!(matches!(late, Err(UpdateError::NotAllowed)), "whoever is disabled begins no login: {late:?}");
    data.assert_clean().await;
}
