//! Revocations that reach other replicas: instances over one store, each with families of its own.

use std::sync::Arc;
use std::time::Duration;

use coditect_auth::{
    AuthError, AuthSession, Claims, Entropy, Families, Family, FamilyEnd, FamilySource, ManualClock, Recheck,
    SeededEntropy,
};
use coditect_store::changes::{Change, Followed, Follower, trim};
use coditect_store::{Client, Repositories, Rotated, Store};
use tokio::time::timeout;
use uuid::Uuid;

use super::{AT, HOUR, changes, from_start, keys, next};
use crate::faulty::{Fate, Faulty};
use crate::support::{Fixture, NOW, registration, repositories, session};

/// A replica: families of its own, which follow the feed of the store that all share.
struct Replica {
    families: Arc<Families>,
    following: tokio::task::JoinHandle<()>,
}

impl Replica {
    async fn start(f: &Fixture) -> Self {
        let source: Arc<dyn FamilySource> = Arc::new(f.repositories());
        let families = Arc::new(Families::new(source, Arc::new(ManualClock::new(NOW))));
        let mut follower = Follower::from_now(f.store.clone(), keys()).await.unwrap();
        let following = tokio::spawn({
            let families = Arc::clone(&families);
            async move {
                while let Ok(followed) = follower.next().await {
                    match followed {
                        Followed::Reload => drop(families.recheck(Recheck::All).await.unwrap()),
                        Followed::Changes(changes) => {
                            for recorded in changes {
                                if let Change::FamilyRevoked { family, .. } = recorded.change {
                                    families.revoke(family);
                                }
                            }
                        }
                    }
                }
            }
        });
        Self { families, following }
    }
}

impl Replica {
    fn stop(self) {
        self.following.abort();
    }
}

/// What an access token of an auth session says.
fn claims(session: &AuthSession) -> Claims {
    serde_json::from_value(serde_json::json!({
        "sub": session.user_id,
        "tenant_id": session.tenant_id,
        "email": session.email,
        "session_id": session.id,
        "token_family": session.family,
        "exp": NOW + 900,
        "iat": NOW,
        "iss": "edge",
        "aud": "edge",
        "jti": Uuid::nil(),
    }))
    .unwrap()
}

/// A login in a tenant of its own.
async fn signed_in(repositories: &Repositories, entropy: &SeededEntropy) -> AuthSession {
    let new = registration(entropy, &format!("{}@example.com", entropy.uuid()));
    repositories.users().register(&new).await.unwrap();
    new.auth_session
}

/// The promise: within a second.
async fn ends_in_time(family: &Family) {
    let ended = timeout(Duration::from_secs(1), family.ended()).await;
    assert_eq!(ended.expect("the other replica did not learn of it within 1 s"), FamilyEnd::Revoked);
}

#[tokio::test]
async fn a_family_revoked_by_one_replica_ends_on_another_within_a_second() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let (one, other) = (Replica::start(&f).await, Replica::start(&f).await);
    let session = signed_in(&repositories, &f.entropy).await;
    let claims = claims(&session);
    let here = one.families.admit(&claims).await.unwrap();
    let there = other.families.admit(&claims).await.unwrap();

    assert!(
        repositories.auth_sessions().revoke_family(session.tenant_id, session.family, NOW).await.unwrap()
    );
    one.families.revoke(session.family);
    assert!(!here.is_live(), "where it was revoked at once");
    ends_in_time(&there).await;
    assert_eq!(other.families.admit(&claims).await.unwrap_err(), AuthError::TokenRevoked);

    // A second revocation is none, and tells nobody.
    repositories.auth_sessions().revoke_family(session.tenant_id, session.family, NOW + 1).await.unwrap();
    let told = changes(&mut from_start(&f.store)).await;
    assert_eq!(told, [Change::FamilyRevoked { tenant: session.tenant_id, family: session.family }]);
    one.stop();
    other.stop();
}

#[tokio::test]
async fn a_refresh_token_used_again_ends_its_family_on_every_replica() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let other = Replica::start(&f).await;
    let session = signed_in(&repositories, &f.entropy).await;
    let there = other.families.admit(&claims(&session)).await.unwrap();
    let auth = repositories.auth_sessions();
    let rotated = auth.rotate(session.id, 10, NOW + 1, &Client::default()).await.unwrap();
    assert!(matches!(rotated, Rotated::Issued(_)));
    assert!(there.is_live(), "an ordinary refresh ends nothing");
    let reused = auth.rotate(session.id, 10, NOW + 60, &Client::default()).await.unwrap();
    assert!(matches!(reused, Rotated::Reused { .. }));
    ends_in_time(&there).await;
    other.stop();
}

#[tokio::test]
async fn a_replica_that_was_away_too_long_looks_up_what_it_holds() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let source: Arc<dyn FamilySource> = Arc::new(f.repositories());
    let families = Families::new(source, Arc::new(ManualClock::new(NOW)));
    let mut follower = Follower::from_now(f.store.clone(), keys()).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let session = signed_in(&repositories, &f.entropy).await;
        held.push((families.admit(&claims(&session)).await.unwrap(), session));
    }
    let session = &held[1].1;
    repositories.auth_sessions().revoke_family(session.tenant_id, session.family, NOW).await.unwrap();
    trim(&f.store, &keys(), AT + HOUR + 1).await.unwrap();
    assert_eq!(next(&mut follower).await, Followed::Reload);
    assert_eq!(families.recheck(Recheck::All).await, Ok(1));
    assert_eq!(held.iter().map(|(family, _)| family.is_live()).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn a_workspace_paused_or_removed_by_one_replica_ends_on_another_within_a_second() {
    let f = Fixture::new();
    let (here, there) = (f.repositories(), f.repositories());
    let (sessions, elsewhere) = (here.sessions(), there.sessions());
    let mut follower = Follower::from_now(f.store.clone(), keys()).await.unwrap();
    let work = session(&*f.entropy, f.entropy.uuid(), f.entropy.uuid(), AT);
    let (tenant, user, id) = (work.tenant_id, work.user_id, work.id);
    sessions.create(&work).await.unwrap();
    let told = async |follower: &mut Follower| {
        let told = timeout(Duration::from_secs(1), changes(follower)).await;
        assert_eq!(told.expect("not within 1 s"), [Change::WorkspaceEnded { tenant, workspace: id }]);
    };
    sessions.pause(tenant, user, id, None, AT).await.unwrap();
    told(&mut follower).await;
    assert!(!elsewhere.is_active(tenant, id).await.unwrap());
    // What was told is of the past by now: what has been opened since is not to end.
    sessions.resume(tenant, user, id, None, AT).await.unwrap();
    assert!(elsewhere.is_active(tenant, id).await.unwrap());
    assert!(sessions.delete(tenant, user, id).await.unwrap());
    told(&mut follower).await;
    assert!(!elsewhere.is_active(tenant, id).await.unwrap());
}

#[tokio::test]
async fn a_revocation_whose_answer_was_lost_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, faults) = Faulty::open(dir.path().join("s.redb"));
    let entropy = Arc::new(SeededEntropy::new(11));
    let store = Store::new(Arc::new(backend), entropy.clone());
    let repositories = repositories(store.clone(), &entropy);
    let mut follower = Follower::from_now(store.clone(), keys()).await.unwrap();
    for plan in 0..Fate::KINDS.pow(3) {
        let session = signed_in(&repositories, &entropy).await;
        faults.plan(Fate::plan(plan));
        repositories.auth_sessions().revoke_family(session.tenant_id, session.family, NOW).await.unwrap();
        faults.stop().await;
        let told = changes(&mut follower).await;
        let expected = [Change::FamilyRevoked { tenant: session.tenant_id, family: session.family }];
        assert_eq!(told, expected, "{:?}", Fate::plan(plan));
    }
}
