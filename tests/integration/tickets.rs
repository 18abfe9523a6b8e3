//! One-use tickets on the real binary: one socket, once, and no trace of it behind the gate.

use crate::support::{Account, Config, Edge, Upstream, ws};
use async_trait::async_trait;
use coditect_auth::{
    Clock, Families, FamilyRecord, FamilySource, Identity, SigningSecret, SourceError, SystemClock,
    SystemEntropy, TenantState, TokenIssuer, TokenSettings, TokenVerifier,
};
use std::sync::Arc;
use uuid::Uuid;

/// The account's own family, as the store of the edge has it.
struct Known(FamilyRecord);

#[async_trait]
impl FamilySource for Known {
    async fn family_of(&self, _: Uuid, _: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
        Ok(Some(self.0.clone()))
    }

    async fn family(&self, _: Uuid, _: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
        Ok(Some(self.0.clone()))
    }
}

/// A ticket as the edge itself would make it, with the key in its folder.
async fn ticket(edge: &Edge, account: &Account, path: &str) -> String {
    let secret = SigningSecret::load_if_there(&edge.data().path().join("signing.key")).unwrap().unwrap();
    let settings = TokenSettings {
        issuer: "coditect.ai".into(),
        audience: "coditect-users".into(),
        access_seconds: 3600,
    };
    let now = SystemClock.now();
    let claims = TokenVerifier::new(&secret, &settings).verify(&account.token, now).unwrap();
    let record = FamilyRecord {
        family: claims.token_family,
        user_id: claims.sub,
        tenant_id: claims.tenant_id,
        ends_at: now + 86_400,
        revoked: false,
        tenant: TenantState::Active,
    };
    let families = Families::new(Arc::new(Known(record)), Arc::new(SystemClock));
    let family = families.admit(&claims).await.unwrap();
    let caller = Identity { claims: Arc::new(claims), family };
    TokenIssuer::new(&secret, settings, Arc::new(SystemEntropy))
        .ticket(&caller, path, None, now)
        .unwrap()
        .token
}

#[tokio::test]
async fn of_twenty_sockets_with_one_ticket_one_opens() {
    let theia = Upstream::echo().await;
    let edge = Edge::start(&Config::standard(theia.address)).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let path = format!("/theia/{workspace}/services");
    let ticket = ticket(&edge, &ada, &path).await;
    let elsewhere = ws::open(edge.http, &format!("/theia/{workspace}/other?ticket={ticket}"), &[]).await;
    assert_eq!(elsewhere.expect_err("a foreign path").refusal(), (401, "INVALID_TOKEN".into()));

    let target = format!("{path}?ticket={ticket}&EIO=4");
    let attempts = (0..20).map(|_| ws::open(edge.http, &target, &[]));
    let mut open = Vec::new();
    for attempt in futures::future::join_all(attempts).await {
        match attempt {
            Ok(socket) => open.push(socket),
            Err(refused) => assert_eq!(refused.refusal(), (401, "INVALID_TOKEN".into())),
        }
    }
    assert_eq!(open.len(), 1);
    open[0].echo("x").await;
    assert_eq!((theia.count(), theia.last().target.as_str()), (1, "/services?EIO=4"));
    drop(open);
    edge.logged("that there was a ticket is told", |line| line["query"] == "ticket&EIO").await;
    let signature = ticket.rsplit('.').next().unwrap();
    assert!(!theia.got(signature) && !(edge.stdout() + &edge.stderr()).contains(signature), "no trace of it");
}

#[tokio::test]
async fn a_ticket_attaches_to_a_terminal_once() {
    let edge = Edge::start(&Config::standard("127.0.0.1:1".parse().unwrap())).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "engines").await;
    let path = edge.create_terminal(&ada, &workspace).await;
    let target = format!("{path}?ticket={}", ticket(&edge, &ada, &path).await);
    let foreign = ws::open(edge.http, &target, &[("origin", "https://evil.example")]).await;
    assert_eq!(foreign.expect_err("another origin").refusal(), (403, "ORIGIN_NOT_ALLOWED".into()));
    let _socket =
        ws::open(edge.http, &target, &[("origin", &edge.origin())]).await.expect("the socket opens");
    let again = ws::open(edge.http, &target, &[]).await.expect_err("it was used");
    assert_eq!(again.refusal(), (401, "INVALID_TOKEN".into()));
}
