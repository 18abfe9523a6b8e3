//! Logins: auth sessions and token families.

use coditect_auth::{Entropy, FamilySource};
use coditect_store::{Client, Rotated, UpdateError};
use uuid::Uuid;

use super::{Data, checks};
use crate::support::{NOW, login};

checks![
    refresh_rotates_forgives_a_retry_and_punishes_reuse,
    a_family_ends_and_unknown_sessions_are_unknown,
    a_revocation_stays_and_keeps_its_first_time,
    a_login_removes_what_ended_families_left,
    an_id_that_another_login_has_is_refused,
    the_live_logins_of_a_user_are_listed_with_their_last_client,
];

async fn refresh_rotates_forgives_a_retry_and_punishes_reuse(data: Data) {
    let auth = data.repositories.auth_sessions();
    let first = login(&*data.entropy, data.entropy.uuid(), data.entropy.uuid());
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
    assert_eq!(reused, Rotated::Reused { family: first.family, tenant: first.tenant_id });
    assert_eq!(auth.rotate(second.id, 10, NOW + 111, &client).await.unwrap(), Rotated::Revoked);
    let record =
        FamilySource::family_of(&data.repositories, first.tenant_id, second.id).await.unwrap().unwrap();
    assert!(record.revoked);
    assert_eq!((record.family, record.user_id), (first.family, first.user_id));
}

async fn a_family_ends_and_unknown_sessions_are_unknown(data: Data) {
    let auth = data.repositories.auth_sessions();
    let first = login(&*data.entropy, data.entropy.uuid(), data.entropy.uuid());
    auth.create(&first, NOW).await.unwrap();
    let ended = auth.rotate(first.id, 10, first.family_ends_at, &Client::default()).await.unwrap();
    assert_eq!(ended, Rotated::Ended);
    let unknown = auth.rotate(Uuid::nil(), 10, NOW, &Client::default()).await.unwrap();
    assert_eq!(unknown, Rotated::NotFound);
    assert_eq!(auth.family_of(Uuid::nil(), first.id).await.unwrap(), None, "another tenant sees nothing");
}

async fn a_revocation_stays_and_keeps_its_first_time(data: Data) {
    let auth = data.repositories.auth_sessions();
    let first = login(&*data.entropy, data.entropy.uuid(), data.entropy.uuid());
    auth.create(&first, NOW).await.unwrap();
    assert!(auth.revoke_family(first.tenant_id, first.family, NOW + 1).await.unwrap());
    assert!(auth.revoke_family(first.tenant_id, first.family, NOW + 2).await.unwrap());
    let family = auth.family_of(first.tenant_id, first.id).await.unwrap().unwrap();
    assert_eq!(family.revoked_at, Some(NOW + 1));
    let other_tenant = auth.revoke_family(data.entropy.uuid(), first.family, NOW).await.unwrap();
    assert!(!other_tenant);
}

async fn a_login_removes_what_ended_families_left(data: Data) {
    let auth = data.repositories.auth_sessions();
    let (tenant, user) = (data.entropy.uuid(), data.entropy.uuid());
    let old = login(&*data.entropy, tenant, user);
    auth.create(&old, NOW).await.unwrap();
    let one_login = data.dump().await.len();
    let Rotated::Issued(newer) = auth.rotate(old.id, 10, NOW + 1, &Client::default()).await.unwrap() else {
        panic!("not issued")
    };
    let mut live = login(&*data.entropy, tenant, user);
    live.family_ends_at = NOW + 5000;
    auth.create(&live, old.family_ends_at + 1).await.unwrap();
    assert_eq!(auth.find(old.id).await.unwrap(), None);
    assert_eq!(auth.find(newer.id).await.unwrap(), None);
    assert!(auth.find(live.id).await.unwrap().is_some());
    assert_eq!(data.dump().await.len(), one_login, "the live login alone");
    data.assert_clean().await;
}

async fn an_id_that_another_login_has_is_refused(data: Data) {
    let auth = data.repositories.auth_sessions();
    let first = login(&*data.entropy, data.id(), data.id());
    auth.create(&first, NOW).await.unwrap();
    let mut second = login(&*data.entropy, data.id(), data.id());
    second.id = first.id;
    let error = auth.create(&second, NOW).await.unwrap_err();
    assert!(matches!(&error, UpdateError::Store(error) if !error.maybe_committed()), "{error}");
    assert_eq!(auth.find(first.id).await.unwrap().unwrap().0, first);
    data.assert_clean().await;
}

async fn the_live_logins_of_a_user_are_listed_with_their_last_client(data: Data) {
    let auth = data.repositories.auth_sessions();
    let (tenant, user) = (data.id(), data.id());
    let mut logins = Vec::new();
    for n in 0..5 {
        let mut new = login(&*data.entropy, tenant, user);
        (new.created_at, new.family_ends_at) = (NOW + n, NOW + 1000 + n);
        new.user_agent = Some(format!("browser {n}"));
        auth.create(&new, NOW).await.unwrap();
        logins.push(new);
    }
    auth.create(&login(&*data.entropy, tenant, data.id()), NOW).await.unwrap();
    auth.revoke_family(tenant, logins[3].family, NOW).await.unwrap();
    let client = Client { user_agent: Some("phone".into()), address: Some("192.0.2.9".into()) };
    let Rotated::Issued(_) = auth.rotate(logins[1].id, 10, NOW + 60, &client).await.unwrap() else {
        panic!("not issued")
    };

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = auth.live_families(tenant, user, after.as_ref(), 2, NOW + 1000).await.unwrap();
        seen.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let ids: Vec<_> = seen.iter().map(|family| family.id).collect();
    assert_eq!(ids, [logins[4].family, logins[2].family, logins[1].family], "neither revoked nor ended");
    assert_eq!((seen[0].refreshed_at, seen[0].user_agent.as_deref()), (None, Some("browser 4")));
    assert_eq!(seen[2].refreshed_at, Some(NOW + 60));
    assert_eq!(
        (seen[2].user_agent.as_deref(), seen[2].address.as_deref()),
        (Some("phone"), Some("192.0.2.9"))
    );
    data.assert_clean().await;
}
