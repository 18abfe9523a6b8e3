//! One-use tickets: what opens a WebSocket from a page, without a token in its URL.

use super::{Credentials, Gate};
use coditect_auth::{AuthError, Identity};
use std::sync::Arc;
use std::time::Duration;

/// How long the ledger of used tickets may take.
const LEDGER_DEADLINE: Duration = Duration::from_secs(2);

impl Gate {
    /// The live caller behind a ticket for `path`, which is used up by this.
    pub(super) async fn redeem(&self, ticket: &str, path: &str) -> Result<Credentials, AuthError> {
        let ticket = self.verifier.verify_ticket(ticket, path, self.clock.now())?;
        let family = self.families.admit(&ticket.claims).await?;
        // Last, so that what would be refused anyway takes nobody's ticket.
        let redeemed = self.tickets.redeem(ticket.claims.jti, ticket.claims.exp);
        match tokio::time::timeout(LEDGER_DEADLINE, redeemed).await {
            Ok(Ok(true)) => {
                let identity = Identity { claims: Arc::new(ticket.claims), family };
                Ok(Credentials { identity, only: ticket.workspace })
            }
            Ok(Ok(false)) => Err(AuthError::InvalidToken),
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a ticket could not be marked as used"
                );
                Err(AuthError::Unavailable)
            }
            Err(_) => {
                tracing::error!(deadline_s = LEDGER_DEADLINE.as_secs(), "marking a ticket as used timed out");
                Err(AuthError::Unavailable)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::*;
    use crate::reply::BoxError;
    use async_trait::async_trait;
    use coditect_auth::{
        AuthSession, Claims, FamilyRecord, FamilySource, LedgerError, ManualClock, SeededEntropy,
        SigningSecret, SourceError, TenantState, TicketLedger, TokenSettings,
    };
    use coditect_config::{LocalService, Segment, Target};
    use http::HeaderValue;
    use http::header::{AUTHORIZATION, ORIGIN};
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    const NOW: i64 = 1_000_000;
    const WORKSPACE: Uuid = Uuid::from_u128(9);

    /// What the gate asks: one family that lives, one user who owns every workspace, and a ledger that can fail.
    #[derive(Default)]
    struct World {
        used: Mutex<HashSet<Uuid>>,
        ledger_fails: AtomicBool,
    }

    fn session() -> AuthSession {
        AuthSession {
            id: Uuid::from_u128(1),
            family: Uuid::from_u128(2),
            user_id: Uuid::from_u128(3),
            tenant_id: Uuid::from_u128(4),
            email: "a@example.com".into(),
            created_at: NOW,
            family_ends_at: NOW + 86_400,
            rotated: None,
            user_agent: None,
            address: None,
        }
    }

    #[async_trait]
    impl FamilySource for World {
        async fn family_of(&self, _: Uuid, _: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
            let AuthSession { family, user_id, tenant_id, family_ends_at: ends_at, .. } = session();
            Ok(Some(FamilyRecord {
                family,
                user_id,
                tenant_id,
                ends_at,
                revoked: false,
                tenant: TenantState::Active,
            }))
        }

        async fn family(&self, tenant: Uuid, _: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
            self.family_of(tenant, Uuid::nil()).await
        }
    }

    #[async_trait]
    impl Workspaces for World {
        async fn owned(&self, _: &Claims, _: Uuid) -> Result<bool, BoxError> {
            Ok(true)
        }

        async fn opened(&self, _: &Claims, _: Uuid) -> Result<(), BoxError> {
            Ok(())
        }

        async fn last_opened(&self, _: &Claims) -> Result<Option<Uuid>, BoxError> {
            Ok(Some(WORKSPACE))
        }
    }

    #[async_trait]
    impl TicketLedger for World {
        async fn redeem(&self, jti: Uuid, _: i64) -> Result<bool, LedgerError> {
            if self.ledger_fails.load(Ordering::SeqCst) {
                return Err(LedgerError("the store is away".into()));
            }
            tokio::task::yield_now().await;
            Ok(self.used.lock().unwrap().insert(jti))
        }
    }

    struct Scene {
        gate: Gate,
        issuer: Arc<TokenIssuer>,
        families: Arc<Families>,
        clock: Arc<ManualClock>,
        world: Arc<World>,
        ada: Identity,
    }

    async fn scene() -> Scene {
        let settings =
            TokenSettings { issuer: "coditect.ai".into(), audience: "users".into(), access_seconds: 3600 };
        let secret = SigningSecret::new("s".repeat(32).into()).unwrap();
        let verifier = TokenVerifier::new(&secret, &settings);
        let issuer = Arc::new(TokenIssuer::new(&secret, settings, Arc::new(SeededEntropy::new(3))));
        let (clock, world) = (Arc::new(ManualClock::new(NOW)), Arc::new(World::default()));
        let families = Arc::new(Families::new(world.clone(), clock.clone()));
        let token = issuer.access(&session(), NOW).unwrap().token;
        let claims = Arc::new(verifier.verify(&token, NOW).unwrap());
        let family = families.admit(&claims).await.unwrap();
        let gate = Gate::new(
            verifier,
            Arc::clone(&issuer),
            Arc::clone(&families),
            world.clone(),
            WorkspaceEnds::default(),
            world.clone(),
            clock.clone(),
        );
        Scene { gate, issuer, families, clock, world, ada: Identity { claims, family } }
    }

    fn route(prefix: &str, auth: Auth) -> Route {
        let literal = |segment: &str| Segment::Literal(segment.into());
        let segments = prefix.split('/').filter(|segment| !segment.is_empty()).map(literal).collect();
        Route {
            prefix: PathPattern { text: prefix.into(), segments },
            target: Target::Local(LocalService::Terminal),
            auth,
            public: Vec::new(),
            strip_prefix: false,
            forward_authorization: false,
            max_body_bytes: None,
            plugins: Vec::new(),
            plugin_timeout: std::time::Duration::from_secs(15),
        }
    }

    impl Scene {
        fn ticket(&self, path: &str, workspace: Option<Uuid>) -> String {
            self.issuer.ticket(&self.ada, path, workspace, self.clock.now()).unwrap().token
        }

        /// What a request with this ticket gets: nothing where it passes, or the code of its refusal.
        async fn ask(
            &self,
            auth: Auth,
            path: &str,
            ticket: &str,
            upgrade: bool,
            headers: HeaderMap,
        ) -> Result<Pass, &'static str> {
            let prefix = if auth == Auth::Workspace { "/theia" } else { "/api/v5" };
            let query = split(&format!("x=1&ticket={ticket}"));
            assert_eq!(query.rest.as_deref(), Some("x=1"));
            let origins = Origins { listed: Vec::new(), own: true };
            let request = Request {
                method: &Method::GET,
                path,
                query: &query,
                headers: &headers,
                host: "edge.example",
                upgrade,
                secure: false,
                origins: &origins,
            };
            match self.gate.admit(&route(prefix, auth), &request).await {
                Decision::Pass(pass) => Ok(pass),
                Decision::Answer { code, .. } => Err(code),
                Decision::ReadForm => panic!("no form was sent"),
            }
        }

        async fn upgrade(&self, auth: Auth, path: &str, ticket: &str) -> Result<Pass, &'static str> {
            self.ask(auth, path, ticket, true, HeaderMap::new()).await
        }
    }

    const ATTACH: &str = "/api/v5/sessions/x/terminals/y/attach";

    #[tokio::test]
    async fn a_ticket_opens_one_socket_at_its_path_once() {
        let scene = scene().await;
        let ticket = scene.ticket(ATTACH, None);
        for elsewhere in ["/api/v5/sessions/x/terminals/z/attach", "/api/v5/sessions/x/terminals/%79/attach"]
        {
            assert_eq!(scene.upgrade(Auth::Jwt, elsewhere, &ticket).await.unwrap_err(), "INVALID_TOKEN");
        }
        let pass = scene.upgrade(Auth::Jwt, ATTACH, &ticket).await.expect("a foreign path used nothing up");
        assert_eq!(pass.identity.unwrap().claims.sub, session().user_id);
        assert_eq!(scene.upgrade(Auth::Jwt, ATTACH, &ticket).await.unwrap_err(), "INVALID_TOKEN");
        let late = scene.ticket(ATTACH, None);
        scene.clock.advance(30);
        assert_eq!(scene.upgrade(Auth::Jwt, ATTACH, &late).await.unwrap_err(), "TOKEN_EXPIRED");
    }

    #[tokio::test]
    async fn of_twenty_upgrades_with_one_ticket_one_passes() {
        let scene = scene().await;
        let ticket = scene.ticket(ATTACH, None);
        let attempts = (0..20).map(|_| scene.upgrade(Auth::Jwt, ATTACH, &ticket));
        let answers = futures::future::join_all(attempts).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert!(
            answers.iter().filter_map(|answer| answer.as_ref().err()).all(|code| *code == "INVALID_TOKEN")
        );
    }

    #[tokio::test]
    async fn a_ticket_is_for_upgrades_and_is_no_token() {
        let scene = scene().await;
        let ticket = scene.ticket(ATTACH, None);
        let plain = scene.ask(Auth::Jwt, ATTACH, &ticket, false, HeaderMap::new()).await;
        assert_eq!(plain.unwrap_err(), "MISSING_AUTH_HEADER");
        let bearer = HeaderValue::try_from(format!("Bearer {ticket}")).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
        for upgrade in [false, true] {
            let refused = scene.ask(Auth::Jwt, ATTACH, &ticket, upgrade, headers.clone()).await;
            assert_eq!(refused.unwrap_err(), "INVALID_TOKEN", "the header is what counts");
        }
        let access = scene.issuer.access(&session(), NOW).unwrap().token;
        assert_eq!(scene.upgrade(Auth::Jwt, ATTACH, &access).await.unwrap_err(), "INVALID_TOKEN");
        scene.upgrade(Auth::Jwt, ATTACH, &ticket).await.expect("none of this used it up");
    }

    #[tokio::test]
    async fn a_page_of_another_origin_cannot_use_one() {
        let scene = scene().await;
        let ticket = scene.ticket(ATTACH, None);
        let from = |origin: &'static str| HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
        let foreign = scene.ask(Auth::Jwt, ATTACH, &ticket, true, from("https://evil.example")).await;
        assert_eq!(foreign.unwrap_err(), "ORIGIN_NOT_ALLOWED");
        scene.ask(Auth::Jwt, ATTACH, &ticket, true, from("http://edge.example")).await.expect("our own page");
    }

    #[tokio::test]
    async fn a_ticket_opens_its_own_workspace_only() {
        let scene = scene().await;
        let path = format!("/theia/{WORKSPACE}/services");
        let pass =
            scene.upgrade(Auth::Workspace, &path, &scene.ticket(&path, Some(WORKSPACE))).await.unwrap();
        assert_eq!(pass.workspace, Some(WORKSPACE));
        scene.upgrade(Auth::Workspace, &path, &scene.ticket(&path, None)).await.expect("the path says which");
        let other = scene.ticket(&path, Some(Uuid::from_u128(10)));
        assert_eq!(scene.upgrade(Auth::Workspace, &path, &other).await.unwrap_err(), "INVALID_TOKEN");
    }

    #[tokio::test]
    async fn a_ticket_is_worth_no_more_than_its_login_and_nothing_without_the_ledger() {
        let scene = scene().await;
        let ticket = scene.ticket(ATTACH, None);
        scene.world.ledger_fails.store(true, Ordering::SeqCst);
        assert_eq!(scene.upgrade(Auth::Jwt, ATTACH, &ticket).await.unwrap_err(), "UNAVAILABLE");
        scene.world.ledger_fails.store(false, Ordering::SeqCst);
        scene.families.revoke(session().family);
        assert_eq!(scene.upgrade(Auth::Jwt, ATTACH, &ticket).await.unwrap_err(), "TOKEN_REVOKED");
        assert!(scene.world.used.lock().unwrap().is_empty());
    }
}
