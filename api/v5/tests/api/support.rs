//! The router with a manual clock, a seeded source of randomness and a stand-in for the gate.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use coditect_api::{ApiMetrics, ApiState, ForkPlaces, PluginTrials, Throttle, Transfers, router};
use coditect_auth::{
    Clock, Entropy, Families, Identity, ManualClock, PasswordHasher, PasswordSettings, SeededEntropy,
    SigningSecret, TokenIssuer, TokenSettings, TokenVerifier,
};
use coditect_config::{AuthConfig, LimitsConfig, PasswordConfig, Rate, ThrottleConfig};
use coditect_store::contract::Backend;
use coditect_store::records::{Role, User};
use coditect_store::{
    Accesses, AuditLog, Embedded, EmbeddedOptions, Keyspace, Repositories, Store, SystemMonotonicClock,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

use crate::plugins::Stub;

pub(crate) const START: i64 = 1_800_000_000;
/// The first element of every key.
pub(crate) const ROOT: &str = "test";
pub(crate) const GRACE: i64 = 10;
pub(crate) const FAMILY: i64 = 30 * 86_400;
/// Workspaces a user may have.
pub(crate) const WORKSPACES: usize = 40;

/// No limit.
pub(crate) const UNLIMITED: Rate = Rate { per_minute: 0, burst: 1 };

pub(crate) struct Api {
    router: Router,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) verifier: TokenVerifier,
    pub(crate) families: Arc<Families>,
    pub(crate) repositories: Repositories,
    pub(crate) validator: Arc<Stub>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) registry: prometheus::Registry,
    _dir: TempDir,
}

/// An answer, with its body read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn data(&self) -> &Value {
        assert_eq!(self.body["success"], true, "{}", self.body);
        let fields = self.body.as_object().unwrap().len();
        let is_list = self.body.get("next_cursor").is_some();
        assert_eq!(fields, if is_list { 3 } else { 2 }, "{}", self.body);
        &self.body["data"]
    }

    /// Asserts the whole shape of a failure; returns the message.
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        let message = self.body["error"]["message"].as_str().unwrap().to_owned();
        let expected = json!({"success": false, "data": null, "error": {"code": code, "message": message}});
        assert_eq!(self.body, expected);
        message
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    pub(crate) fn text(&self, field: &str) -> String {
        self.data()[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body)).to_owned()
    }
}

/// The cheapest Argon2 there is.
pub(crate) fn password_settings(workers: usize, queue: usize) -> PasswordSettings {
    PasswordSettings { memory_kib: 8, iterations: 1, parallelism: 1, workers, queue }
}

impl Api {
    pub(crate) fn new() -> Self {
        Self::with_passwords(password_settings(2, 64))
    }

    pub(crate) fn with_passwords(passwords: PasswordSettings) -> Self {
        Self::over(passwords, |backend| backend)
    }

    /// With limits of attempts, for an account and for an address.
    pub(crate) fn with_throttle(account: Rate, address: Rate) -> Self {
        let auth = AuthConfig { throttle: ThrottleConfig { account, address }, ..auth_config() };
        Self::build(password_settings(2, 64), auth, |backend| backend)
    }

    /// One whose operators' tenant is this.
    pub(crate) fn operated_by(tenant: Uuid) -> Self {
        let auth = AuthConfig { operator_tenant: Some(tenant), ..auth_config() };
        Self::build(password_settings(2, 64), auth, |backend| backend)
    }

    /// With something between the store and its backend.
    pub(crate) fn over(
        passwords: PasswordSettings,
        wrap: impl FnOnce(Arc<dyn Backend>) -> Arc<dyn Backend>,
    ) -> Self {
        Self::build(passwords, auth_config(), wrap)
    }

    fn build(
        passwords: PasswordSettings,
        auth: AuthConfig,
        wrap: impl FnOnce(Arc<dyn Backend>) -> Arc<dyn Backend>,
    ) -> Self {
        let validator = Arc::new(Stub::default());
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(11));
        let options = EmbeddedOptions::new(dir.path().join("store.redb"));
        let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
        let store = Store::new(wrap(Arc::new(backend)), Arc::clone(&entropy));
        let repositories = Repositories::new(store, Keyspace::new(ROOT), clock.clone(), Arc::clone(&entropy));
        let secret = SigningSecret::new(SecretString::from("s".repeat(32))).unwrap();
        let tokens = TokenSettings {
            issuer: "coditect.ai".into(),
            audience: "coditect-users".into(),
            access_seconds: 3600,
        };
        let registry = prometheus::Registry::new();
        let families = Arc::new(Families::new(Arc::new(repositories.clone()), clock.clone()));
        let state = ApiState {
            repositories: repositories.clone(),
            issuer: Arc::new(TokenIssuer::new(&secret, tokens.clone(), Arc::clone(&entropy))),
            families: Arc::clone(&families),
            passwords: Arc::new(PasswordHasher::new(passwords, Arc::clone(&entropy)).unwrap()),
            clock: clock.clone(),
            audit: AuditLog::new(repositories.clone(), clock.clone(), Arc::clone(&entropy)),
            entropy: Arc::clone(&entropy),
            accesses: Accesses::new(repositories.clone(), clock.clone()),
            throttle: Throttle::new(&auth.throttle, clock.clone()),
            auth,
            limits: LimitsConfig { workspaces_per_user: WORKSPACES },
            forks: ForkPlaces::default(),
            plugins: PluginTrials::new(validator.clone()),
            metrics: Arc::new(ApiMetrics::new(&registry).unwrap()),
            transfers: Transfers::default(),
        };
        let verifier = TokenVerifier::new(&secret, &tokens);
        Self {
            router: router(state),
            clock,
            verifier,
            families,
            repositories,
            validator,
            entropy,
            registry,
            _dir: dir,
        }
    }

    /// What the edge calls.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Sends a request as it is; whatever comes back.
    pub(crate) async fn response(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends a request as it is.
    pub(crate) async fn raw(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.response(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(parts.headers["cache-control"], "no-store");
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => {
                assert_eq!(parts.headers["content-type"], "application/json");
                serde_json::from_slice(&bytes).unwrap()
            }
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request as it is; the answer's body as it came.
    pub(crate) async fn text(&self, request: Request<Body>) -> String {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// Sends a request as it is; returns what came back as it is.
    pub(crate) async fn bytes(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    /// Sends JSON, with a token as the gate would let it pass.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let mut request = request.body(body).unwrap();
        if let Some(token) = token {
            request.extensions_mut().insert(self.admit(token).await.unwrap());
        }
        self.raw(request).await
    }

    /// As [`Self::call`], with more headers.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request =
            request.body(body.map_or(Body::empty(), |body| Body::from(body.to_string()))).unwrap();
        request.extensions_mut().insert(self.admit(token).await.unwrap());
        self.raw(request).await
    }

    /// A login from an address.
    pub(crate) async fn log_in_from(&self, address: &str, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password}).to_string();
        let request = Request::post("/api/v5/auth/login")
            .header("content-type", "application/json")
            .header("x-real-ip", address)
            .body(body.into());
        self.raw(request.unwrap()).await
    }

    /// A token of a new member of a registered user's tenant, who has the same password.
    pub(crate) async fn member(&self, of: &str, email: &str, role: Role) -> String {
        let users = self.repositories.users();
        let known = users.by_email(of).await.unwrap().unwrap();
        let user =
            User { id: uuid::Uuid::from_u128(email.len() as u128), email: email.into(), role, ..known };
        users.add(coditect_store::By::Operator, &user).await.unwrap();
        self.log_in_from("192.0.2.1", email, "correct horse").await.text("token")
    }

    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.call(Method::POST, path, token, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    /// What the gate does with an access token.
    pub(crate) async fn admit(&self, token: &str) -> Result<Identity, coditect_auth::AuthError> {
        let claims = self.verifier.verify(token, self.clock.now())?;
        let family = self.families.admit(&claims).await?;
        Ok(Identity { claims: Arc::new(claims), family })
    }

    pub(crate) async fn register(&self, email: &str) -> Answer {
        let body =
            json!({"email": email, "password": "correct horse", "firstName": "Ann", "lastName": "Lee"});
        let answer = self.post("/api/v5/auth/register", None, body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/api/v5/auth/refresh", None, json!({"refreshToken": token})).await
    }
}

fn auth_config() -> AuthConfig {
    AuthConfig {
        key_file: "unused".into(),
        key_set: None,
        issuer: "coditect.ai".into(),
        audience: "coditect-users".into(),
        access_token_seconds: 3600,
        family_seconds: FAMILY,
        refresh_grace_seconds: GRACE,
        operator_tenant: None,
        password: PasswordConfig { memory_kib: 8, iterations: 1, parallelism: 1, workers: 2, queue: 64 },
        throttle: ThrottleConfig { account: UNLIMITED, address: UNLIMITED },
    }
}
