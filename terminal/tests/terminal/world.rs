//! A service with everything around it, for one test.

use crate::client::Client;
use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::{
    Claims, Families, FamilyRecord, FamilySource, Identity, ManualClock, SourceError, SystemEntropy,
    TenantState,
};
use coditect_config::{Sandbox, TerminalConfig};
use coditect_terminal::{LookupError, TerminalService, Timings, WorkspaceLookup};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

pub const TENANT: Uuid = Uuid::from_u128(0x7e);
pub const ALICE: Uuid = Uuid::from_u128(0xa);
pub const BOB: Uuid = Uuid::from_u128(0xb);
/// Alice's workspaces.
pub const WORKSPACE: Uuid = Uuid::from_u128(0x51);
pub const OTHER_WORKSPACE: Uuid = Uuid::from_u128(0x52);
/// A workspace whose lookup fails.
pub const BROKEN_WORKSPACE: Uuid = Uuid::from_u128(0x5f);
/// Unix seconds.
const NOW: i64 = 1_700_000_000;
const FAMILY_SECONDS: i64 = 1000;
/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub service: TerminalService,
    pub families: Arc<Families>,
    pub clock: Arc<ManualClock>,
    pub root: TempDir,
}

struct Workspaces;

#[async_trait]
impl WorkspaceLookup for Workspaces {
    async fn owned(&self, tenant: Uuid, user: Uuid, session: Uuid) -> Result<bool, LookupError> {
        if session == BROKEN_WORKSPACE {
            return Err(LookupError("the store is down".into()));
        }
        Ok(tenant == TENANT && user == ALICE && [WORKSPACE, OTHER_WORKSPACE].contains(&session))
    }
}

/// Every auth session is a family of its own, with the same id, its user's id in the lower half.
struct Logins;

#[async_trait]
impl FamilySource for Logins {
    async fn family_of(&self, tenant: Uuid, session: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
        let user_id = Uuid::from_u128(u128::from(session.as_u64_pair().1));
        let ends_at = NOW + FAMILY_SECONDS;
        Ok(Some(FamilyRecord {
            family: session,
            user_id,
            tenant_id: tenant,
            ends_at,
            revoked: false,
            tenant: TenantState::Active,
        }))
    }

    async fn family(&self, tenant: Uuid, family: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
        self.family_of(tenant, family).await
    }
}

/// The login number `login` of `user`.
pub fn login(user: Uuid, login: u64) -> Uuid {
    Uuid::from_u64_pair(login, user.as_u64_pair().1)
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    pub fn with(config: impl FnOnce(&mut TerminalConfig), timings: impl FnOnce(&mut Timings)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut settings = TerminalConfig {
            shell: "/bin/sh".into(),
            workspace_root: root.path().to_owned(),
            sandbox: Sandbox::Off,
            max_per_session: 4,
            max_per_user: 64,
            max_total: 8,
            scrollback_bytes: 256 * 1024,
            idle_after_exit_seconds: 300,
        };
        config(&mut settings);
        let mut times = Timings::default();
        timings(&mut times);
        let clock = Arc::new(ManualClock::new(NOW));
        let families = Arc::new(Families::new(Arc::new(Logins), clock.clone()));
        let service = TerminalService::with_timings(
            settings,
            None,
            times,
            clock.clone(),
            Arc::new(SystemEntropy),
            Arc::new(Workspaces),
            Arc::new(()),
        );
        Self { service, families, clock, root }
    }

    pub async fn identity(&self, auth_session: Uuid) -> Identity {
        let claims: Claims = serde_json::from_value(json!({
            "sub": Uuid::from_u128(u128::from(auth_session.as_u64_pair().1)), "tenant_id": TENANT,
            "email": "a@example.org", "session_id": auth_session, "token_family": auth_session,
            "exp": NOW + 60, "iat": NOW, "iss": "i", "aud": "a", "jti": Uuid::nil(),
        }))
        .unwrap();
        let family = self.families.admit(&claims).await.unwrap();
        Identity { claims: Arc::new(claims), family }
    }

    /// Alice's request under her workspace's `terminals`.
    pub async fn call(&self, method: &str, tail: &str, body: &str) -> (u16, Value) {
        self.call_as(login(ALICE, 1), method, &path(WORKSPACE, tail), body).await
    }

    pub async fn call_as(&self, who: Uuid, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).extension(self.identity(who).await);
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        read(self.service.handle(request).await).await
    }

    /// A new terminal of Alice's; its id.
    pub async fn create(&self) -> String {
        let (status, body) = self.call("POST", "", "").await;
        assert_eq!(status, 201, "{body}");
        body["data"]["id"].as_str().unwrap().to_owned()
    }

    pub async fn attach(&self, terminal: &str) -> Client {
        self.attach_as(login(ALICE, 1), terminal).await
    }

    pub async fn attach_as(&self, who: Uuid, terminal: &str) -> Client {
        let request = handshake(&path(WORKSPACE, &format!("/{terminal}/attach")));
        let request = request.extension(self.identity(who).await).body(Full::<Bytes>::default()).unwrap();
        Client::open(self.service.handle(request).await).await
    }

    /// A new terminal with a client that has seen its greeting.
    pub async fn open(&self) -> (String, Client) {
        let terminal = self.create().await;
        let mut client = self.attach(&terminal).await;
        assert_eq!(client.control("hello").await["v"], 1);
        (terminal, client)
    }

    pub fn directory(&self) -> std::path::PathBuf {
        self.root.path().join(TENANT.to_string()).join(WORKSPACE.to_string())
    }
}

pub fn path(workspace: Uuid, tail: &str) -> String {
    format!("/api/v5/sessions/{workspace}/terminals{tail}")
}

pub fn handshake(path: &str) -> http::request::Builder {
    Request::builder()
        .uri(path)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "coditect.terminal.v1")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

pub async fn read(response: Response<Full<Bytes>>) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["success"], status < 300, "{body}");
    (status, body)
}

/// Waits for a condition that nothing announces.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Whether the process is neither running nor waiting to be reaped.
pub fn is_gone(pid: &str) -> bool {
    !Path::new("/proc").join(pid).exists()
}
