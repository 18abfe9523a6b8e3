//! Suspended tenants: their logins are refused and not used up.

use coditect_auth::{FamilySource, TenantState};
use coditect_store::changes::{Change, Followed, Follower};
use coditect_store::records::TenantStatus;
use coditect_store::{Client, Rotated, UpdateError};

use super::{Data, NOW_MS, checks};
use crate::support::{NOW, login, registration};

checks![a_suspended_tenant_gets_no_login_and_no_refresh_until_it_is_resumed];

async fn a_suspended_tenant_gets_no_login_and_no_refresh_until_it_is_resumed(data: Data) {
    let new = registration(&*data.entropy, "ann@example.com");
    data.repositories.users().register(&new).await.unwrap();
    let (tenant, session) = (new.tenant.id, &new.auth_session);
    let (tenants, auth) = (data.repositories.tenants(), data.repositories.auth_sessions());
    let state = async || {
        let found = data.repositories.family_of(tenant, session.id).await.unwrap().unwrap();
        assert!(!found.revoked);
        assert_eq!(data.repositories.family(tenant, session.family).await.unwrap(), Some(found.clone()));
        found.tenant
    };
    let mut follower = Follower::from_now(data.store.clone(), data.keys.clone()).await.unwrap();

    let suspended = tenants.suspend(tenant, Some("unpaid"), NOW_MS + 1).await.unwrap();
    assert_eq!((suspended.status, suspended.suspended_at), (TenantStatus::Suspended, Some(NOW_MS + 1)));
    let again = tenants.suspend(tenant, Some("still unpaid"), NOW_MS + 2).await.unwrap();
    assert_eq!((again.suspended_at, again.reason.as_deref()), (Some(NOW_MS + 1), Some("still unpaid")));
    assert_eq!(state().await, TenantState::Suspended);
    for _ in 0..2 {
        let refreshed = auth.rotate(session.id, 10, NOW + 5, &Client::default()).await.unwrap();
        assert_eq!(refreshed, Rotated::Suspended);
    }
    let refused = auth.create(&login(&*data.entropy, tenant, new.user.id), NOW).await;
    assert!(matches!(refused, Err(UpdateError::NotAllowed)), "{refused:?}");

    let resumed = tenants.resume(tenant, NOW_MS + 3).await.unwrap();
    assert_eq!((resumed.status, resumed.suspended_at, resumed.reason), (TenantStatus::Active, None, None));
    tenants.resume(tenant, NOW_MS + 4).await.unwrap();
    assert_eq!(state().await, TenantState::Active);
    let refreshed = auth.rotate(session.id, 10, NOW + 100, &Client::default()).await.unwrap();
    assert!(matches!(refreshed, Rotated::Issued(_)), "the refresh token was not used up: {refreshed:?}");

    let mut told = Vec::new();
    while told.len() < 2 {
        let Followed::Changes(changes) = follower.next().await.unwrap() else { panic!("missed") };
        told.extend(changes.into_iter().map(|recorded| recorded.change));
    }
    assert_eq!(
        told,
        [Change::TenantSuspended { tenant }, Change::TenantResumed { tenant }],
        "told once each"
    );
    let nobody = tenants.suspend(data.id(), None, NOW_MS).await;
    assert!(matches!(nobody, Err(UpdateError::NotFound)), "{nobody:?}");
    data.assert_clean().await;
}
