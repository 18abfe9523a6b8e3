//! The router with a manual clock, a seeded source of randomness and a stand-in for the gate.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use coditect_api::{ApiMetrics, ApiState, Transfers, router};
use coditect_auth::{
    Clock, Entropy, Families, Identity, ManualClock, PasswordHasher, PasswordSettings, SeededEntropy,
    SigningSecret, TokenIssuer, TokenSettings, TokenVerifier,
};
use coditect_config::{AuthConfig, PasswordConfig};
use coditect_store::{
    AuditLog, Embedded, EmbeddedOptions, Keyspace, Repositories, Store, SystemMonotonicClock,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const START: i64 = 1_800_000_000;
pub(crate) const GRACE: i64 = 10;
pub(crate) const FAMILY: i64 = 30 * 86_400;

pub(crate) struct Api {
    router: Router,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) verifier: TokenVerifier,
    pub(crate) families: Arc<Families>,
    pub(crate) repositories: Repositories,
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
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(11));
        let options = EmbeddedOptions::new(dir.path().join("store.redb"));
        let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
        let store = Store::new(Arc::new(backend), Arc::clone(&entropy));
        let repositories =
            Repositories::new(store, Keyspace::new("test"), clock.clone(), Arc::clone(&entropy));
        let secret = SigningSecret::new(SecretString::from("s".repeat(32))).unwrap();
        let tokens = TokenSettings {
            issuer: "coditect.ai".into(),
            audience: "coditect-users".into(),
            access_seconds: 3600,
        };
        let families = Arc::new(Families::new(Arc::new(repositories.clone()), clock.clone()));
        let state = ApiState {
            repositories: repositories.clone(),
            issuer: Arc::new(TokenIssuer::new(&secret, tokens.clone(), Arc::clone(&entropy))),
            families: Arc::clone(&families),
            passwords: Arc::new(PasswordHasher::new(passwords, Arc::clone(&entropy)).unwrap()),
            clock: clock.clone(),
            audit: AuditLog::new(repositories.clone(), clock.clone(), Arc::clone(&entropy)),
            entropy,
            auth: auth_config(),
            transfers: Transfers::default(),
            metrics: Arc::new(ApiMetrics::new(&prometheus::Registry::new()).unwrap()),
        };
        let verifier = TokenVerifier::new(&secret, &tokens);
        Self { router: router(state), clock, verifier, families, repositories, _dir: dir }
    }

    /// Sends a request as it is.
    pub(crate) async fn raw(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
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
        issuer: "coditect.ai".into(),
        audience: "coditect-users".into(),
        access_token_seconds: 3600,
        family_seconds: FAMILY,
        refresh_grace_seconds: GRACE,
        operator_tenant: None,
        password: PasswordConfig { memory_kib: 8, iterations: 1, parallelism: 1, workers: 2, queue: 64 },
    }
}
