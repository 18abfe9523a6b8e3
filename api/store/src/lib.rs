//! The program's state: transactions over ordered keys, the key space, and the repositories on top.
//!
//! - [`contract`], [`limits`], [`StoreError`]: what a transaction is, on any backend. The meaning is
//!   FoundationDB's.
//! - [`Store`], [`Transaction`]: what callers use; [`Store::run`] retries, [`Store::run_once`] does so without
//!   ever doing the work twice.
//! - [`Embedded`]: the backend in one local file. `FoundationDb`: the backend on a cluster, with the cargo
//!   feature `foundationdb`.
//! - [`dump`]: the state as a file, for moving and keeping it. [`inspect`]: looking into a store as it is.
//! - [`Keyspace`], [`records`], [`Repositories`]: what is stored, and the only way to it. [`keyspace::path`]
//!   shows keys to people, [`verify`] checks that all of it agrees.
//! - [`blobs`]: file contents, by their hash. [`changes`]: what other replicas must learn of at once.
//! - [`audit`]: who did what, in a chain of hashes for each tenant.

pub mod audit;
pub mod blobs;
pub mod changes;
pub mod contract;
pub mod dump;
pub mod file_path;
pub mod inspect;
pub mod keyspace;
pub mod limits;
pub mod records;
pub mod verify;

mod clock;
mod embedded;
mod error;
#[cfg(any(test, feature = "foundationdb"))]
mod foundationdb;
mod idempotent;
mod identity;
mod measure;
mod repo;
mod scan;
mod store;
mod transaction;

#[cfg(feature = "foundationdb")]
pub use crate::foundationdb::{
    FoundationDb, FoundationDbFault, FoundationDbOptions, NetworkOptions, OpenFoundationDbError, TlsOptions,
};
pub use audit::{AuditAction, AuditEvent, AuditLog, AuditWriter, OPERATORS};
pub use clock::{ManualMonotonicClock, MonotonicClock, SystemMonotonicClock};
pub use embedded::{DEFAULT_CACHE_BYTES, Embedded, EmbeddedOptions, OpenError};
pub use error::{Retry, StoreError, TransactionError};
pub use identity::{ClaimError, claim};
pub use keyspace::{Key, KeySpan, Keyspace, Marker, TenantScope};
pub use repo::{
    ACCESS_INTERVAL, Accesses, Activate, ActivePlugin, Admission, Agents, Audit, AuditFilter, AuthSessions,
    By, Claimed, Client, Condition, Conversations, CursorError, DirectoryEntry, FileError, Files, Fork,
    KEPT_ACTIVATIONS, LostActivation, MAX_ACTIVE_PLUGINS, MAX_CONFIGURATION_BYTES, MAX_KEPT_VERSIONS,
    MAX_MODULE_BYTES, MAX_PAGE, MAX_PLUGIN_VERSIONS, MAX_PLUGINS, MAX_STATE_BYTES, MAX_TENANT_MODULE_BYTES,
    MAX_VERSION_DAYS, Messages, Move, NewAuditEntry, NewMessage, NewPluginVersion, Order, Page, Part,
    PluginError, Plugins, Pods, Pruned, Quota, RETENTION_SETTING, ReadableActive, Registration,
    RegistrationError, Removals, Removed, Repositories, RequestKey, Requests, Retention, Rotated,
    SETTLED_AFTER, SessionFilter, SessionStates, Sessions, SettingOwner, Settings, Tenants, Tickets,
    TimeCursor, Unsettled, UpdateError, Usage, Usages, Users, VersionPruner, Written,
};
pub use scan::Scan;
pub use store::{RetryPolicy, Store};
pub use transaction::Transaction;
