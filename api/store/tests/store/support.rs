//! A temporary embedded store and small helpers.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use coditect_auth::{AuthSession, Entropy, ManualClock, SeededEntropy};
use coditect_store::records::{FIRST_VERSION, Role, Session, Tenant, User, UserStatus};
use coditect_store::{
    Embedded, EmbeddedOptions, Keyspace, ManualMonotonicClock, Registration, Repositories, Store, StoreError,
};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<ManualMonotonicClock>,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualMonotonicClock::default());
        let entropy = Arc::new(SeededEntropy::new(7));
        let store = open(dir.path().join("state/coditect.redb"), &clock, &entropy);
        Self { dir, clock, entropy, store }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("state/coditect.redb")
    }

    pub(crate) async fn reopen(&mut self) {
        self.store.close().await.unwrap();
        self.store = open(self.path(), &self.clock, &self.entropy);
    }

    pub(crate) fn repositories(&self) -> Repositories {
        repositories(self.store.clone(), &self.entropy)
    }
}

pub(crate) fn repositories(store: Store, entropy: &Arc<SeededEntropy>) -> Repositories {
    Repositories::new(
        store,
        Keyspace::new("test"),
        Arc::new(ManualClock::new(NOW)),
        Arc::clone(entropy) as Arc<dyn Entropy>,
    )
}

fn open(path: PathBuf, clock: &Arc<ManualMonotonicClock>, entropy: &Arc<SeededEntropy>) -> Store {
    let backend = Embedded::open(&EmbeddedOptions::new(path), Arc::clone(clock) as _).unwrap();
    Store::new(Arc::new(backend), Arc::clone(entropy) as _)
}

/// Commits one key.
pub(crate) async fn put(store: &Store, key: &str, value: &str) {
    let transaction = store.begin();
    transaction.set(key, value.to_owned()).unwrap();
    transaction.commit().await.unwrap();
}

/// Reads one key in a transaction of its own.
pub(crate) async fn value(store: &Store, key: &str) -> Option<String> {
    text(store.begin().get(key).await.unwrap())
}

pub(crate) fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

pub(crate) fn assert_conflict(result: Result<Option<coditect_store::contract::Committed>, StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict)), "expected a conflict, got {result:?}");
}

/// A registration with fresh ids.
pub(crate) fn registration(entropy: &dyn Entropy, email: &str) -> Registration {
    let (tenant_id, user_id) = (entropy.uuid(), entropy.uuid());
    Registration {
        tenant: Tenant {
            id: tenant_id,
            name: "Ann".into(),
            status: Default::default(),
            suspended_at: None,
            reason: None,
            created_at: NOW * 1000,
            updated_at: NOW * 1000,
            version: FIRST_VERSION,
        },
        user: User {
            id: user_id,
            tenant_id,
            email: email.into(),
            password_hash: "$argon2id$".into(),
            first_name: "Ann".into(),
            last_name: "Lee".into(),
            role: Role::Owner,
            status: UserStatus::Active,
            created_at: NOW * 1000,
            updated_at: NOW * 1000,
            version: FIRST_VERSION,
        },
        auth_session: login(entropy, tenant_id, user_id),
    }
}

/// A first auth session of a fresh family that lasts 1000 s.
pub(crate) fn login(entropy: &dyn Entropy, tenant_id: Uuid, user_id: Uuid) -> AuthSession {
    AuthSession {
        id: entropy.uuid(),
        family: entropy.uuid(),
        user_id,
        tenant_id,
        email: "ann@example.com".into(),
        created_at: NOW,
        family_ends_at: NOW + 1000,
        rotated: None,
        user_agent: None,
        address: None,
    }
}

pub(crate) fn session(entropy: &dyn Entropy, tenant_id: Uuid, user_id: Uuid, created_at: i64) -> Session {
    Session {
        id: entropy.uuid(),
        name: format!("workspace {created_at}"),
        tenant_id,
        user_id,
        workspace_path: None,
        r#type: Default::default(),
        settings: Default::default(),
        status: Default::default(),
        conversation_id: None,
        forked_from: None,
        created_at,
        updated_at: created_at,
        last_accessed_at: created_at,
        version: FIRST_VERSION,
    }
}
