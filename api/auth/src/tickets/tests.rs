//! Tests of tickets: what they are bound to, and for how long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::{
    AuthSession, Clock, Families, FamilyRecord, FamilySource, ManualClock, SeededEntropy, SigningSecret,
    SourceError, TokenSettings,
};
use secrecy::SecretString;
use std::sync::Arc;

const NOW: i64 = 1_000_000;
const PATH: &str = "/theia/x/services";

/// Every family lives, and ends as told.
struct Alive(FamilyRecord);

#[async_trait]
impl FamilySource for Alive {
    async fn family_of(&self, _: Uuid, _: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
        Ok(Some(self.0.clone()))
    }

    async fn family(&self, _: Uuid, _: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
        Ok(Some(self.0.clone()))
    }
}

struct Scene {
    issuer: TokenIssuer,
    verifier: TokenVerifier,
    ada: Identity,
}

/// A caller whose family ends so many seconds from now.
async fn scene(family_seconds: i64) -> Scene {
    let settings =
        TokenSettings { issuer: "coditect.ai".into(), audience: "users".into(), access_seconds: 3600 };
    let secret = SigningSecret::new(SecretString::from("s".repeat(32))).unwrap();
    let verifier = TokenVerifier::new(&secret, &settings);
    let issuer = TokenIssuer::new(&secret, settings, Arc::new(SeededEntropy::new(3)));
    let session = AuthSession {
        id: Uuid::from_u128(1),
        family: Uuid::from_u128(2),
        user_id: Uuid::from_u128(3),
        tenant_id: Uuid::from_u128(4),
        email: "a@example.com".into(),
        created_at: NOW,
        family_ends_at: NOW + family_seconds,
        rotated: None,
        user_agent: None,
        address: None,
    };
    let record = FamilyRecord {
        family: session.family,
        user_id: session.user_id,
        tenant_id: session.tenant_id,
        ends_at: session.family_ends_at,
        revoked: false,
        tenant: crate::TenantState::Active,
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let families = Families::new(Arc::new(Alive(record)), clock);
    let token = issuer.access(&session, NOW).unwrap().token;
    let claims = Arc::new(verifier.verify(&token, NOW).unwrap());
    let family = families.admit(&claims).await.unwrap();
    Scene { issuer, verifier, ada: Identity { claims, family } }
}

#[tokio::test]
async fn a_ticket_is_for_one_path_and_half_a_minute() {
    let scene = scene(86_400).await;
    let workspace = Some(Uuid::from_u128(9));
    let issued = scene.issuer.ticket(&scene.ada, PATH, workspace, NOW).unwrap();
    assert_eq!(issued.expires_in, 30);
    let verify = |path: &str, now: i64| scene.verifier.verify_ticket(&issued.token, path, now);
    let ticket = verify(PATH, NOW + 29).unwrap();
    assert_eq!((ticket.workspace, ticket.claims.session_id), (workspace, scene.ada.claims.session_id));
    assert_ne!(ticket.claims.jti, scene.ada.claims.jti);
    assert_eq!(verify(PATH, NOW + 30), Err(AuthError::TokenExpired));
    for other in
        ["/theia/x/service", "/theia/x/services/", "/theia/x/%73ervices", "/theia/X/services", "/", ""]
    {
        assert_eq!(verify(other, NOW), Err(AuthError::InvalidToken), "{other}");
    }
    let another = scene.issuer.ticket(&scene.ada, PATH, workspace, NOW).unwrap();
    assert_ne!(another.token, issued.token, "each has an id of its own");
}

#[tokio::test]
async fn a_ticket_and_other_tokens_do_not_stand_for_each_other() {
    let scene = scene(86_400).await;
    let ticket = scene.issuer.ticket(&scene.ada, PATH, None, NOW).unwrap().token;
    assert_eq!(scene.verifier.verify(&ticket, NOW), Err(AuthError::InvalidToken));
    assert_eq!(scene.issuer.parse_refresh(&ticket), Err(AuthError::InvalidToken));
    assert!(scene.verifier.verify_workspace_pass(&ticket, NOW).is_err());
    let pass = scene.issuer.workspace_pass(&scene.ada, Uuid::from_u128(9)).unwrap();
    for other in [pass.as_str(), "", "a.b.c"] {
        assert_eq!(scene.verifier.verify_ticket(other, PATH, NOW), Err(AuthError::InvalidToken));
    }
}

#[tokio::test]
async fn a_ticket_never_outlives_its_login() {
    let scene = scene(12).await;
    let issued = scene.issuer.ticket(&scene.ada, PATH, None, NOW).unwrap();
    assert_eq!(issued.expires_in, 12);
    assert_eq!(scene.verifier.verify_ticket(&issued.token, PATH, NOW + 12), Err(AuthError::TokenExpired));
}

#[tokio::test]
async fn what_cannot_be_a_requests_path_gets_no_ticket() {
    let scene = scene(86_400).await;
    let longest = format!("/{}", "x".repeat(MAX_PATH_BYTES - 1));
    let issued = scene.issuer.ticket(&scene.ada, &longest, Some(Uuid::max()), NOW).unwrap();
    scene.verifier.verify_ticket(&issued.token, &longest, NOW).unwrap();
    for bad in ["", "x", "/a?b", "/a#b", "/a b", "/ä", "/a\n", "https://a.example/b", &format!("{longest}x")]
    {
        let refused = scene.issuer.ticket(&scene.ada, bad, None, NOW).map(|issued| issued.expires_in);
        assert_eq!(refused, Err(TicketError::Path), "{bad:.20}");
    }
}
