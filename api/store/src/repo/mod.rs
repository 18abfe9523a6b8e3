//! The repositories: the only code that reads and writes records. Index entries are written in the same
//! transaction as the record they stand for.

mod agents;
pub(crate) mod audit;
mod auth_sessions;
mod conversations;
mod error;
pub(crate) mod files;
pub(crate) mod indexed;
mod live_families;
mod members;
mod messages;
mod page;
pub(crate) mod plugin_activations;
pub(crate) mod plugin_versions;
pub(crate) mod plugins;
mod pods;
pub(crate) mod removals;
mod requests;
mod session_accesses;
mod session_forks;
mod session_life;
pub(crate) mod session_states;
mod sessions;
mod settings;
mod tenants;
mod tickets;
mod token_families;
pub(crate) mod usage;
mod users;

use std::future::Future;
use std::sync::Arc;

use coditect_auth::{Clock, Entropy};
use tokio::sync::Notify;

pub use self::agents::Agents;
pub use self::audit::{Audit, AuditFilter, NewAuditEntry};
pub use self::auth_sessions::{AuthSessions, Client, Rotated};
pub use self::conversations::Conversations;
pub use self::error::UpdateError;
pub use self::files::{
    Admission, Condition, DirectoryEntry, FileError, Files, MAX_KEPT_VERSIONS, MAX_VERSION_DAYS, Move, Part,
    Pruned, RETENTION_SETTING, Retention, VersionPruner, Written,
};
pub use self::members::By;
pub use self::messages::{Messages, NewMessage};
pub use self::page::{CursorError, MAX_PAGE, Order, Page, TimeCursor};
pub use self::plugin_activations::{
    Activate, ActivePlugin, KEPT_ACTIVATIONS, LostActivation, ReadableActive,
};
pub use self::plugin_versions::{
    MAX_MODULE_BYTES, MAX_PLUGIN_VERSIONS, MAX_PLUGINS, MAX_TENANT_MODULE_BYTES, NewPluginVersion,
};
pub use self::plugins::{MAX_ACTIVE_PLUGINS, MAX_CONFIGURATION_BYTES, PluginError, Plugins};
pub use self::pods::Pods;
pub use self::removals::{Removals, Removed, SETTLED_AFTER};
pub use self::requests::{Claimed, RequestKey, Requests};
pub use self::session_accesses::{ACCESS_INTERVAL, Accesses};
pub use self::session_forks::Fork;
pub use self::session_life::Unsettled;
pub use self::session_states::{MAX_STATE_BYTES, SessionStates};
pub use self::sessions::{SessionFilter, Sessions};
pub use self::settings::{SettingOwner, Settings};
pub use self::tenants::Tenants;
pub use self::tickets::Tickets;
pub use self::usage::{Quota, Usage, Usages};
pub use self::users::{Registration, RegistrationError, Users};
use crate::blobs::Blobs;
use crate::contract::{RangeRead, ReadMode};
use crate::error::{StoreError, TransactionError};
use crate::keyspace::{Key, KeySpan, Keyspace, Marker};
use crate::records::Record;
use crate::store::{RetryPolicy, Store};
use crate::transaction::Transaction;

/// All repositories over one store. Clones share it.
#[derive(Clone)]
pub struct Repositories {
    context: Arc<Context>,
}

/// What every repository needs.
pub(crate) struct Context {
    store: Store,
    keys: Keyspace,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// For transactions whose second run changes nothing.
    idempotent: RetryPolicy,
    /// Told when a removal begins, so that it is gone on with at once.
    removal_began: Notify,
    /// What a tenant may have that has no limits of its own.
    quota: Quota,
}

impl Repositories {
    /// Repositories over `store`, below the key space's root.
    pub fn new(store: Store, keys: Keyspace, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            context: Arc::new(Context {
                store,
                keys,
                clock,
                entropy,
                idempotent: RetryPolicy::idempotent(),
                removal_began: Notify::new(),
                quota: Quota::default(),
            }),
        }
    }

    /// The same repositories, with another quota for tenants that have none of their own.
    pub fn with_quota(self, quota: Quota) -> Self {
        let Context { store, keys, clock, entropy, idempotent, .. } = &*self.context;
        let (store, keys, idempotent) = (store.clone(), keys.clone(), idempotent.clone());
        let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
        let removal_began = Notify::new();
        Self { context: Arc::new(Context { store, keys, clock, entropy, idempotent, removal_began, quota }) }
    }

    /// Tenants.
    pub fn tenants(&self) -> Tenants<'_> {
        Tenants::new(&self.context)
    }

    /// The members of tenants.
    pub fn users(&self) -> Users<'_> {
        Users::new(&self.context)
    }

    /// Logins: auth sessions and token families.
    pub fn auth_sessions(&self) -> AuthSessions<'_> {
        AuthSessions::new(&self.context)
    }

    /// Workspaces.
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions::new(&self.context)
    }

    /// The state of workspaces, part by part.
    pub fn session_states(&self) -> SessionStates<'_> {
        SessionStates::new(&self.context)
    }

    /// Conversations.
    pub fn conversations(&self) -> Conversations<'_> {
        Conversations::new(&self.context)
    }

    /// The messages of conversations.
    pub fn messages(&self) -> Messages<'_> {
        Messages::new(&self.context)
    }

    /// The audit trail.
    pub fn audit(&self) -> Audit<'_> {
        Audit::new(&self.context)
    }

    /// The files of workspaces.
    pub fn files(&self) -> Files<'_> {
        Files::new(&self.context)
    }

    /// What forgets versions of files in its time.
    pub fn version_pruner(&self) -> VersionPruner {
        VersionPruner::new(Arc::clone(&self.context))
    }

    /// How much tenants use and may use.
    pub fn usage(&self) -> Usages<'_> {
        Usages::new(&self.context)
    }

    /// AI agents.
    pub fn agents(&self) -> Agents<'_> {
        Agents::new(&self.context)
    }

    /// Settings of users and tenants.
    pub fn settings(&self) -> Settings<'_> {
        Settings::new(&self.context)
    }

    /// Uploaded plugins, their versions and activations.
    pub fn plugins(&self) -> Plugins<'_> {
        Plugins::new(&self.context, self.blobs())
    }

    /// Requests that clients may repeat.
    pub fn requests(&self) -> Requests<'_> {
        Requests::new(&self.context)
    }

    /// The one-use tickets that were used.
    pub fn tickets(&self) -> Tickets<'_> {
        Tickets::new(&self.context)
    }

    /// Which workspace has which pod.
    pub fn pods(&self) -> Pods<'_> {
        Pods::new(&self.context)
    }

    /// Removals of whole tenants and users.
    pub fn removals(&self) -> Removals<'_> {
        Removals::new(&self.context)
    }

    /// The contents of files.
    pub fn blobs(&self) -> Blobs {
        let Context { store, keys, clock, entropy, .. } = &*self.context;
        Blobs::new(store.clone(), keys.clone(), Arc::clone(clock), Arc::clone(entropy))
    }

    /// The store below, to close it.
    pub fn store(&self) -> &Store {
        &self.context.store
    }
}

impl Context {
    /// A fresh marker for a transaction that must happen at most once.
    fn marker(&self) -> Marker {
        self.keys.marker(self.clock.now_millis(), self.entropy.uuid())
    }

    /// Runs a transaction whose second run changes nothing beyond the first.
    async fn run<T, E, F, Fut>(&self, attempt: F) -> Result<T, E>
    where
        E: TransactionError,
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.store.run(&self.idempotent, attempt).await
    }

    /// Runs a transaction that must happen at most once.
    async fn once<T, E, F, Fut>(&self, attempt: F) -> Result<T, E>
    where
        E: TransactionError,
        F: FnMut(Transaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.store.run_once(&RetryPolicy::default(), &self.marker(), attempt).await
    }
}

/// The most rows asked for in one range read of an index.
const PAGE_ROWS: usize = 1000;

async fn load<R: Record>(transaction: &Transaction, key: &Key) -> Result<Option<R>, StoreError> {
    match transaction.get(key).await? {
        Some(bytes) => R::decode(&bytes).map(Some),
        None => Ok(None),
    }
}

fn save<R: Record>(transaction: &Transaction, key: Key, record: &R) -> Result<(), StoreError> {
    transaction.set(key, record.encode()?)
}

/// Keys of a span, at most `limit`, in the order asked for.
async fn keys_in(
    transaction: &Transaction,
    span: KeySpan,
    limit: usize,
    reverse: bool,
    mode: ReadMode,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let KeySpan { mut begin, mut end } = span;
    let mut keys: Vec<Vec<u8>> = Vec::new();
    while keys.len() < limit {
        let page = transaction
            .range(RangeRead {
                begin: begin.clone(),
                end: end.clone(),
                limit: (limit - keys.len()).min(PAGE_ROWS),
                reverse,
                mode,
            })
            .await?;
        keys.extend(page.rows.into_iter().map(|row| row.key));
        let Some(last) = keys.last().filter(|_| page.more) else {
            break;
        };
        if reverse {
            end.clone_from(last);
        } else {
            begin.clone_from(last);
            begin.push(0);
        }
    }
    Ok(keys)
}
